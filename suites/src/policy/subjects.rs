//! Groups of subject pods: pods that only this suite's policies select, lent to one check at a time.
//!
//! Two policies on the same pods add up, so two checks may never hold the same group of one cluster at once. The groups
//! are named after the workloads of the scenario.

use meshproof_contract::{ClusterName, RunShared};
use std::{
    collections::BTreeSet,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::{Notify, futures::Notified};

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
}

/// A group on loan; returned when dropped.
#[derive(Debug)]
pub struct SubjectGroup {
    key: Key,
    lent: Arc<Lent>,
}

impl SubjectGroup {
    /// Borrows one of the groups in a cluster, waiting while all are lent.
    pub async fn borrow(shared: &RunShared, cluster: &ClusterName, groups: &[&'static str]) -> Self {
        let lent = shared.of::<Lent>();
        loop {
            let free = {
                let mut returned = pin!(lent.returned.notified());
                returned.as_mut().enable();
                let free = lent.take(cluster, groups);
                if free.is_none() {
                    returned.await;
                }
                free
            };
            if let Some(key) = free {
                return Self { key, lent };
            }
        }
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
