//! The verdicts of one pass of checks over the lab, and who collects them.

use crate::session::consumer::{Events, warn_on_stderr};
use jiff::Timestamp;
use meshproof_contract::{CheckId, Event, EventRecord, RunState, TrialName, Verdict};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::watch, time::timeout};

/// Takes the events of every pass; shows warnings on stderr and keeps the verdicts.
pub struct VerdictCollector {
    events: Events,
    verdicts: Arc<Mutex<BTreeMap<TrialName, Verdict>>>,
    /// The pass as a run, for the place that its red checks have in common.
    state: Arc<Mutex<RunState>>,
    count: watch::Sender<usize>,
}

impl VerdictCollector {
    /// Starts listening.
    pub fn start() -> Self {
        let (events, mut incoming) = Events::channel();
        let verdicts: Arc<Mutex<BTreeMap<TrialName, Verdict>>> = Arc::default();
        let count = watch::Sender::new(0);
        let state: Arc<Mutex<RunState>> = Arc::default();
        let (kept, counter, folded) = (verdicts.clone(), count.clone(), state.clone());
        tokio::spawn(async move {
            while let Some(event) = incoming.recv().await {
                warn_on_stderr(&event);
                lock(&folded).handle(&EventRecord {
                    at: Timestamp::now(),
                    event: event.clone(),
                });
                if let Event::TrialFinished {
                    trial, verdict, micros, ..
                } = event
                {
                    tracing::debug!("{trial}: {} in {} ms", verdict.word(), micros / 1000);
                    let mut kept = lock(&kept);
                    kept.insert(trial, verdict);
                    counter.send_replace(kept.len());
                }
            }
        });
        Self {
            events,
            verdicts,
            state,
            count,
        }
    }

    /// Where its events go.
    pub fn events(&self) -> Events {
        self.events.clone()
    }

    /// Forgets the pass before.
    pub fn clear(&self) {
        lock(&self.verdicts).clear();
        *lock(&self.state) = RunState::default();
        self.count.send_replace(0);
    }

    /// The verdicts, once so many have arrived: the engine has sent them all by the time it returns, so this waits for
    /// the channel only.
    pub async fn collected(&self, trials: usize) -> Verdicts {
        let mut count = self.count.subscribe();
        // A verdict that never comes is a trial missing from the pass, which shows as a check that did not run.
        let _ = timeout(Duration::from_secs(5), count.wait_for(|seen| *seen >= trials)).await;
        let place = lock(&self.state).common_place();
        Verdicts {
            by_trial: lock(&self.verdicts).clone(),
            place: place.map(|place| place.place.kind().to_owned()),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The verdicts of one pass.
pub struct Verdicts {
    by_trial: BTreeMap<TrialName, Verdict>,
    /// The kind of place that the red checks of the first pass have in common.
    pub place: Option<String>,
}

impl Verdicts {
    /// Checks that ran.
    pub fn ran(&self) -> BTreeSet<CheckId> {
        self.by_trial.keys().map(TrialName::check).collect()
    }

    /// Checks of which a trial failed, with its first finding.
    pub fn failed(&self) -> BTreeMap<CheckId, String> {
        self.matching(|verdict| matches!(verdict, Verdict::Fail { .. }))
    }

    /// Checks of which a trial failed, with the clusters or directions in which one did.
    pub fn failed_in(&self) -> BTreeMap<CheckId, BTreeSet<String>> {
        let mut found: BTreeMap<CheckId, BTreeSet<String>> = BTreeMap::new();
        for (trial, verdict) in &self.by_trial {
            if let (Verdict::Fail { .. }, Some(instance)) = (verdict, trial.instance()) {
                found.entry(trial.check()).or_default().insert(instance.to_string());
            }
        }
        found
    }

    /// Checks of which no trial failed and one was inconclusive, with its reason.
    pub fn inconclusive(&self) -> BTreeMap<CheckId, String> {
        let failed = self.failed();
        let mut unsure = self.matching(|verdict| matches!(verdict, Verdict::Inconclusive { .. }));
        unsure.retain(|check, _| !failed.contains_key(check));
        unsure
    }

    /// The verdicts of a later pass replace those of this one.
    pub fn merge(&mut self, later: Self) {
        self.by_trial.extend(later.by_trial);
    }

    /// Checks of which a trial failed or was inconclusive, with its reason.
    pub fn not_green(&self) -> BTreeMap<CheckId, String> {
        self.matching(|verdict| matches!(verdict, Verdict::Fail { .. } | Verdict::Inconclusive { .. }))
    }

    /// Checks that were skipped in every instance, with the reason.
    pub fn only_skipped(&self) -> BTreeMap<CheckId, String> {
        let applied: BTreeSet<CheckId> = self
            .by_trial
            .iter()
            .filter(|(_, verdict)| !matches!(verdict, Verdict::Skipped { .. }))
            .map(|(trial, _)| trial.check())
            .collect();
        let mut skipped = self.matching(|verdict| matches!(verdict, Verdict::Skipped { .. }));
        skipped.retain(|check, _| !applied.contains(check));
        skipped
    }

    fn matching(&self, wanted: impl Fn(&Verdict) -> bool) -> BTreeMap<CheckId, String> {
        let mut found = BTreeMap::new();
        for (trial, verdict) in self.by_trial.iter().filter(|(_, verdict)| wanted(verdict)) {
            found
                .entry(trial.check())
                .or_insert_with(|| format!("{trial}: {}", reason(verdict)));
        }
        found
    }
}

fn reason(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Fail { findings } => findings
            .first()
            .map(|finding| {
                format!(
                    "{}: expected {}, observed {}",
                    finding.subject, finding.expected, finding.observed
                )
            })
            .unwrap_or_default(),
        Verdict::Inconclusive { why } | Verdict::Skipped { why } => why.clone(),
        Verdict::Pass { .. } => String::new(),
    }
}
