//! One trial from admission to verdict: preconditions, deadline, panic, cancellation, and what is left of it.
//!
//! Asynchronous and free of libtest-mimic, so that its timing is tested on a paused clock.

use crate::{admission::Gate, footprint::Footprint, plan::Trial, precondition::unmet, summary::Summary};
use meshproof_contract::{Admission, CheckContext, Environment, Event, RunShared, TrialName, Verdict, check::Notes};
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

/// How long a task that was aborted may take to end: one that awaits ends at once.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// How long undoing may take; a node that comes back is the longest.
const UNDONE_WITHIN: Duration = Duration::from_secs(180);

/// What all trials of a run share.
pub(crate) struct Conductor {
    pub(crate) environment: Arc<dyn Environment>,
    pub(crate) shared: Arc<RunShared>,
    pub(crate) events: UnboundedSender<Event>,
    pub(crate) gate: Gate,
    pub(crate) limits: Limits,
    pub(crate) cancel: CancellationToken,
    /// Cancelled when the clusters are not the run's own any more.
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
    /// Of one that runs alone: it may wait for a node or a whole cluster to come back.
    pub exclusive: Duration,
}

impl Limits {
    fn of(self, admission: Admission) -> Duration {
        match admission {
            Admission::Shared => self.shared,
            Admission::Exclusive => self.exclusive,
        }
    }
}

/// What the trials so far have led to.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) summary: Summary,
    finished: BTreeSet<TrialName>,
    first_failure: Option<TrialName>,
}

impl Conductor {
    /// Runs the trial when it is admitted, tells its events, counts it, and gives its verdict.
    pub(crate) async fn conduct(&self, trial: &Trial) -> Verdict {
        let permit = tokio::select! {
            biased;
            () = self.cancel.cancelled() => None,
            () = self.lost.cancelled() => None,
            permit = self.gate.admit(trial.admission()) => Some(permit),
        };
        let started = Instant::now();
        let barred = match permit {
            None => Some(self.ended("before it started")),
            Some(_) => self.not_to_start(),
        };
        let barred = barred.or_else(|| unmet(trial.check.needs(), &trial.instance, &self.environment.facts()));
        let (verdict, notes, micros) = match barred {
            Some(verdict) => (verdict, Notes::default(), micros(started)),
            None => {
                let observed = self.observe(trial).await;
                let micros = micros(started);
                if let Some(footprint) = observed.left {
                    self.undo(trial, &footprint).await;
                }
                (observed.verdict, observed.notes, micros)
            }
        };
        let verdict = witnessed(verdict);
        self.with_state(|state| {
            state.summary.count(&verdict);
            state.finished.insert(trial.name.clone());
            if matches!(verdict, Verdict::Fail { .. }) && state.first_failure.is_none() {
                state.first_failure = Some(trial.name.clone());
            }
        });
        self.tell(Event::TrialFinished {
            trial: trial.name.clone(),
            verdict: verdict.clone(),
            micros,
            measurements: notes.measurements,
            evidence: notes.evidence,
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

    /// The check runs as a task of its own, so that one that panics, or that blocks its thread instead of awaiting,
    /// takes neither its trial nor the run along. A task that ignores its end is left behind, not waited for.
    async fn observe(&self, trial: &Trial) -> Observed {
        self.tell(Event::TrialStarted {
            trial: trial.name.clone(),
        });
        let footprint = Arc::new(Footprint::new(self.environment.clone()));
        let context =
            CheckContext::new(footprint.clone(), trial.instance.clone()).sharing(self.shared.clone());
        let (check, own) = (trial.check, context.clone());
        let limit = self.limits.of(trial.admission());
        let started = Instant::now();
        let mut task = tokio::spawn(async move { check.run(&own).await });
        let (verdict, left) = tokio::select! {
            ended = timeout(limit, &mut task) => match ended {
                Ok(Ok(verdict)) => (verdict, None),
                Ok(Err(error)) => match error.try_into_panic() {
                    Ok(payload) => (Verdict::inconclusive(format!(
                        "the check itself panicked, which is a defect of meshproof: {}",
                        panic_message(payload.as_ref())
                    )), Some(footprint)),
                    Err(_) => (self.ended("when the runtime ended"), None),
                },
                Err(_) => {
                    task.abort();
                    // What it began is over before it is undone.
                    let _ = timeout(LAST_WORDS, &mut task).await;
                    (Verdict::inconclusive(format!(
                        "gave up after {}, the longest time for one check (--timeout)",
                        seconds(limit)
                    )), Some(footprint))
                }
            },
            // Whoever ends the run undoes everything.
            () = self.cancel.cancelled() => (self.ended(&format!("after {}", seconds(started.elapsed()))), None),
            () = self.lost.cancelled() => (self.ended(&format!("after {}", seconds(started.elapsed()))), None),
        };
        task.abort();
        Observed {
            verdict,
            notes: context.take_notes(),
            left,
        }
    }

    /// Undoes what a trial left that did not end by itself. Its permit is held meanwhile: no trial that must be alone sees it.
    async fn undo(&self, trial: &Trial, footprint: &Footprint) {
        let warn = |what: String| {
            self.tell(Event::Warning {
                message: format!("{}: what it left was not undone: {what}", trial.name),
            });
        };
        tokio::select! {
            undone = timeout(UNDONE_WITHIN, footprint.erase()) => match undone {
                Ok(failures) => failures.into_iter().for_each(|failure| warn(failure.to_string())),
                Err(_) => warn(format!("gave up after {}", seconds(UNDONE_WITHIN))),
            },
            () = self.cancel.cancelled() => {}
            () = self.lost.cancelled() => {}
        }
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
            "not started, since {first} failed and --fail-fast was given"
        )))
    }

    /// The run ends before the trial does: by somebody's wish, or because the clusters are not its own any more.
    fn ended(&self, when: &str) -> Verdict {
        if self.lost.is_cancelled() && !self.cancel.is_cancelled() {
            return Verdict::inconclusive(format!(
                "given up {when}, since the Lease of this run was lost: another run may be changing what is observed"
            ));
        }
        self.with_state(|state| state.summary.interrupted = true);
        Verdict::inconclusive(format!("interrupted {when}"))
    }

    /// A consumer that went away does not end the run: the summary still tells what happened.
    fn tell(&self, event: Event) {
        if self.events.send(event).is_err() {
            tracing::debug!("nobody takes the events of this run any more");
        }
    }

    fn with_state<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What came of a check.
struct Observed {
    verdict: Verdict,
    notes: Notes,
    /// Of a check that did not end by itself.
    left: Option<Arc<Footprint>>,
}

fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// A pass without a witness is none, however a check came to it.
fn witnessed(verdict: Verdict) -> Verdict {
    match verdict {
        Verdict::Pass { witnesses } if witnesses.is_empty() => {
            Verdict::inconclusive("the check passed without naming what it saw, so nothing is proven")
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
mod tests {
    use super::*;
    use crate::fake::{FakeCheck, World, trial};
    use meshproof_contract::{Evidence, Witness};
    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

    fn conductor(jobs: usize) -> (Conductor, UnboundedReceiver<Event>) {
        let (events, told) = unbounded_channel();
        let conductor = Conductor {
            environment: Arc::new(World::default()),
            shared: Arc::default(),
            events,
            gate: Gate::new(jobs),
            limits: Limits {
                shared: Duration::from_secs(30),
                exclusive: Duration::from_secs(70),
            },
            cancel: CancellationToken::new(),
            lost: CancellationToken::new(),
            fail_fast: false,
            state: Mutex::default(),
        };
        (conductor, told)
    }
    fn told(events: &mut UnboundedReceiver<Event>) -> Vec<Event> {
        std::iter::from_fn(|| events.try_recv().ok()).collect()
    }
    fn why(verdict: Verdict) -> String {
        match verdict {
            Verdict::Inconclusive { why } | Verdict::Skipped { why } => why,
            other => panic!("expected a reason, got {other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_pass_is_told_with_its_notes_and_time() {
        let (conductor, mut events) = conductor(1);
        let check = FakeCheck::passing("a::b")
            .lasting(Duration::from_millis(1500))
            .noting("36 of 36 pairs");
        assert_eq!(conductor.conduct(&trial(check)).await.word(), "pass");
        let told = told(&mut events);
        assert!(matches!(&told[0], Event::TrialStarted { .. }), "{told:?}");
        let Event::TrialFinished { micros, evidence, .. } = &told[1] else {
            panic!("{told:?}")
        };
        assert_eq!(
            (*micros, evidence.as_slice()),
            (1_500_000, [Evidence::note("36 of 36 pairs")].as_slice())
        );
        assert_eq!(conductor.summary().passed, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_is_inconclusive_and_keeps_what_was_noted() {
        let (conductor, mut events) = conductor(1);
        let check = FakeCheck::passing("a::b")
            .lasting(Duration::from_secs(3600))
            .noting("half of it");
        let verdict = conductor.conduct(&trial(check)).await;
        assert_eq!(
            why(verdict),
            "gave up after 30 s, the longest time for one check (--timeout)"
        );
        let told = told(&mut events);
        assert!(
            matches!(&told[1], Event::TrialFinished { micros: 30_000_000, evidence, .. } if evidence.len() == 1),
            "{told:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_trial_that_runs_alone_has_a_limit_of_its_own() {
        let (conductor, _events) = conductor(1);
        let check = FakeCheck::passing("a::b")
            .admission(Admission::Exclusive)
            .lasting(Duration::from_secs(69));
        assert_eq!(conductor.conduct(&trial(check)).await.word(), "pass");
    }

    #[tokio::test(start_paused = true)]
    async fn what_an_aborted_trial_left_is_undone_before_the_next_one_starts() {
        for aborted in [
            FakeCheck::passing("a::slow").lasting(Duration::from_secs(3600)),
            FakeCheck::panicking("a::broken", "oh"),
        ] {
            let (mut conductor, mut events) = conductor(1);
            let world = Arc::new(World::willing());
            conductor.environment = world.clone();
            let slow = trial(aborted.disrupting().admission(Admission::Exclusive));
            let next = trial(
                FakeCheck::passing("a::next")
                    .disrupting()
                    .admission(Admission::Exclusive),
            );
            let (first, second) = tokio::join!(conductor.conduct(&slow), conductor.conduct(&next));
            assert_eq!((first.word(), second.word()), ("inconclusive", "pass"));
            let what = "infra: scale clustermesh-apiserver to zero";
            let calls = [
                format!("disrupt {what}"),
                format!("restore {what}"),
                format!("disrupt {what}"),
            ];
            assert_eq!(world.calls(), calls, "and what ended by itself is left as it is");
            assert!(!told(&mut events).iter().any(|e| matches!(e, Event::Warning { .. })));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_undone_is_a_warning_with_the_trials_name() {
        let (conductor, mut events) = conductor(1);
        let check = FakeCheck::panicking("a::broken", "oh").disrupting();
        conductor.conduct(&trial(check)).await;
        let warned = told(&mut events).into_iter().find_map(|e| match e {
            Event::Warning { message } => Some(message),
            _ => None,
        });
        let warned = warned.expect("a warning");
        assert!(
            warned.starts_with("a::broken[infra]: what it left was not undone"),
            "{warned}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_lost_lease_ends_the_run_as_one_that_cannot_tell() {
        let (conductor, _events) = conductor(1);
        let running = trial(FakeCheck::passing("a::long").lasting(Duration::from_secs(20)));
        let waiting = trial(FakeCheck::passing("a::next").admission(Admission::Exclusive));
        let (first, second, ()) = tokio::join!(conductor.conduct(&running), conductor.conduct(&waiting), async {
            tokio::time::sleep(Duration::from_secs(2)).await;
            conductor.lost.cancel();
        });
        let (first, second) = (why(first), why(second));
        assert!(first.starts_with("given up after 2 s, since the Lease"), "{first}");
        assert!(
            second.starts_with("given up before it started, since the Lease"),
            "{second}"
        );
        assert_eq!(conductor.summary().exit().code(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_is_inconclusive_with_its_message() {
        let (conductor, _events) = conductor(1);
        let why = why(conductor
            .conduct(&trial(FakeCheck::panicking("a::b", "index out of bounds")))
            .await);
        assert!(why.ends_with("a defect of meshproof: index out of bounds"), "{why}");
        assert_eq!(conductor.summary().exit().code(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pass_without_witness_is_none() {
        let (conductor, _events) = conductor(1);
        let hollow = FakeCheck::concluding("a::b", Verdict::Pass { witnesses: Vec::new() });
        assert_eq!(conductor.conduct(&trial(hollow)).await.word(), "inconclusive");
        let witnesses = vec![Witness {
            what: "an answer".into(),
        }];
        assert_eq!(witnessed(Verdict::Pass { witnesses }).word(), "pass");
    }

    #[tokio::test(start_paused = true)]
    async fn cancelling_ends_what_runs_and_starts_nothing_more() {
        let (conductor, mut events) = conductor(1);
        let running = trial(FakeCheck::passing("a::long").lasting(Duration::from_secs(20)));
        let waiting = trial(FakeCheck::passing("a::next").admission(Admission::Exclusive));
        let begun = Instant::now();
        let (first, second, ()) = tokio::join!(conductor.conduct(&running), conductor.conduct(&waiting), async {
            tokio::time::sleep(Duration::from_secs(2)).await;
            conductor.cancel.cancel();
        });
        assert_eq!(begun.elapsed(), Duration::from_secs(2), "promptly");
        assert_eq!(why(first), "interrupted after 2 s");
        assert_eq!(why(second), "interrupted before it started");
        assert_eq!(conductor.summary().exit().code(), 130);
        let starts = told(&mut events)
            .iter()
            .filter(|e| matches!(e, Event::TrialStarted { .. }))
            .count();
        assert_eq!(starts, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn fail_fast_leaves_the_rest_out_and_says_why() {
        let (mut conductor, _events) = conductor(1);
        conductor.fail_fast = true;
        assert_eq!(
            conductor.conduct(&trial(FakeCheck::failing("a::red"))).await.word(),
            "fail"
        );
        let why = why(conductor.conduct(&trial(FakeCheck::passing("a::next"))).await);
        assert_eq!(why, "not started, since a::red[infra] failed and --fail-fast was given");
        assert_eq!(conductor.summary().exit().code(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_apply_never_starts() {
        let (conductor, mut events) = conductor(1);
        let unclaimed = FakeCheck::passing("a::b").claim(meshproof_contract::ClaimKind::Encryption);
        assert_eq!(
            why(conductor.conduct(&trial(unclaimed)).await),
            "not claimed: encryption"
        );
        assert!(
            !told(&mut events)
                .iter()
                .any(|e| matches!(e, Event::TrialStarted { .. }))
        );
        assert_eq!(conductor.summary().exit().code(), 4, "only skipped: nothing is proven");
    }
}
