//! One trial from admission to verdict: preconditions, deadline, panic, cancellation, and undoing what it left.
//!
//! Asynchronous and free of libtest-mimic, so that its timing is tested on a paused clock.

use crate::{admission::Gate, plan::Trial, precondition::unmet, summary::Summary, undo_log::UndoLog};
use meshproof_contract::{
    Admission, CheckContext, Environment, Event, Evidence, RunShared, Silent, Standing, TrialName, Verdict,
    check::Notes,
};
use std::{
    any::Any,
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    sync::mpsc::UnboundedSender,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

/// How long an aborted task may take to end: one that awaits ends at once.
const ABORTED_WITHIN: Duration = Duration::from_secs(5);
/// How long undoing may take; bringing back a node takes longest.
const UNDONE_WITHIN: Duration = Duration::from_secs(180);

/// Runs the trials of one run, and counts their verdicts.
pub(crate) struct TrialRunner {
    pub(crate) environment: Arc<dyn Environment>,
    pub(crate) shared: Arc<RunShared>,
    /// What trials of this run read once for all.
    pub(crate) observed: Arc<RunShared>,
    pub(crate) events: UnboundedSender<Event>,
    pub(crate) gate: Gate,
    pub(crate) limits: Limits,
    pub(crate) cancel: CancellationToken,
    /// Cancelled when the run has lost its Lease.
    pub(crate) lost: CancellationToken,
    /// Whether the first failure ends the run.
    pub(crate) fail_fast: bool,
    pub(crate) state: Mutex<State>,
}

/// Longest times of one trial, from admission.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Of one that runs beside others.
    pub shared: Duration,
    /// Of one that runs alone: it may wait until a node or a whole cluster is back.
    pub exclusive: Duration,
}

impl Limits {
    fn of(self, admission: Admission) -> Duration {
        match admission {
            Admission::Shared => self.shared,
            Admission::ExclusiveInCluster | Admission::Exclusive | Admission::Footprint(_) => self.exclusive,
        }
    }
}

/// The result of the trials so far.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) summary: Summary,
    finished: BTreeSet<TrialName>,
    first_failure: Option<TrialName>,
}

impl TrialRunner {
    /// Runs the trial when it is admitted, sends its events, counts it, and returns its verdict.
    pub(crate) async fn run(&self, trial: &Trial) -> Verdict {
        let permit = tokio::select! {
            biased;
            () = self.cancel.cancelled() => None,
            () = self.lost.cancelled() => None,
            permit = self.gate.admit(trial.admission(), &trial.instance) => Some(permit),
        };
        let started = Instant::now();
        let barred = match permit {
            None => Some(self.ended("before it started")),
            Some(_) => self.not_to_start(),
        };
        let barred = barred.or_else(|| unmet(trial.check.needs(), &trial.instance, &self.environment.facts()));
        let (verdict, mut notes, silent, micros) = match barred {
            Some(verdict) => (verdict, Notes::default(), Vec::new(), micros(started)),
            None => {
                let observed = self.observe(trial).await;
                let micros = micros(started);
                if let Some(left) = observed.left {
                    self.undo(trial, &left).await;
                }
                (observed.verdict, observed.notes, observed.silent, micros)
            }
        };
        let verdict = self.excused(trial, witnessed(verdict), &mut notes);
        self.with_state(|state| {
            let standing = trial.standing(&verdict);
            state.summary.count(standing);
            state.finished.insert(trial.name.clone());
            if standing == Standing::Failed && state.first_failure.is_none() {
                state.first_failure = Some(trial.name.clone());
            }
        });
        self.send(Event::TrialFinished {
            trial: trial.name.clone(),
            verdict: verdict.clone(),
            micros,
            measurements: notes.measurements,
            evidence: notes.evidence,
            silent: match verdict {
                Verdict::Fail { .. } | Verdict::Inconclusive { .. } => silent,
                // It was asked again, or did not matter.
                Verdict::Pass { .. } | Verdict::Skipped { .. } => Vec::new(),
            },
            waiver: trial.waiver.as_deref().cloned().map(Box::new),
        });
        drop(permit);
        verdict
    }

    pub(crate) fn summary(&self) -> Summary {
        self.with_state(|state| state.summary)
    }

    pub(crate) fn has_finished(&self, trial: &TrialName) -> bool {
        self.with_state(|state| state.finished.contains(trial))
    }

    /// Runs the check as a task of its own, so that a panic, or a thread that is blocked, ends neither the trial nor
    /// the run. A task that does not end after its abortion is left behind.
    async fn observe(&self, trial: &Trial) -> Observed {
        self.send(Event::TrialStarted {
            trial: trial.name.clone(),
        });
        let undo_log = Arc::new(UndoLog::new(self.environment.clone()));
        let context = CheckContext::new(undo_log.clone(), trial.instance.clone())
            .sharing(self.shared.clone())
            .observing(self.observed.clone());
        let (check, own) = (trial.check, context.clone());
        let limit = self.limits.of(trial.admission());
        let started = Instant::now();
        let mut task = tokio::spawn(async move { check.run(&own).await });
        let heard = undo_log.clone();
        let (verdict, left) = tokio::select! {
            ended = timeout(limit, &mut task) => match ended {
                Ok(Ok(verdict)) => (verdict, None),
                Ok(Err(error)) => match error.try_into_panic() {
                    Ok(payload) => (Verdict::inconclusive(format!(
                        "internal error: the check panicked: {}",
                        panic_message(payload.as_ref())
                    )), Some(undo_log)),
                    Err(_) => (self.ended("when the runtime ended"), None),
                },
                Err(_) => {
                    task.abort();
                    // Its calls end before they are undone.
                    let _ = timeout(ABORTED_WITHIN, &mut task).await;
                    (Verdict::inconclusive(format!(
                        "timed out after {}, the limit for one trial (--timeout)",
                        seconds(limit)
                    )), Some(undo_log))
                }
            },
            // The end of the run undoes everything.
            () = self.cancel.cancelled() => (self.ended(&format!("after {}", seconds(started.elapsed()))), None),
            () = self.lost.cancelled() => (self.ended(&format!("after {}", seconds(started.elapsed()))), None),
        };
        task.abort();
        Observed {
            verdict,
            notes: context.take_notes(),
            silent: heard.take_silent(),
            left,
        }
    }

    /// Undoes what a trial left that did not end by itself. It keeps its permit meanwhile, so that no exclusive trial
    /// observes it.
    async fn undo(&self, trial: &Trial, undo_log: &UndoLog) {
        let warn = |what: String| {
            self.send(Event::Warning {
                message: format!("{}: failed to undo its changes: {what}", trial.name),
            });
        };
        tokio::select! {
            undone = timeout(UNDONE_WITHIN, undo_log.undo_all()) => match undone {
                Ok(failures) => failures.into_iter().for_each(|failure| warn(failure.to_string())),
                Err(_) => warn(format!("timed out after {}", seconds(UNDONE_WITHIN))),
            },
            () = self.cancel.cancelled() => {}
            () = self.lost.cancelled() => {}
        }
    }

    /// A deviation where a rule of the house denies what probes try says nothing of the network: the rule is named
    /// instead, and the deviation stays as evidence.
    fn excused(&self, trial: &Trial, verdict: Verdict, notes: &mut Notes) -> Verdict {
        if !matches!(verdict, Verdict::Fail { .. }) || trial.check.needs().scenario.is_none() {
            return verdict;
        }
        let facts = self.environment.facts();
        let Some(excuse) = facts.excuse(&trial.check.id(), &trial.instance) else {
            return verdict;
        };
        let seen = format!("seen under that rule: {}", verdict.headline());
        notes.evidence.push(Evidence::note(seen));
        excuse
    }

    fn not_to_start(&self) -> Option<Verdict> {
        if self.cancel.is_cancelled() || self.lost.is_cancelled() {
            return Some(self.ended("before it started"));
        }
        if !self.fail_fast {
            return None;
        }
        let first = self.with_state(|state| state.first_failure.clone())?;
        Some(Verdict::skipped(format!(
            "not started: {first} failed, and --fail-fast was given"
        )))
    }

    /// The run ends before the trial does: by interruption, or because it lost its Lease.
    fn ended(&self, when: &str) -> Verdict {
        if self.lost.is_cancelled() && !self.cancel.is_cancelled() {
            return Verdict::inconclusive(format!(
                "stopped {when}: the run lost its Lease, so another run may be changing the clusters"
            ));
        }
        self.with_state(|state| state.summary.interrupted = true);
        Verdict::inconclusive(format!("interrupted {when}"))
    }

    /// A receiver that is gone does not end the run: the summary still has the result.
    fn send(&self, event: Event) {
        if self.events.send(event).is_err() {
            tracing::debug!("the receiver of events is gone");
        }
    }

    fn with_state<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The result of a check.
struct Observed {
    verdict: Verdict,
    notes: Notes,
    silent: Vec<Silent>,
    /// What a check changed that did not end by itself.
    left: Option<Arc<UndoLog>>,
}

fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// A pass without a witness is inconclusive.
fn witnessed(verdict: Verdict) -> Verdict {
    match verdict {
        Verdict::Pass { witnesses } if witnesses.is_empty() => {
            Verdict::inconclusive("the check passed without an observation, so nothing is proven")
        }
        other => other,
    }
}

fn panic_message(payload: &(dyn Any + Send)) -> &str {
    payload
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or("no message")
}

fn seconds(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds.fract() < 0.05 {
        format!("{seconds:.0} s")
    } else {
        format!("{seconds:.1} s")
    }
}

#[cfg(test)]
mod tests;
