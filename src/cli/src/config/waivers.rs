//! Waivers of a file: failures that are known and accepted. One that matches no check is an error, since it would
//! accept nothing; one that has become needless, or whose day is over, fails the run.

use super::{
    error::{ConfigError, suggestion},
    file::WaiverEntry,
    required::Ran,
};
use jiff::{Timestamp, civil::Date, tz::TimeZone};
use meshproof_contract::{
    CheckId, ClusterName, Flow, Force, Instance, Scope, Suite, Verdict, Waiver,
    waiver::{Spent, SpentWaiver, matches},
};
use serde_saphyr::Location;

/// The waivers of a file, in its order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Waivers {
    path: String,
    entries: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    waiver: Waiver,
    check: Location,
    instance: Location,
}

impl Waivers {
    pub(super) fn of(path: &str, entries: Vec<WaiverEntry>) -> Result<Self, ConfigError> {
        let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
        let entries = entries.into_iter().map(|entry| resolve(path, entry, today));
        Ok(Self {
            path: path.to_owned(),
            entries: entries.collect::<Result<_, _>>()?,
        })
    }

    /// All of them.
    pub fn all(&self) -> Vec<Waiver> {
        self.entries.iter().map(|entry| entry.waiver.clone()).collect()
    }

    /// A waiver of a check or an instance that does not exist waives nothing. A cluster that `others` names (the file's
    /// own contexts) may be left out of a run.
    ///
    /// # Errors
    /// The first waiver that matches no check, or none of its instances.
    pub fn verify<'a>(
        &self,
        suites: &[Suite],
        (clusters, flows): (&[ClusterName], &[Flow]),
        others: impl Iterator<Item = &'a str>,
    ) -> Result<(), ConfigError> {
        let mut known = clusters.to_vec();
        known.extend(others.map(ClusterName::from).filter(|other| !clusters.contains(other)));
        let ids: Vec<String> = checks(suites).map(|(id, _)| id.to_string()).collect();
        for Entry {
            waiver,
            check,
            instance,
        } in &self.entries
        {
            let covered = || checks(suites).filter(|(id, _)| matches(&waiver.check, id.as_str()));
            if covered().next().is_none() {
                let near = nearest_ids(&ids, &waiver.check);
                let reason = format!("the waiver of '{}' matches no check; {near}", waiver.check);
                return Err(ConfigError::at(&self.path, *check, reason));
            }
            let mut names: Vec<String> = covered()
                .flat_map(|(_, scope)| Instance::of(scope, &known, flows))
                .map(|instance| instance.to_string())
                .collect();
            names.sort();
            names.dedup();
            if let Some(pattern) = &waiver.instance
                && !names.iter().any(|name| matches(pattern, name))
            {
                let meant = suggestion(pattern, names.iter().map(String::as_str));
                let reason = format!("'{}' does not run on '{pattern}'; {meant}", waiver.check);
                return Err(ConfigError::at(&self.path, *instance, reason));
            }
        }
        Ok(())
    }

    /// Those that must go after a run: the ones of which everything they cover passed, and the expired ones that would
    /// still be needed. Where a part of what one covers did not run or could not tell, nothing is said of it.
    pub fn spent(&self, suites: &[Suite], (clusters, flows): (&[ClusterName], &[Flow]), ran: &Ran) -> Vec<SpentWaiver> {
        let spent = |waiver: Waiver| {
            let all = checks(suites).flat_map(|(id, scope)| {
                let instances = Instance::of(scope, clusters, flows).into_iter();
                instances.map(move |instance| (id.clone(), instance))
            });
            let covered = all.filter(|(id, instance)| waiver.covers(id, instance));
            let verdicts: Vec<Option<&Verdict>> = covered
                .map(|(id, instance)| ran.verdict(&instance.trial(&id)))
                .collect();
            let failed = verdicts
                .iter()
                .any(|verdict| matches!(verdict, Some(Verdict::Fail { .. })));
            let passed = verdicts
                .iter()
                .any(|verdict| matches!(verdict, Some(Verdict::Pass { .. })));
            let settled =
                |verdict: &Option<&Verdict>| matches!(verdict, Some(Verdict::Pass { .. } | Verdict::Skipped { .. }));
            let why = match waiver.force {
                Force::Expired if failed => Spent::Expired,
                _ if passed && verdicts.iter().all(settled) => Spent::Passed,
                _ => return None,
            };
            Some(SpentWaiver { waiver, why })
        };
        self.all().into_iter().filter_map(spent).collect()
    }
}

fn resolve(path: &str, entry: WaiverEntry, today: Date) -> Result<Entry, ConfigError> {
    let WaiverEntry {
        check,
        instance,
        reason,
        link,
        until,
    } = entry;
    let day: Date = until.value.parse().map_err(|_| {
        let reason = format!("invalid date '{}'; expected one such as 2027-01-31", until.value);
        ConfigError::at(path, until.referenced, reason)
    })?;
    if reason.value.trim().is_empty() {
        let why = "a waiver must say its reason".to_owned();
        return Err(ConfigError::at(path, reason.referenced, why));
    }
    Ok(Entry {
        check: check.referenced,
        instance: instance
            .as_ref()
            .map_or(check.referenced, |instance| instance.referenced),
        waiver: Waiver {
            source: format!("{path}:{}", check.referenced.line()),
            check: check.value,
            instance: instance.map(|instance| instance.value),
            reason: reason.value,
            link,
            until: day,
            force: if today > day { Force::Expired } else { Force::InForce },
        },
    })
}

fn checks(suites: &[Suite]) -> impl Iterator<Item = (CheckId, Scope)> {
    let all = suites.iter().flat_map(|suite| suite.checks.iter());
    all.map(|check| (check.id(), check.scope()))
}

/// What was probably meant; all ids would be a page.
fn nearest_ids(ids: &[String], typed: &str) -> String {
    let bare = typed.replace('*', "");
    let suite = |id: &str| id.split("::").next().unwrap_or_default().to_owned();
    let of_suite: Vec<&str> = ids
        .iter()
        .map(String::as_str)
        .filter(|id| suite(id) == suite(&bare))
        .collect();
    let meant = suggestion(&bare, ids.iter().map(String::as_str));
    if meant.starts_with("did you mean") {
        return meant;
    }
    if of_suite.is_empty() {
        return "`meshproof explain` lists the checks".to_owned();
    }
    suggestion(&bare, of_suite.into_iter())
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use meshproof_contract::{Event, Finding, TrialName, Witness};
    use std::path::Path;

    use super::*;

    const SEVERAL: &str = "service::several_ports";

    fn known_suites() -> Vec<Suite> {
        meshproof_suites::ALL.iter().map(|suite| **suite).collect()
    }

    fn clusters() -> Vec<ClusterName> {
        ["infra", "apps"].map(ClusterName::from).into()
    }

    fn parse(text: &str) -> Result<Waivers, String> {
        Config::parse(text, Path::new("meshproof.yaml"))
            .map(|config| config.waivers)
            .map_err(|error| error.to_string())
    }

    fn entry(check: &str, instance: Option<&str>, until: &str) -> String {
        let instance = instance.map_or(String::new(), |instance| format!("  instance: {instance}\n"));
        format!("waivers:\n- check: {check}\n{instance}  reason: an upstream bug\n  until: {until}\n")
    }

    fn verify(text: &str) -> Result<(), String> {
        let waivers = parse(text)?;
        waivers
            .verify(&known_suites(), (&clusters(), &[]), ["edge"].into_iter())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn what_matches_nothing_is_refused_with_its_place_and_what_was_meant() {
        assert_eq!(verify(&entry(SEVERAL, Some("infra"), "2999-01-31")), Ok(()));
        assert_eq!(verify(&entry("service::*", Some("infra->edge"), "2999-01-31")), Ok(()));
        assert_eq!(
            verify(&entry("service::severl_ports", None, "2999-01-31")),
            Err(
                "meshproof.yaml:2:10: the waiver of 'service::severl_ports' matches no check; did you mean \
                 service::several_ports?"
                    .to_owned()
            )
        );
        let none = verify(&entry("'nothing::*'", None, "2999-01-31")).expect_err("no such suite");
        assert!(none.ends_with("`meshproof explain` lists the checks"), "{none}");
        let instance = verify(&entry(SEVERAL, Some("inrfa"), "2999-01-31")).expect_err("no such cluster");
        assert!(
            instance.starts_with("meshproof.yaml:3:13: 'service::several_ports' does not run on 'inrfa'; did you mean"),
            "{instance}"
        );
    }

    #[test]
    fn a_day_and_a_reason_are_required() {
        assert_eq!(
            parse(&entry(SEVERAL, None, "soon")),
            Err("meshproof.yaml:4:10: invalid date 'soon'; expected one such as 2027-01-31".to_owned())
        );
        let no_reason = parse("waivers:\n- {check: a, reason: ' ', until: 2027-01-31}\n").expect_err("no reason");
        assert!(no_reason.ends_with("a waiver must say its reason"), "{no_reason}");
        let no_day = parse("waivers:\n- {check: a, reason: b}\n").expect_err("no day");
        assert!(no_day.contains("until"), "{no_day}");
        let unknown = parse("waivers:\n- {chek: a, reason: b, until: 2027-01-31}\n").expect_err("no key");
        assert!(unknown.contains("did you mean check?"), "{unknown}");
    }

    #[test]
    fn the_last_day_is_still_in_force() {
        let today = jiff::civil::date(2027, 1, 31);
        let force = |until: &str| {
            let entries: WaiverEntry =
                serde_saphyr::from_str(&format!("{{check: a, reason: b, until: {until}}}")).expect("an entry");
            resolve("m", entries, today).expect("valid").waiver.force
        };
        assert_eq!(force("2027-01-31"), Force::InForce);
        assert_eq!(force("2027-01-30"), Force::Expired);
    }

    fn ran(verdicts: &[(&str, &str)]) -> Ran {
        let mut ran = Ran::default();
        for (trial, word) in verdicts {
            let verdict = match *word {
                "pass" => Verdict::Pass {
                    witnesses: vec![Witness {
                        what: "seen".to_owned(),
                    }],
                },
                "fail" => Verdict::Fail {
                    findings: vec![Finding {
                        subject: "a".to_owned(),
                        expected: "b".to_owned(),
                        observed: "c".to_owned(),
                    }],
                },
                "skipped" => Verdict::skipped("not claimed"),
                _ => Verdict::inconclusive("an agent is away"),
            };
            ran.record(&Event::TrialFinished {
                trial: TrialName::from(*trial),
                verdict,
                micros: 1,
                measurements: Vec::new(),
                evidence: Vec::new(),
                silent: Vec::new(),
                waiver: None,
            });
        }
        ran
    }

    #[test]
    fn one_must_go_when_all_that_it_covers_passed_or_when_its_day_is_over() {
        let (infra, apps) = ("service::several_ports[infra]", "service::several_ports[apps]");
        type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], Option<Spent>);
        let cases: [Case<'_>; 8] = [
            ("2999-01-31", &[(infra, "pass"), (apps, "pass")], Some(Spent::Passed)),
            ("2999-01-31", &[(infra, "pass"), (apps, "skipped")], Some(Spent::Passed)),
            ("2999-01-31", &[(infra, "pass"), (apps, "fail")], None),
            ("2999-01-31", &[(infra, "pass"), (apps, "inconclusive")], None),
            ("2999-01-31", &[(infra, "pass")], None),
            ("2999-01-31", &[(infra, "skipped"), (apps, "skipped")], None),
            ("2020-01-31", &[(infra, "pass"), (apps, "fail")], Some(Spent::Expired)),
            ("2020-01-31", &[(infra, "pass"), (apps, "pass")], Some(Spent::Passed)),
        ];
        for (until, verdicts, expected) in cases {
            let waivers = parse(&entry(SEVERAL, None, until)).expect("valid");
            let spent = waivers.spent(&known_suites(), (&clusters(), &[]), &ran(verdicts));
            let why: Vec<_> = spent.iter().map(|spent| spent.why).collect();
            assert_eq!(why, Vec::from_iter(expected), "{until} {verdicts:?}");
        }
        let one = parse(&entry(SEVERAL, Some("infra"), "2999-01-31")).expect("valid");
        let spent = one.spent(
            &known_suites(),
            (&clusters(), &[]),
            &ran(&[(infra, "pass"), (apps, "fail")]),
        );
        assert_eq!(spent.len(), 1, "the other instance is not its business");
    }
}
