//! Who may run now: at most `jobs` shared trials, or exclusive ones: one alone, or one in each cluster.

use meshproof_contract::{Admission, ClusterName, Instance};
use std::collections::BTreeMap;
use tokio::sync::{Semaphore, SemaphorePermit};

/// The gate in front of the trials.
///
/// Every cluster has `jobs` permits. A shared trial takes one of each cluster, an exclusive trial all of them, and one
/// that is exclusive in its clusters all of theirs. All take them in one order, so that none waits for another that
/// waits for it. tokio's semaphore serves in the order of asking, so a waiting exclusive trial is not overtaken by
/// shared ones and cannot starve.
#[derive(Debug)]
pub(crate) struct Gate {
    clusters: BTreeMap<ClusterName, Semaphore>,
    jobs: u32,
}

/// Admission, until it is dropped.
#[derive(Debug)]
pub(crate) struct Permit<'a> {
    _held: Vec<SemaphorePermit<'a>>,
}

impl Gate {
    /// A gate to these clusters that `jobs` shared trials pass at once; at least one does.
    pub(crate) fn new(jobs: usize, clusters: impl IntoIterator<Item = ClusterName>) -> Self {
        let jobs = u32::try_from(jobs.clamp(1, 4096)).expect("clamped to 4096");
        let clusters = clusters.into_iter();
        let mut clusters: BTreeMap<_, _> = clusters.map(|name| (name, Semaphore::new(jobs as usize))).collect();
        if clusters.is_empty() {
            clusters.insert("none".into(), Semaphore::new(jobs as usize));
        }
        Self { clusters, jobs }
    }
    /// Waits for admission.
    pub(crate) async fn admit(&self, admission: Admission, instance: &Instance) -> Permit<'_> {
        let ends = [instance.from(), instance.to()];
        let are_known = ends.iter().all(|end| self.clusters.contains_key(*end));
        let mut held = Vec::new();
        for (cluster, permits) in &self.clusters {
            let share = match admission {
                Admission::Shared => 1,
                Admission::ExclusiveInCluster if are_known && !ends.contains(&cluster) => continue,
                Admission::ExclusiveInCluster | Admission::Exclusive => self.jobs,
            };
            held.push(
                permits
                    .acquire_many(share)
                    .await
                    .expect("the semaphore is never closed"),
            );
        }
        Permit { _held: held }
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

    const CLUSTERS: [&str; 2] = ["apps", "infra"];

    /// A trial: how it is admitted, in which cluster, and its milliseconds.
    type Timed = (Admission, usize, u64);

    fn trials() -> impl Strategy<Value = Vec<Timed>> {
        let admission = prop_oneof![
            6 => Just(Admission::Shared),
            1 => Just(Admission::Exclusive),
            2 => Just(Admission::ExclusiveInCluster),
        ];
        proptest::collection::vec((admission, 0..CLUSTERS.len(), 1_u64..50), 1..24)
    }

    /// Whether two trials may run at once.
    fn may_meet(one: &Timed, other: &Timed) -> bool {
        match (one.0, other.0) {
            (Admission::Shared, Admission::Shared) => true,
            (Admission::ExclusiveInCluster, Admission::ExclusiveInCluster) => one.1 != other.1,
            _ => false,
        }
    }

    fn log_of(trials: &[Timed], jobs: usize) -> Vec<Step> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build();
        runtime.expect("a runtime").block_on(async {
            let (gate, log) = (
                Arc::new(Gate::new(jobs, CLUSTERS.map(ClusterName::from))),
                Arc::new(Mutex::new(Vec::new())),
            );
            let tasks: Vec<_> = trials
                .iter()
                .enumerate()
                .map(|(number, &(admission, cluster, millis))| {
                    let (gate, log) = (gate.clone(), log.clone());
                    tokio::spawn(async move {
                        let instance = Instance::Cluster(CLUSTERS[cluster].into());
                        let _permit = gate.admit(admission, &instance).await;
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

    #[tokio::test(start_paused = true)]
    async fn exclusive_trials_of_two_clusters_run_side_by_side() {
        let gate = Gate::new(4, CLUSTERS.map(ClusterName::from));
        let instance = |cluster: &str| Instance::Cluster(cluster.into());
        let apps = gate.admit(Admission::ExclusiveInCluster, &instance("apps")).await;
        let other = instance("infra");
        let infra = gate.admit(Admission::ExclusiveInCluster, &other);
        let infra = tokio::time::timeout(Duration::from_secs(1), infra)
            .await
            .expect("admitted");
        let shared = instance("infra");
        let shared = tokio::time::timeout(Duration::from_secs(1), gate.admit(Admission::Shared, &shared));
        assert!(shared.await.is_err(), "a shared one waits for both");
        drop((apps, infra));
        gate.admit(Admission::Exclusive, &instance("apps")).await;
    }

    proptest! {
        #[test]
        fn exclusive_runs_alone_and_all_run_once(trials in trials(), jobs in 1_usize..6) {
            let (mut running, mut started) = (Vec::new(), vec![0; trials.len()]);
            for step in log_of(&trials, jobs) {
                match step {
                    Step::Start(n) => {
                        let apart = running.iter().all(|m: &usize| may_meet(&trials[*m], &trials[n]));
                        running.push(n);
                        started[n] += 1;
                        prop_assert!(apart, "{running:?} at once, with an exclusive one among them");
                        let shared = running.iter().filter(|m| trials[**m].0 == Admission::Shared).count();
                        prop_assert!(shared <= jobs, "{shared} at once, {jobs} allowed");
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
            let is = |n: &usize, admission| trials[*n].0 == admission;
            // Exclusive ones of another cluster may go first while it waits for its own.
            let starts: Vec<usize> = starts.into_iter().filter(|n| !is(n, Admission::ExclusiveInCluster)).collect();
            for (position, n) in starts.iter().enumerate().filter(|(_, n)| is(n, Admission::Exclusive)) {
                prop_assert!(starts[..position].iter().all(|m| m < n), "{n} was overtaken: {starts:?}");
            }
        }
    }
}
