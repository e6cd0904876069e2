//! Waivers: failures that the operators know and accept, for a reason and until a day.
//!
//! A waiver changes what a failure means to the run, never the verdict: the log keeps `fail`.

use crate::{CheckId, Instance, Verdict};
use jiff::civil::Date;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A waiver of `meshproof.yaml`, as of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Waiver {
    /// Id of the check, or a pattern in which `*` stands for any characters.
    pub check: String,
    /// The cluster or direction, or a pattern of them; every instance of the check when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// Why the failure is accepted.
    pub reason: String,
    /// Where more is written, such as the issue of the project whose fault it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// The last day on which it is in force, in UTC.
    #[schemars(with = "String")]
    pub until: Date,
    /// Where it is written: `meshproof.yaml:12`.
    pub source: String,
    /// Whether it was in force when the run began.
    pub force: Force,
}

/// Whether a waiver is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Force {
    /// Its last day is not over.
    InForce,
    /// Its last day is over: it waives nothing.
    Expired,
}

impl Waiver {
    /// Whether it is about this check on this instance.
    pub fn covers(&self, check: &CheckId, instance: &Instance) -> bool {
        matches(&self.check, check.as_str())
            && self
                .instance
                .as_ref()
                .is_none_or(|pattern| matches(pattern, &instance.to_string()))
    }
    /// The check and instance as written: `service::several_ports[infra]`.
    pub fn subject(&self) -> String {
        match &self.instance {
            Some(instance) => format!("{}[{instance}]", self.check),
            None => self.check.clone(),
        }
    }
}

impl fmt::Display for Waiver {
    /// `until 2027-01-31: an upstream bug (https://…)`, or `expired on 2026-10-31: …`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = match self.force {
            Force::InForce => "until",
            Force::Expired => "expired on",
        };
        write!(f, "{since} {}: {}", self.until, self.reason)?;
        match &self.link {
            Some(link) => write!(f, " ({link})"),
            None => Ok(()),
        }
    }
}

/// Whether a text matches a pattern in which `*` stands for any characters, or for none.
pub fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    true
}

/// What a trial means to the run: its verdict, less what is waived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It passed.
    Passed,
    /// It failed, and no waiver is in force.
    Failed,
    /// It failed, and that is accepted.
    Waived,
    /// It could not tell.
    Inconclusive,
    /// It could not tell, but its failure would be accepted: neither answer but a pass would change anything.
    Unobserved,
    /// It did not apply.
    Skipped,
}

impl Standing {
    /// Of a verdict under a waiver.
    pub fn of(verdict: &Verdict, waiver: Option<&Waiver>) -> Self {
        let waived = waiver.is_some_and(|waiver| waiver.force == Force::InForce);
        match verdict {
            Verdict::Pass { .. } => Standing::Passed,
            Verdict::Fail { .. } if waived => Standing::Waived,
            Verdict::Fail { .. } => Standing::Failed,
            Verdict::Inconclusive { .. } if waived => Standing::Unobserved,
            Verdict::Inconclusive { .. } => Standing::Inconclusive,
            Verdict::Skipped { .. } => Standing::Skipped,
        }
    }
    /// The word of reports.
    pub fn word(self) -> &'static str {
        match self {
            Standing::Passed => "passed",
            Standing::Failed => "failed",
            Standing::Waived => "waived",
            Standing::Inconclusive => "inconclusive",
            Standing::Unobserved => "waived, not observed",
            Standing::Skipped => "skipped",
        }
    }
    /// Whether a waiver keeps it from deciding about the run.
    pub fn is_waived(self) -> bool {
        matches!(self, Standing::Waived | Standing::Unobserved)
    }
}

/// What the exit code of a run means that fails for its waivers only.
pub const SPENT: &str = "nothing failed that is not waived, but a waiver must go";

/// A waiver that must go: a run with one fails.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SpentWaiver {
    /// Which.
    #[serde(flatten)]
    pub waiver: Waiver,
    /// Why it must go.
    pub why: Spent,
}

/// Why a waiver must go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Spent {
    /// Everything that it covers passed.
    Passed,
    /// Its last day is over, and what it covers fails.
    Expired,
}

impl fmt::Display for SpentWaiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (subject, source) = (self.waiver.subject(), &self.waiver.source);
        match self.why {
            Spent::Passed => write!(f, "remove the waiver of {subject} ({source}): it passed"),
            Spent::Expired => write!(
                f,
                "the waiver of {subject} ({source}) expired on {}: {}",
                self.waiver.until, self.waiver.reason
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn waiver(check: &str, instance: Option<&str>, force: Force) -> Waiver {
        Waiver {
            check: check.to_owned(),
            instance: instance.map(str::to_owned),
            reason: "an upstream bug".to_owned(),
            link: Some("https://example.org/1".to_owned()),
            until: jiff::civil::date(2027, 1, 31),
            source: "meshproof.yaml:12".to_owned(),
            force,
        }
    }

    #[test]
    fn a_star_stands_for_any_characters() {
        for (pattern, text, expected) in [
            ("service::several_ports", "service::several_ports", true),
            ("service::several_ports", "service::several_ports_too", false),
            ("service::*", "service::several_ports", true),
            ("*::several_ports", "service::several_ports", true),
            ("s*::*ports", "service::several_ports", true),
            ("s*x*ports", "service::several_ports", false),
            ("*", "", true),
            ("", "x", false),
            ("infra->*", "infra->apps", true),
            ("infra->*", "infra", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn it_covers_one_instance_or_all() {
        let check: CheckId = "mesh::ready".into();
        let infra = Instance::Cluster("infra".into());
        let direction = Instance::Direction {
            from: "infra".into(),
            to: "apps".into(),
        };
        assert!(waiver("mesh::*", None, Force::InForce).covers(&check, &direction));
        assert!(waiver("mesh::ready", Some("infra"), Force::InForce).covers(&check, &infra));
        assert!(!waiver("mesh::ready", Some("infra"), Force::InForce).covers(&check, &direction));
        assert!(waiver("mesh::ready", Some("infra->*"), Force::InForce).covers(&check, &direction));
    }

    #[test]
    fn only_a_waiver_in_force_changes_what_a_failure_means() {
        let failed = Verdict::Fail { findings: Vec::new() };
        let unknown = Verdict::inconclusive("an agent is away");
        let (valid, expired) = (
            waiver("a::b", None, Force::InForce),
            waiver("a::b", None, Force::Expired),
        );
        assert_eq!(Standing::of(&failed, None), Standing::Failed);
        assert_eq!(Standing::of(&failed, Some(&expired)), Standing::Failed);
        assert_eq!(Standing::of(&failed, Some(&valid)), Standing::Waived);
        assert_eq!(Standing::of(&unknown, Some(&valid)), Standing::Unobserved);
        assert_eq!(Standing::of(&unknown, Some(&expired)), Standing::Inconclusive);
        let passed = Verdict::Pass { witnesses: Vec::new() };
        assert_eq!(Standing::of(&passed, Some(&valid)), Standing::Passed);
    }

    #[test]
    fn what_must_go_says_which_line_and_why() {
        let spent = |why, force| SpentWaiver {
            waiver: waiver("a::b", Some("infra"), force),
            why,
        };
        assert_eq!(
            spent(Spent::Passed, Force::InForce).to_string(),
            "remove the waiver of a::b[infra] (meshproof.yaml:12): it passed"
        );
        assert_eq!(
            spent(Spent::Expired, Force::Expired).to_string(),
            "the waiver of a::b[infra] (meshproof.yaml:12) expired on 2027-01-31: an upstream bug"
        );
    }
}
