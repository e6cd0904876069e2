//! Groups of subject pods: pods that only this suite's policies select, lent to one case at a time.
//!
//! Two policies on the same pods add up, so two cases may never hold the same group of one cluster at once. The groups
//! are named after the workloads of the scenario.

use meshproof_contract::{ClusterName, RunShared};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, futures::Notified};

/// Label of subject pods, with the group's name as its value.
pub const LABEL: &str = "subject";

/// The groups that any check may borrow; the one with a pod on every node last.
pub const GROUPS: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", EVERY_NODE];

/// The group with a pod on every node.
pub const EVERY_NODE: &str = "all";

/// A cluster and a group.
type Key = (ClusterName, &'static str);

/// The groups that are lent in this run.
#[derive(Debug, Default)]
struct Lent {
    groups: Mutex<BTreeSet<Key>>,
    /// How many groups of each cluster are free: who asks first is served first, so that a check that wants several is
    /// not overtaken for ever.
    free: Mutex<BTreeMap<ClusterName, Arc<Semaphore>>>,
    returned: Notify,
}

impl Lent {
    /// Marks the first free group as lent.
    fn take(&self, cluster: &ClusterName) -> Option<Key> {
        let mut lent = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        let free = GROUPS.map(|group| (cluster.clone(), group));
        let free = free.into_iter().find(|key| !lent.contains(key))?;
        lent.insert(free.clone());
        Some(free)
    }

    fn free(&self, cluster: &ClusterName) -> Arc<Semaphore> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let all = || Arc::new(Semaphore::new(GROUPS.len()));
        free.entry(cluster.clone()).or_insert_with(all).clone()
    }
}

/// A group on loan; returned when dropped.
#[derive(Debug)]
pub struct SubjectGroup {
    key: Key,
    lent: Arc<Lent>,
    /// Returned after the group.
    _permit: OwnedSemaphorePermit,
}

impl SubjectGroup {
    /// Borrows so many of the groups in a cluster at once, or all if there are fewer, waiting while they are lent.
    pub async fn borrow(shared: &RunShared, cluster: &ClusterName, wanted: usize) -> Vec<Self> {
        let lent = shared.of::<Lent>();
        let wanted = wanted.clamp(1, GROUPS.len());
        let permits = u32::try_from(wanted).expect("a few");
        let acquired = lent.free(cluster).acquire_many_owned(permits).await;
        let mut permits = acquired.expect("never closed");
        let one = || {
            let permit = permits.split(1)?;
            let key = lent.take(cluster).expect("a permit for each free group");
            Some(Self {
                key,
                lent: lent.clone(),
                _permit: permit,
            })
        };
        std::iter::from_fn(one).collect()
    }

    /// Borrows the group with a pod on every node.
    pub async fn borrow_every_node(shared: &RunShared, cluster: &ClusterName) -> Self {
        let all = Self::borrow(shared, cluster, GROUPS.len()).await;
        let every_node = all.into_iter().find(|group| group.name() == EVERY_NODE);
        every_node.expect("one of all groups")
    }

    /// The cluster of its pods.
    pub fn cluster(&self) -> &ClusterName {
        &self.key.0
    }

    /// How many groups of its cluster are lent now, this one included.
    pub fn lent(&self) -> usize {
        let lent = self.lent.groups.lock().unwrap_or_else(PoisonError::into_inner);
        lent.iter().filter(|(cluster, _)| *cluster == self.key.0).count()
    }

    /// Completes when some group is returned.
    pub fn returned(&self) -> Notified<'_> {
        self.lent.returned.notified()
    }

    /// The group's name.
    pub fn name(&self) -> &'static str {
        self.key.1
    }
}

impl Drop for SubjectGroup {
    fn drop(&mut self) {
        let mut lent = self.lent.groups.lock().unwrap_or_else(PoisonError::into_inner);
        lent.remove(&self.key);
        drop(lent);
        self.lent.returned.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use std::pin::pin;

    async fn one(run: &RunShared) -> SubjectGroup {
        let mut borrowed = SubjectGroup::borrow(run, &"infra".into(), 1).await;
        borrowed.pop().expect("one")
    }

    #[tokio::test]
    async fn a_group_is_lent_once_and_again_after_its_return() {
        let (run, cluster) = (RunShared::default(), ClusterName::from("infra"));
        let mut borrowed = SubjectGroup::borrow(&run, &cluster, 9).await;
        let names: Vec<&str> = borrowed.iter().map(SubjectGroup::name).collect();
        assert_eq!(names, GROUPS);
        let mut waiting = pin!(one(&run));
        assert!(waiting.as_mut().now_or_never().is_none(), "all groups are lent");
        drop(borrowed.remove(1));
        assert_eq!(waiting.await.name(), "b");
    }

    #[tokio::test]
    async fn who_wants_several_is_not_overtaken() {
        let (run, cluster) = (RunShared::default(), ClusterName::from("infra"));
        let first = one(&run).await;
        let mut all = pin!(SubjectGroup::borrow_every_node(&run, &cluster));
        assert!(all.as_mut().now_or_never().is_none(), "one is lent");
        assert!(one(&run).now_or_never().is_none(), "the others are spoken for");
        drop(first);
        assert_eq!(all.await.name(), EVERY_NODE);
        assert_eq!(one(&run).await.lent(), 1, "the others were given back");
    }

    #[tokio::test]
    async fn two_runs_of_one_process_do_not_know_of_each_other() {
        let (run, other_run) = (RunShared::default(), RunShared::default());
        let (ours, theirs) = (one(&run).await, one(&other_run).await);
        assert_eq!((ours.name(), theirs.name(), ours.lent()), ("a", "a", 1));
    }
}
