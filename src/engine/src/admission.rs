//! Who may run now: at most `jobs` shared trials, or those that change something and leave each other alone.

mod region;

use meshproof_contract::{Admission, ClusterName, Instance};
use region::Claim;
use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard, PoisonError},
};
use tokio::sync::oneshot;

/// The gate in front of the trials.
///
/// A trial is admitted once it meets neither a running trial nor one that asked before: so none is overtaken by one
/// that it has to wait for, and those that leave each other alone do not wait for each other. Only those with a
/// footprint overtake each other, so that none stands idle behind one that waits.
#[derive(Debug)]
pub(crate) struct Gate {
    clusters: BTreeSet<ClusterName>,
    /// Shared trials at once.
    jobs: usize,
    queue: Mutex<Queue>,
}

/// Admission, or the place in the queue, until it is dropped.
#[derive(Debug)]
pub(crate) struct Permit<'a> {
    gate: &'a Gate,
    ticket: u64,
}

#[derive(Debug, Default)]
struct Queue {
    next: u64,
    running: Vec<Ticket>,
    /// In the order of asking.
    waiting: Vec<(Ticket, oneshot::Sender<()>)>,
}

#[derive(Debug)]
struct Ticket {
    number: u64,
    claim: Claim,
}

impl Gate {
    /// A gate to these clusters that `jobs` shared trials pass at once; at least one does.
    pub(crate) fn new(jobs: usize, clusters: impl IntoIterator<Item = ClusterName>) -> Self {
        Self {
            clusters: clusters.into_iter().collect(),
            jobs: jobs.max(1),
            queue: Mutex::default(),
        }
    }

    /// Waits for admission.
    pub(crate) async fn admit(&self, admission: Admission, instance: &Instance) -> Permit<'_> {
        let (sender, admitted) = oneshot::channel();
        let claim = Claim::of(admission, instance, &self.clusters);
        let permit = {
            let mut queue = self.queue();
            let ticket = queue.next;
            queue.next += 1;
            queue.waiting.push((Ticket { number: ticket, claim }, sender));
            queue.admit(self.jobs);
            Permit { gate: self, ticket }
        };
        admitted.await.expect("the queue keeps what has a permit");
        permit
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// Admits whoever may run now.
    fn admit(&mut self, jobs: usize) {
        for (ticket, sender) in std::mem::take(&mut self.waiting) {
            let earlier = self.waiting.iter().map(|(ticket, _)| ticket);
            let earlier = earlier.filter(|other| !(ticket.claim.is_footprint() && other.claim.is_footprint()));
            let mut others = self.running.iter().chain(earlier);
            let is_free = others.all(|other| !ticket.claim.meets(&other.claim));
            let shared = self.running.iter().filter(|other| other.claim.is_shared()).count();
            if is_free && !(ticket.claim.is_shared() && shared >= jobs) {
                self.running.push(ticket);
                // Whoever no longer waits gives its place back by dropping its permit.
                let _ = sender.send(());
            } else {
                self.waiting.push((ticket, sender));
            }
        }
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let mut queue = self.gate.queue();
        queue.running.retain(|ticket| ticket.number != self.ticket);
        queue.waiting.retain(|(ticket, _)| ticket.number != self.ticket);
        queue.admit(self.gate.jobs);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use meshproof_contract::{End, Footprint, Part};
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

    const BACKENDS: Admission = Admission::Footprint(Footprint {
        disturbs: &[(End::From, Part::Workload("backend"))],
        relies_on: &[(End::From, Part::Nodes)],
    });
    const MESH: Admission = Admission::Footprint(Footprint {
        disturbs: &[(End::From, Part::Mesh)],
        relies_on: &[],
    });
    const NODES: Admission = Admission::Footprint(Footprint {
        disturbs: &[(End::From, Part::Nodes)],
        relies_on: &[(End::To, Part::Mesh)],
    });

    /// Whether the second is admitted while the first runs.
    async fn beside(first: (Admission, &str), second: (Admission, &str)) -> bool {
        let gate = Gate::new(4, CLUSTERS.map(ClusterName::from));
        let _first = gate.admit(first.0, &Instance::Cluster(first.1.into())).await;
        let instance = Instance::Cluster(second.1.into());
        let admitted = gate.admit(second.0, &instance);
        tokio::time::timeout(Duration::from_secs(1), admitted).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn footprints_that_do_not_meet_run_side_by_side() {
        assert!(beside((BACKENDS, "infra"), (BACKENDS, "apps")).await);
        assert!(beside((NODES, "infra"), (BACKENDS, "apps")).await);
        assert!(!beside((BACKENDS, "infra"), (BACKENDS, "infra")).await, "both disturb");
        assert!(!beside((NODES, "infra"), (BACKENDS, "infra")).await, "one relies on it");
        for other in [Admission::Shared, Admission::Exclusive] {
            assert!(!beside((BACKENDS, "infra"), (other, "apps")).await, "{other:?}");
            assert!(!beside((other, "apps"), (BACKENDS, "infra")).await, "{other:?}");
        }
        assert!(!beside((Admission::ExclusiveInCluster, "infra"), (BACKENDS, "infra")).await);
        assert!(beside((Admission::ExclusiveInCluster, "apps"), (BACKENDS, "infra")).await);
    }

    #[tokio::test(start_paused = true)]
    async fn footprints_overtake_those_that_wait_and_nothing_else_does() {
        let gate = Gate::new(4, CLUSTERS.map(ClusterName::from));
        let instance = Instance::Cluster("infra".into());
        let running = gate.admit(BACKENDS, &instance).await;
        let soon = Duration::from_secs(1);
        let mut waiting = std::pin::pin!(gate.admit(NODES, &instance));
        assert!(
            tokio::time::timeout(soon, &mut waiting).await.is_err(),
            "it relies on the backends' nodes"
        );
        let overtaking = gate.admit(MESH, &instance);
        drop(tokio::time::timeout(soon, overtaking).await.expect("admitted"));
        let other = Instance::Cluster("apps".into());
        let shared = gate.admit(Admission::Shared, &other);
        assert!(tokio::time::timeout(soon, shared).await.is_err());
        drop(running);
        waiting.await;
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_no_longer_holds_nobody_up() {
        let gate = Gate::new(4, CLUSTERS.map(ClusterName::from));
        let instance = Instance::Cluster("infra".into());
        let running = gate.admit(Admission::Shared, &instance).await;
        let soon = Duration::from_secs(1);
        let exclusive = gate.admit(Admission::Exclusive, &instance);
        assert!(tokio::time::timeout(soon, exclusive).await.is_err(), "one runs");
        let shared = gate.admit(Admission::Shared, &instance);
        tokio::time::timeout(soon, shared)
            .await
            .expect("nobody waits before it");
        drop(running);
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
