//! Who may run now: at most `jobs` shared trials, or one exclusive trial alone.

use meshproof_contract::Admission;
use tokio::sync::{Semaphore, SemaphorePermit};

/// The gate in front of the trials.
///
/// An exclusive trial takes every permit. tokio's semaphore serves in the order of asking, so a waiting exclusive
/// trial is not overtaken by shared ones and cannot starve.
#[derive(Debug)]
pub(crate) struct Gate {
    permits: Semaphore,
    jobs: u32,
}

impl Gate {
    /// A gate that `jobs` shared trials pass at once; at least one does.
    pub(crate) fn new(jobs: usize) -> Self {
        let jobs = u32::try_from(jobs.clamp(1, 4096)).expect("clamped to 4096");
        Self {
            permits: Semaphore::new(jobs as usize),
            jobs,
        }
    }
    /// Waits for admission; it lasts until the permit is dropped.
    pub(crate) async fn admit(&self, admission: Admission) -> SemaphorePermit<'_> {
        let share = match admission {
            Admission::Shared => 1,
            Admission::Exclusive => self.jobs,
        };
        self.permits
            .acquire_many(share)
            .await
            .expect("the semaphore is never closed")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::{
        sync::{Arc, Mutex},
        time::Duration,
    };

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Step {
        Start(usize),
        End(usize),
    }

    fn trials() -> impl Strategy<Value = Vec<(bool, u64)>> {
        proptest::collection::vec((proptest::bool::weighted(0.25), 1_u64..50), 1..24)
    }

    fn log_of(trials: &[(bool, u64)], jobs: usize) -> Vec<Step> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build();
        runtime.expect("a runtime").block_on(async {
            let (gate, log) = (Arc::new(Gate::new(jobs)), Arc::new(Mutex::new(Vec::new())));
            let tasks: Vec<_> = trials
                .iter()
                .enumerate()
                .map(|(number, &(exclusive, millis))| {
                    let (gate, log) = (gate.clone(), log.clone());
                    tokio::spawn(async move {
                        let admission = if exclusive {
                            Admission::Exclusive
                        } else {
                            Admission::Shared
                        };
                        let _permit = gate.admit(admission).await;
                        log.lock().unwrap().push(Step::Start(number));
                        tokio::time::sleep(Duration::from_millis(millis)).await;
                        log.lock().unwrap().push(Step::End(number));
                    })
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
            log.lock().unwrap().clone()
        })
    }

    proptest! {
        #[test]
        fn exclusive_runs_alone_and_all_run_once(trials in trials(), jobs in 1_usize..6) {
            let (mut running, mut started) = (Vec::new(), vec![0; trials.len()]);
            for step in log_of(&trials, jobs) {
                match step {
                    Step::Start(n) => {
                        running.push(n);
                        started[n] += 1;
                        let alone = !running.iter().any(|m| trials[*m].0) || running.len() == 1;
                        prop_assert!(alone, "{running:?} at once, with an exclusive one among them");
                        prop_assert!(running.len() <= jobs, "{} at once, {jobs} allowed", running.len());
                    }
                    Step::End(n) => running.retain(|m| *m != n),
                }
            }
            prop_assert!(started.iter().all(|n| *n == 1), "not each exactly once: {started:?}");
        }

        #[test]
        fn an_exclusive_trial_is_not_overtaken(trials in trials(), jobs in 1_usize..6) {
            let starts: Vec<usize> = log_of(&trials, jobs)
                .into_iter()
                .filter_map(|step| match step { Step::Start(n) => Some(n), Step::End(_) => None })
                .collect();
            for (position, n) in starts.iter().enumerate().filter(|(_, n)| trials[**n].0) {
                prop_assert!(starts[..position].iter().all(|m| m < n), "{n} was overtaken: {starts:?}");
            }
        }
    }
}
