//! One pass of checks over the lab, and the bystander who notes what they say.

use super::is_trouble;
use crate::session::consumer::Events;
use meshproof_contract::{CheckId, Event, TrialName, Verdict};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{sync::watch, time::timeout};

/// Takes the events of every pass; tells warnings on stderr and keeps the verdicts.
pub struct Bystander {
    events: Events,
    verdicts: Arc<Mutex<BTreeMap<TrialName, Verdict>>>,
    count: watch::Sender<usize>,
}

impl Bystander {
    /// Starts listening.
    pub fn start() -> Self {
        let (events, mut incoming) = Events::channel();
        let verdicts: Arc<Mutex<BTreeMap<TrialName, Verdict>>> = Arc::default();
        let count = watch::Sender::new(0);
        let (kept, counter) = (verdicts.clone(), count.clone());
        tokio::spawn(async move {
            while let Some(event) = incoming.recv().await {
                match event {
                    Event::TrialFinished {
                        trial, verdict, micros, ..
                    } => {
                        tracing::debug!("{trial}: {} in {} ms", verdict.word(), micros / 1000);
                        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                        kept.insert(trial, verdict);
                        counter.send_replace(kept.len());
                    }
                    Event::Warning { message } => eprintln!("meshproof: {message}"),
                    _ => {}
                }
            }
        });
        Self {
            events,
            verdicts,
            count,
        }
    }

    /// Where its events go.
    pub fn events(&self) -> Events {
        self.events.clone()
    }

    /// Forgets the pass before.
    pub fn forget(&self) {
        let mut verdicts = self.verdicts.lock().unwrap_or_else(PoisonError::into_inner);
        verdicts.clear();
        self.count.send_replace(0);
    }

    /// What was seen, once `trials` verdicts have arrived: the engine has sent them all by the time it returns, so
    /// this waits for the channel only.
    pub async fn seen(&self, trials: usize) -> Pass {
        let mut count = self.count.subscribe();
        // A verdict that never comes is a trial missing from the pass, which shows as a check that did not run.
        let _ = timeout(Duration::from_secs(5), count.wait_for(|seen| *seen >= trials)).await;
        Pass(self.verdicts.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

/// The verdicts of one pass.
pub struct Pass(BTreeMap<TrialName, Verdict>);

impl Pass {
    /// Checks that ran.
    pub fn ran(&self) -> BTreeSet<CheckId> {
        self.0.keys().map(check).collect()
    }

    /// Checks of which a trial failed, with its first finding.
    pub fn failed(&self) -> BTreeMap<CheckId, String> {
        self.those(|verdict| matches!(verdict, Verdict::Fail { .. }))
    }

    /// Checks of which no trial failed and one could not tell, with its reason.
    pub fn inconclusive(&self) -> BTreeMap<CheckId, String> {
        let failed = self.failed();
        let mut unsure = self.those(|verdict| matches!(verdict, Verdict::Inconclusive { .. }));
        unsure.retain(|check, _| !failed.contains_key(check));
        unsure
    }

    /// What a later pass saw replaces what this one did.
    pub fn renew(&mut self, later: Self) {
        self.0.extend(later.0);
    }

    /// Checks of which a trial failed or could not tell, with what it said.
    pub fn not_green(&self) -> BTreeMap<CheckId, String> {
        self.those(is_trouble)
    }

    /// Checks that were skipped in every instance.
    pub fn only_skipped(&self) -> BTreeSet<CheckId> {
        let applied: BTreeSet<CheckId> = self
            .0
            .iter()
            .filter(|(_, verdict)| !matches!(verdict, Verdict::Skipped { .. }))
            .map(|(trial, _)| check(trial))
            .collect();
        self.ran().difference(&applied).cloned().collect()
    }

    fn those(&self, wanted: impl Fn(&Verdict) -> bool) -> BTreeMap<CheckId, String> {
        let mut found = BTreeMap::new();
        for (trial, verdict) in self.0.iter().filter(|(_, verdict)| wanted(verdict)) {
            found
                .entry(check(trial))
                .or_insert_with(|| format!("{trial}: {}", said(verdict)));
        }
        found
    }
}

fn check(trial: &TrialName) -> CheckId {
    let name = trial.as_str();
    CheckId::from(name.split('[').next().unwrap_or(name))
}

fn said(verdict: &Verdict) -> String {
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
