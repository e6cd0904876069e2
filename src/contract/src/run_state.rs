//! What is known of a run so far, folded from its events: the live view and the reports read the same state.
//!
//! Tolerant of a log that ends anywhere or lacks its beginning: a trial whose plan is missing is known by its name.

mod causes;
mod claims;
mod counts;
mod diagnosis;
mod place;

pub use causes::CauseReport;
pub use claims::{ClaimReport, Seen, claims_line};
pub use counts::Counts;
pub use diagnosis::{Diagnosis, Found, Seen as SeenByChecks, Suspect, Suspicion, diagnose};
pub use place::{CommonPlace, Place};

use crate::{
    ApiRequests, Event, EventRecord, Evidence, Facts, FaultName, Instance, Measurement, RunId, Silent, Standing,
    TrialName, Trouble, Verdict, Waiver,
    advice::fill,
    event::{FaultChange, Phase, PlannedTrial, Shortfall},
    evidence::KnownFault,
    waiver::SpentWaiver,
};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// A run so far.
#[derive(Clone, Debug, Default)]
pub struct RunState {
    /// What the first event says; none when the log lacks it.
    pub run: Option<RunIdentity>,
    /// The time of the first event.
    pub first: Option<Timestamp>,
    /// The time of the last event.
    pub last: Option<Timestamp>,
    /// The phases with the times at which they began.
    pub phases: Vec<(Phase, Timestamp)>,
    /// What the current phase waits for.
    pub waiting: Option<String>,
    /// What had to run and did not.
    pub shortfalls: Vec<Shortfall>,
    /// Waivers that must go.
    pub spent_waivers: Vec<SpentWaiver>,
    /// What was or went wrong with nodes and API servers, in the order in which it was seen.
    pub troubles: Vec<Trouble>,
    /// What no check says, but people should know.
    pub warnings: Vec<String>,
    /// Faults that were injected on purpose, in order.
    pub faults: Vec<InjectedFault>,
    /// The clusters as found.
    pub facts: Option<Facts>,
    /// The trials in the order of the plan.
    pub trials: Vec<TrialState>,
    /// The requests made to the clusters' API servers, as last counted.
    pub api_requests: Vec<ApiRequests>,
    /// Why the run could not go on, with the exit code that this means.
    pub aborted: Option<(String, u8)>,
    /// The exit code; none before the last event.
    pub exit_code: Option<u8>,
    position: HashMap<TrialName, usize>,
}

/// Which run it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunIdentity {
    /// The run.
    pub run: RunId,
    /// Version of meshproof.
    pub version: String,
    /// The command line as it was typed.
    pub command: Vec<String>,
    /// The command line that repeats the run for one trial, without the trial's name.
    pub again: Vec<String>,
}

/// A fault that was injected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InjectedFault {
    /// Which.
    pub fault: FaultName,
    /// Whether it was healed before the run ended.
    pub healed: bool,
}

/// A trial so far.
#[derive(Clone, Debug)]
pub struct TrialState {
    /// The trial as planned; what is not known of an unplanned one is empty. Once it has finished, its `when_red`
    /// holds the names of this run.
    pub planned: PlannedTrial,
    /// On what it runs; none when only its name is known and does not say so.
    pub instance: Option<Instance>,
    /// When it started.
    pub started: Option<Timestamp>,
    /// How it ended.
    pub finished: Option<FinishedTrial>,
}

/// The end of a trial.
#[derive(Clone, Debug)]
pub struct FinishedTrial {
    /// What it concluded.
    pub verdict: Verdict,
    /// How long it took, in microseconds.
    pub micros: u64,
    /// Its figures.
    pub measurements: Vec<Measurement>,
    /// Its evidence.
    pub evidence: Vec<Evidence>,
    /// What did not answer it.
    pub silent: Vec<Silent>,
    /// The waiver that covers it.
    pub waiver: Option<Waiver>,
    /// When it ended.
    pub at: Timestamp,
}

impl TrialState {
    /// What it concluded; none before its end.
    pub fn verdict(&self) -> Option<&Verdict> {
        self.finished.as_ref().map(|finished| &finished.verdict)
    }
    /// What it means to the run; none before its end.
    pub fn standing(&self) -> Option<Standing> {
        self.finished
            .as_ref()
            .map(|finished| Standing::of(&finished.verdict, finished.waiver.as_ref()))
    }
    /// Since when it runs; none before its start and after its end.
    pub fn running_since(&self) -> Option<Timestamp> {
        self.started.filter(|_| self.finished.is_none())
    }

    /// A trial of which nothing but its name is known.
    fn unplanned(name: &TrialName) -> Self {
        let (check, instance) = (name.check(), name.instance());
        Self {
            planned: PlannedTrial {
                trial: name.clone(),
                title: check.to_string(),
                instance: instance.clone().unwrap_or(Instance::Cluster("unknown".into())),
                check,
                when_red: String::new(),
                control: String::new(),
            },
            instance,
            started: None,
            finished: None,
        }
    }
}

impl FinishedTrial {
    /// The faults of Cilium itself that what it saw fits.
    pub fn known_faults(&self) -> impl Iterator<Item = &KnownFault> {
        self.evidence.iter().filter_map(|evidence| match evidence {
            Evidence::KnownFault(known) => Some(known),
            _ => None,
        })
    }
    /// The commands in its evidence.
    pub fn commands(&self) -> impl Iterator<Item = &str> {
        self.evidence.iter().filter_map(|evidence| match evidence {
            Evidence::Command(command) => Some(command.command.as_str()),
            _ => None,
        })
    }
}

impl RunState {
    /// Takes one more event.
    pub fn handle(&mut self, record: &EventRecord) {
        self.first.get_or_insert(record.at);
        self.last = Some(record.at);
        match &record.event {
            Event::RunStarted {
                run,
                version,
                command,
                again,
                ..
            } => {
                self.run = Some(RunIdentity {
                    run: run.clone(),
                    version: version.clone(),
                    command: command.clone(),
                    again: again.clone(),
                });
            }
            Event::Phase { phase } => {
                self.phases.push((*phase, record.at));
                self.waiting = None;
            }
            Event::Waiting { what } => self.waiting = Some(what.clone()),
            Event::Warning { message } => self.warnings.push(message.clone()),
            Event::FactsFound { facts } => {
                if let Some(run) = &mut self.run
                    && facts.is_sampled()
                {
                    crate::again::repeat_sample(&mut run.again, facts.generation.sample_seed);
                }
                self.facts = Some((**facts).clone());
            }
            Event::Planned { trials } => trials.iter().for_each(|trial| self.plan(trial)),
            Event::TrialStarted { trial } => self.trial(trial).started = Some(record.at),
            Event::TrialFinished {
                trial,
                verdict,
                micros,
                measurements,
                evidence,
                silent,
                waiver,
            } => self.finish(
                trial,
                FinishedTrial {
                    verdict: verdict.clone(),
                    micros: *micros,
                    measurements: measurements.clone(),
                    evidence: evidence.clone(),
                    silent: silent.clone(),
                    waiver: waiver.as_deref().cloned(),
                    at: record.at,
                },
            ),
            Event::ClusterChanged { cluster, change } => self.change(cluster, change, record.at),
            Event::Fault { fault, change } => self.fault(fault, *change),
            Event::RequiredMissed { shortfalls } => self.shortfalls.extend(shortfalls.iter().cloned()),
            Event::ApiRequests { requests } => self.api_requests.clone_from(requests),
            Event::WaiversSpent { waivers } => self.spent_waivers.extend(waivers.iter().cloned()),
            Event::Aborted { reason, exit_code } => self.aborted = Some((reason.clone(), *exit_code)),
            Event::RunFinished { exit_code } => self.exit_code = Some(*exit_code),
        }
    }

    /// Trials that ended, by verdict.
    pub fn counts(&self) -> Counts {
        Counts::of(self.trials.iter().filter_map(TrialState::standing))
    }
    /// Seconds from the first event until then.
    pub fn elapsed(&self, now: Timestamp) -> f64 {
        self.first
            .map_or(0.0, |first| now.duration_since(first).as_secs_f64().max(0.0))
    }
    /// Faults that are not healed.
    pub fn active_faults(&self) -> impl Iterator<Item = &FaultName> {
        self.faults
            .iter()
            .filter(|fault| !fault.healed)
            .map(|fault| &fault.fault)
    }

    fn plan(&mut self, planned: &PlannedTrial) {
        let trial = self.trial(&planned.trial);
        trial.instance = Some(planned.instance.clone());
        trial.planned = planned.clone();
    }

    /// A trial that ran again keeps its worst verdict, so that a repetition cannot hide a failure. Only now it is known
    /// which names its advice needs.
    fn finish(&mut self, name: &TrialName, finished: FinishedTrial) {
        let facts = self.facts.take();
        let trial = self.trial(name);
        if trial
            .verdict()
            .is_none_or(|before| severity(&finished.verdict) > severity(before))
        {
            if let Some(facts) = &facts {
                let planned = &mut trial.planned;
                planned.when_red = fill(&planned.when_red, facts, &planned.instance, &finished.evidence);
            }
            trial.finished = Some(finished);
        }
        self.facts = facts;
    }

    fn fault(&mut self, fault: &FaultName, change: FaultChange) {
        match change {
            FaultChange::Injected => self.faults.push(InjectedFault {
                fault: fault.clone(),
                healed: false,
            }),
            FaultChange::Healed => {
                let same = self.faults.iter_mut().filter(|other| other.fault == *fault);
                same.for_each(|other| other.healed = true);
            }
        }
    }

    /// The trial of that name; one that was not planned is added at the end.
    fn trial(&mut self, name: &TrialName) -> &mut TrialState {
        let at = *self.position.entry(name.clone()).or_insert_with(|| {
            self.trials.push(TrialState::unplanned(name));
            self.trials.len() - 1
        });
        &mut self.trials[at]
    }
}

fn severity(verdict: &Verdict) -> u8 {
    match verdict {
        Verdict::Skipped { .. } => 0,
        Verdict::Pass { .. } => 1,
        Verdict::Inconclusive { .. } => 2,
        Verdict::Fail { .. } => 3,
    }
}

#[cfg(test)]
mod tests;
