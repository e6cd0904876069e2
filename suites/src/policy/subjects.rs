//! Groups of subject pods: pods that only this suite's policies select, lent to one check at a time.
//!
//! Two policies on the same pods add up, so two checks may never hold the same group of one cluster at once. The groups
//! are named after the workloads of the scenario.

use meshproof_contract::{ClusterName, RunShared};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, futures::Notified};

/// Label of subject pods, with the group's name as its value.
pub const LABEL: &str = "subject";

/// The groups that any check may borrow.
pub const GROUPS: [&str; 3] = ["a", "b", "c"];

/// The group with a pod on every node.
pub const EVERY_NODE: &str = "all";

/// A cluster and a group.
type Key = (ClusterName, &'static str);

/// The groups that are lent in this run.
#[derive(Debug, Default)]
struct Lent {
    groups: Mutex<BTreeSet<Key>>,
    /// The groups of a cluster among which one may choose, by the first of them: who asks first is served first, so
    /// that a check that wants several is not overtaken for ever.
    pools: Mutex<BTreeMap<Key, Arc<Semaphore>>>,
    returned: Notify,
}

impl Lent {
    /// Marks the first free group as lent.
    fn take(&self, cluster: &ClusterName, groups: &[&'static str]) -> Option<Key> {
        let mut lent = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        let key = |group: &&'static str| (cluster.clone(), *group);
        let free = groups.iter().map(key).find(|key| !lent.contains(key))?;
        lent.insert(free.clone());
        Some(free)
    }

    fn pool(&self, cluster: &ClusterName, groups: &[&'static str]) -> Arc<Semaphore> {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        let first = groups.first().copied().unwrap_or_default();
        let new = || Arc::new(Semaphore::new(groups.len()));
        pools.entry((cluster.clone(), first)).or_insert_with(new).clone()
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
    /// Borrows one of the groups in a cluster, waiting while all are lent.
    pub async fn borrow(shared: &RunShared, cluster: &ClusterName, groups: &[&'static str]) -> Self {
        let mut borrowed = Self::borrow_several(shared, cluster, groups, 1).await;
        borrowed.pop().expect("as many as wanted")
    }

    /// Borrows so many of the groups in a cluster at once, or all if there are fewer. The groups in `groups` belong
    /// together: who names one of them names all.
    pub async fn borrow_several(
        shared: &RunShared,
        cluster: &ClusterName,
        groups: &[&'static str],
        wanted: usize,
    ) -> Vec<Self> {
        let lent = shared.of::<Lent>();
        let wanted = wanted.clamp(1, groups.len());
        let permits = u32::try_from(wanted).expect("a few");
        let acquired = lent.pool(cluster, groups).acquire_many_owned(permits).await;
        let mut permits = acquired.expect("never closed");
        let one = || {
            let permit = permits.split(1)?;
            let key = lent.take(cluster, groups).expect("a permit for each free group");
            Some(Self {
                key,
                lent: lent.clone(),
                _permit: permit,
            })
        };
        std::iter::from_fn(one).collect()
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

    #[tokio::test]
    async fn a_group_is_lent_once_and_again_after_its_return() {
        let (run, cluster) = (RunShared::default(), ClusterName::from("infra"));
        let first = SubjectGroup::borrow(&run, &cluster, &["a", "b"]).await;
        let second = SubjectGroup::borrow(&run, &cluster, &["a", "b"]).await;
        assert_eq!((first.name(), second.name()), ("a", "b"));
        let mut waiting = pin!(SubjectGroup::borrow(&run, &cluster, &["a", "b"]));
        assert!(waiting.as_mut().now_or_never().is_none(), "both groups are lent");
        drop(second);
        assert_eq!(waiting.await.name(), "b");
    }

    #[tokio::test]
    async fn two_runs_of_one_process_do_not_know_of_each_other() {
        let (run, other_run, cluster) = (RunShared::default(), RunShared::default(), ClusterName::from("infra"));
        let ours = SubjectGroup::borrow(&run, &cluster, &["a"]).await;
        let theirs = SubjectGroup::borrow(&other_run, &cluster, &["a"]).now_or_never();
        let theirs = theirs.expect("the group of the other run is free");
        assert_eq!((ours.name(), theirs.name()), ("a", "a"));
        drop(theirs);
        let again = SubjectGroup::borrow(&run, &cluster, &["a"]).now_or_never();
        assert!(again.is_none(), "a return in the other run frees nothing here");
    }
}
