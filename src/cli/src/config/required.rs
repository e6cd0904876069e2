//! What must run at least. What was skipped, or left out by the command line, has not run.

use super::{
    error::{ConfigError, suggestion},
    file::RequiredEntry,
};
use meshproof_contract::{
    CheckId, ClusterName, Event, Flow, Instance, Scope, Suite, TrialName, Verdict, event::Shortfall,
};
use meshproof_engine::Plan;
use serde_saphyr::{Location, Spanned};
use std::collections::BTreeMap;

/// What must run at least.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Required {
    path: String,
    suites: Vec<(String, Location)>,
    checks: Vec<(String, Location)>,
    trials: Option<usize>,
}

impl Required {
    pub(super) fn of(path: &str, entry: RequiredEntry) -> Self {
        let named = |names: Vec<Spanned<String>>| names.into_iter().map(|n| (n.value, n.referenced)).collect();
        Self {
            path: path.to_owned(),
            suites: named(entry.suites),
            checks: named(entry.checks),
            trials: entry.trials,
        }
    }

    /// A name that does not exist can never run: better an error now than after a minute.
    ///
    /// # Errors
    /// The first suite or check that does not exist.
    pub fn verify(&self, suites: &[Suite]) -> Result<(), ConfigError> {
        let unknown = |kind: &str, name: &str, at: &Location, known: Vec<String>| {
            let meant = suggestion(name, known.iter().map(String::as_str));
            ConfigError::at(&self.path, *at, format!("unknown {kind} '{name}'; {meant}"))
        };
        let names: Vec<String> = suites.iter().map(|suite| suite.name.to_owned()).collect();
        for (name, at) in &self.suites {
            if !names.contains(name) {
                return Err(unknown("suite", name, at, names));
            }
        }
        let ids: Vec<String> = checks(suites).map(|(id, _)| id.to_string()).collect();
        for (name, at) in &self.checks {
            if !ids.contains(name) {
                // All ids would be a page.
                let near = ids.into_iter().filter(|id| shares_suite(id, name)).collect();
                return Err(unknown("check", name, at, near));
            }
        }
        Ok(())
    }

    /// What is missing after a run, in the order of the file; nothing when the minimum was reached.
    pub fn missing(
        &self,
        suites: &[Suite],
        (clusters, flows): (&[ClusterName], &[Flow]),
        plan: &Plan,
        ran: &Ran,
    ) -> Vec<Shortfall> {
        let suites_missing = self.suites.iter().flat_map(|(name, at)| {
            let required = format!("suite {name} ({})", self.place(at));
            let missing = clusters
                .iter()
                .filter_map(move |cluster| suite_missing(name, cluster, plan, ran));
            missing.map(move |why| Shortfall {
                required: required.clone(),
                why,
            })
        });
        let checks_missing = self.checks.iter().flat_map(|(name, at)| {
            let scope = checks(suites)
                .find(|(id, _)| id.as_str() == name)
                .map(|(_, scope)| scope);
            let required = format!("check {name} ({})", self.place(at));
            let instances = scope
                .map(|scope| Instance::of(scope, clusters, flows))
                .unwrap_or_default();
            let none = instances.is_empty().then(|| match scope {
                Some(Scope::Flow(_)) => "no such flow is written down".to_owned(),
                _ => "it needs two clusters, but only one was given".to_owned(),
            });
            let missing = instances.into_iter().filter_map(|instance| {
                let trial = instance.trial(&CheckId::from(name.as_str()));
                ran.why_not(&trial, plan).map(|why| format!("{trial}: {why}"))
            });
            let all: Vec<_> = none.into_iter().chain(missing).collect();
            all.into_iter().map(move |why| Shortfall {
                required: required.clone(),
                why,
            })
        });
        let too_few = self.trials.filter(|least| ran.count() < *least).map(|least| Shortfall {
            required: format!("at least {least} trials ({})", self.path),
            why: format!("{} ran, {} were skipped", ran.count(), ran.skipped()),
        });
        suites_missing.chain(checks_missing).chain(too_few).collect()
    }

    fn place(&self, at: &Location) -> String {
        format!("{}:{}", self.path, at.line())
    }
}

fn checks(suites: &[Suite]) -> impl Iterator<Item = (CheckId, Scope)> {
    let all = suites.iter().flat_map(|suite| suite.checks.iter());
    all.map(|check| (check.id(), check.scope()))
}

fn shares_suite(id: &str, name: &str) -> bool {
    let suite = |text: &str| text.split("::").next().unwrap_or_default().to_owned();
    suite(id) == suite(name)
}

/// Why a suite has not run in a cluster: no trial that starts there ran to a verdict.
fn suite_missing(suite: &str, cluster: &ClusterName, plan: &Plan, ran: &Ran) -> Option<String> {
    let here = |trial: &&meshproof_engine::Trial| trial.check.id().suite() == suite && trial.instance.from() == cluster;
    let trials: Vec<_> = plan.trials().iter().filter(here).map(|trial| &trial.name).collect();
    if trials.is_empty() {
        return Some(format!("{cluster}: no check of the suite was selected"));
    }
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    for trial in trials {
        *reasons.entry(ran.why_not(trial, plan)?).or_default() += 1;
    }
    let reasons: Vec<_> = reasons.iter().map(|(why, n)| format!("{n} {why}")).collect();
    Some(format!("{cluster}: {}", reasons.join("; ")))
}

/// What became of the trials so far.
#[derive(Clone, Debug, Default)]
pub struct Ran {
    verdicts: BTreeMap<TrialName, Verdict>,
}

impl Ran {
    /// Records an event.
    pub fn record(&mut self, event: &Event) {
        if let Event::TrialFinished { trial, verdict, .. } = event {
            self.verdicts.insert(trial.clone(), verdict.clone());
        }
    }
    /// The verdict of a trial; none if it has not finished.
    pub fn verdict(&self, trial: &TrialName) -> Option<&Verdict> {
        self.verdicts.get(trial)
    }
    /// How many were not skipped.
    fn count(&self) -> usize {
        self.verdicts.len() - self.skipped()
    }
    fn skipped(&self) -> usize {
        let skipped = |verdict: &&Verdict| matches!(verdict, Verdict::Skipped { .. });
        self.verdicts.values().filter(skipped).count()
    }
    /// Why a trial has not run; none if it has.
    fn why_not(&self, trial: &TrialName, plan: &Plan) -> Option<String> {
        match self.verdicts.get(trial) {
            Some(Verdict::Skipped { why }) => Some(format!("skipped ({why})")),
            Some(_) => None,
            None if plan.trials().iter().any(|planned| &planned.name == trial) => Some("did not finish".to_owned()),
            None => Some("was not selected".to_owned()),
        }
    }
}
