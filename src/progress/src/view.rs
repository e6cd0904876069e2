//! What is known of the run so far, folded from its events.

use jiff::Timestamp;
use meshproof_contract::{
    ClaimSource, ClusterName, Event, EventRecord, Evidence, Facts, FaultName, RunId, TrialName, Verdict,
    event::{FaultChange, Phase, Shortfall},
};
use std::collections::{BTreeSet, HashMap};

/// The run so far.
#[derive(Clone, Debug, Default)]
pub struct View {
    pub(crate) run: Option<(RunId, String)>,
    pub(crate) again: Vec<String>,
    pub(crate) first: Option<Timestamp>,
    pub(crate) last: Option<Timestamp>,
    pub(crate) phase: Option<Phase>,
    pub(crate) waiting: Option<String>,
    pub(crate) shortfalls: Vec<Shortfall>,
    pub(crate) live_claims: BTreeSet<ClusterName>,
    pub(crate) faults: Vec<FaultName>,
    pub(crate) warnings: Vec<String>,
    pub(crate) trials: Vec<Trial>,
    pub(crate) aborted: Option<String>,
    pub(crate) exit_code: Option<u8>,
    position: HashMap<TrialName, usize>,
}

/// A trial as far as it is.
#[derive(Clone, Debug)]
pub(crate) struct Trial {
    pub(crate) name: TrialName,
    pub(crate) suite: String,
    pub(crate) title: String,
    pub(crate) when_red: String,
    pub(crate) stage: Stage,
}

/// How far a trial is.
#[derive(Clone, Debug)]
pub(crate) enum Stage {
    /// Not started.
    Waiting,
    /// Since when it runs.
    Running(Timestamp),
    /// Its end.
    Finished(Finished),
}

/// The end of a trial.
#[derive(Clone, Debug)]
pub(crate) struct Finished {
    pub(crate) verdict: Verdict,
    pub(crate) seconds: f64,
    /// Commands that the check suggests, from its evidence.
    pub(crate) commands: Vec<String>,
}

/// Trials by verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) inconclusive: usize,
    pub(crate) skipped: usize,
    pub(crate) unfinished: usize,
}

impl Counts {
    pub(crate) fn add(&mut self, trial: &Trial) {
        *match trial.verdict() {
            Some(Verdict::Pass { .. }) => &mut self.passed,
            Some(Verdict::Fail { .. }) => &mut self.failed,
            Some(Verdict::Inconclusive { .. }) => &mut self.inconclusive,
            Some(Verdict::Skipped { .. }) => &mut self.skipped,
            None => &mut self.unfinished,
        } += 1;
    }
    pub(crate) fn finished(&self) -> usize {
        self.passed + self.failed + self.inconclusive + self.skipped
    }
}

impl Trial {
    pub(crate) fn verdict(&self) -> Option<&Verdict> {
        self.finished().map(|finished| &finished.verdict)
    }
    pub(crate) fn finished(&self) -> Option<&Finished> {
        match &self.stage {
            Stage::Finished(finished) => Some(finished),
            Stage::Waiting | Stage::Running(_) => None,
        }
    }
}

/// One line on why: the first deviation or the reason; nothing for a pass.
pub(crate) fn headline(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Pass { .. } => String::new(),
        Verdict::Fail { findings } => match findings.as_slice() {
            [] => "failed without naming a deviation".to_owned(),
            [one] => format!("{}: {}", one.subject, one.observed),
            [first, rest @ ..] => format!("{}: {} (and {} more)", first.subject, first.observed, rest.len()),
        },
        Verdict::Inconclusive { why } | Verdict::Skipped { why } => why.clone(),
    }
}

impl View {
    /// Takes one more event.
    pub fn handle(&mut self, record: &EventRecord) {
        self.first.get_or_insert(record.at);
        self.last = Some(record.at);
        match &record.event {
            Event::RunStarted {
                run, version, again, ..
            } => {
                self.run = Some((run.clone(), version.clone()));
                self.again = again.clone();
            }
            Event::Phase { phase } => {
                self.phase = Some(*phase);
                self.waiting = None;
            }
            Event::Waiting { what } => self.waiting = Some(what.clone()),
            Event::Warning { message } => self.warnings.push(message.clone()),
            Event::FactsFound { facts } => self.live_claims = live_claims(facts),
            Event::Planned { trials } => {
                for planned in trials {
                    let at = self.position_of(&planned.trial);
                    self.trials[at].title = planned.title.clone();
                    self.trials[at].when_red = planned.when_red.clone();
                }
            }
            Event::TrialStarted { trial } => {
                let at = self.position_of(trial);
                self.trials[at].stage = Stage::Running(record.at);
            }
            Event::TrialFinished {
                trial,
                verdict,
                micros,
                evidence,
                ..
            } => {
                let at = self.position_of(trial);
                let commands = evidence.iter().filter_map(|evidence| match evidence {
                    Evidence::Command(command) => Some(command.command.clone()),
                    _ => None,
                });
                self.trials[at].stage = Stage::Finished(Finished {
                    verdict: verdict.clone(),
                    seconds: *micros as f64 / 1e6,
                    commands: commands.collect(),
                });
            }
            Event::Fault { fault, change } => match change {
                FaultChange::Injected => self.faults.push(fault.clone()),
                FaultChange::Healed => self.faults.retain(|other| other != fault),
            },
            Event::RequiredMissed { shortfalls } => self.shortfalls.extend(shortfalls.iter().cloned()),
            Event::Aborted { reason, exit_code } => {
                self.aborted = Some(reason.clone());
                self.exit_code = Some(*exit_code);
            }
            Event::RunFinished { exit_code } => self.exit_code = Some(*exit_code),
        }
    }

    pub(crate) fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        self.trials.iter().for_each(|trial| counts.add(trial));
        counts
    }

    /// Seconds from the first event until then.
    pub(crate) fn elapsed(&self, now: Timestamp) -> f64 {
        self.first
            .map_or(0.0, |first| now.duration_since(first).as_secs_f64().max(0.0))
    }

    /// Where the trial is; one that was not planned is added at the end.
    fn position_of(&mut self, name: &TrialName) -> usize {
        if let Some(at) = self.position.get(name) {
            return *at;
        }
        let at = self.trials.len();
        self.position.insert(name.clone(), at);
        let suite = name.as_str().split("::").next().unwrap_or_default().to_owned();
        let title = name.to_string();
        self.trials.push(Trial {
            name: name.clone(),
            suite,
            title,
            when_red: String::new(),
            stage: Stage::Waiting,
        });
        at
    }
}

fn live_claims(facts: &Facts) -> BTreeSet<ClusterName> {
    let live = facts
        .claims
        .iter()
        .filter(|claim| matches!(claim.source, ClaimSource::Live { .. }));
    live.map(|claim| claim.cluster.clone()).collect()
}
