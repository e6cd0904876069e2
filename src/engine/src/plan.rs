//! What is going to run, and in which order.

use meshproof_contract::{
    Admission, Check, CheckId, Event, Force, Instance, Standing, TrialName, Verdict, Waiver, event::PlannedTrial,
};
use std::{fmt, sync::Arc};

/// One check on one instance.
#[derive(Clone)]
pub struct Trial {
    /// The check.
    pub check: &'static dyn Check,
    /// On what it runs.
    pub instance: Instance,
    /// `suite::check[infra->apps]`.
    pub name: TrialName,
    /// The waiver that covers it.
    pub waiver: Option<Arc<Waiver>>,
}

impl Trial {
    pub(crate) fn new(check: &'static dyn Check, instance: Instance) -> Self {
        let name = instance.trial(&check.id());
        Self {
            check,
            instance,
            name,
            waiver: None,
        }
    }

    /// What a verdict of it means to the run.
    pub(crate) fn standing(&self, verdict: &Verdict) -> Standing {
        Standing::of(verdict, self.waiver.as_deref())
    }

    pub(crate) fn admission(&self) -> Admission {
        self.check.needs().admission
    }
}

impl fmt::Debug for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Trial").field(&self.name).finish()
    }
}

/// The trials of a run in their order: shared ones in the order of the suites, then the exclusive ones, so that an
/// exclusive trial waits once for the last shared one instead of halting them all in the middle.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    trials: Vec<Trial>,
    without_instance: Vec<CheckId>,
}

impl Plan {
    pub(crate) fn new(mut trials: Vec<Trial>, without_instance: Vec<CheckId>) -> Self {
        trials.sort_by_key(|trial| trial.admission() != Admission::Shared);
        Self {
            trials,
            without_instance,
        }
    }
    /// The same with these waivers. Of several that cover a trial the first one in force counts.
    pub fn waived(mut self, waivers: &[Waiver]) -> Self {
        let waivers: Vec<Arc<Waiver>> = waivers.iter().cloned().map(Arc::new).collect();
        for trial in &mut self.trials {
            let covers = |waiver: &&Arc<Waiver>| waiver.covers(&trial.check.id(), &trial.instance);
            let valid = |waiver: &&Arc<Waiver>| waiver.force == Force::InForce;
            let found = waivers.iter().filter(covers).find(valid);
            trial.waiver = found.or_else(|| waivers.iter().find(covers)).cloned();
        }
        self
    }
    /// The trials in their order; never empty in a plan that [`select`](crate::select) made.
    pub fn trials(&self) -> &[Trial] {
        &self.trials
    }
    /// The trials in the order in which they start: of the shared ones those first that change nothing, so that what
    /// they read does not change under them, and need not be read again.
    pub(crate) fn in_order(&self) -> Vec<&Trial> {
        let mut trials: Vec<&Trial> = self.trials.iter().collect();
        trials.sort_by_key(|trial| {
            let needs = trial.check.needs();
            (needs.admission != Admission::Shared, needs.mutates)
        });
        trials
    }
    /// Selected checks that cannot run at all on these clusters, since they need two and one was given, or flows, and
    /// none are written down.
    pub fn without_instance(&self) -> &[CheckId] {
        &self.without_instance
    }
    /// The scenarios that the trials use, each once, in the order of first use.
    pub fn scenarios(&self) -> Vec<&'static str> {
        let mut names = Vec::new();
        for name in self.trials.iter().filter_map(|trial| trial.check.needs().scenario) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }
    /// What `--list` prints: libtest's format, one line a trial, with a final newline.
    pub fn list(&self) -> String {
        self.trials
            .iter()
            .map(|trial| format!("{}: test\n", trial.name))
            .collect()
    }
    /// The event that announces the plan.
    pub fn planned(&self) -> Event {
        let planned = |trial: &Trial| {
            let text = trial.check.text();
            PlannedTrial {
                trial: trial.name.clone(),
                check: trial.check.id(),
                instance: trial.instance.clone(),
                title: text.title.to_owned(),
                when_red: text.when_red.to_owned(),
                control: text.control.to_owned(),
            }
        };
        Event::Planned {
            trials: self.trials.iter().map(planned).collect(),
        }
    }
}
