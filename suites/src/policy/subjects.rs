//! Wards: groups of pods that nothing but this suite's policies selects, lent to one check at a time.
//!
//! Two policies on the same pods add up, so two checks may never hold the same group of one cluster at once. The groups are
//! named after the workloads of the scenario.

use meshproof_contract::{ClusterName, RunShared};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;

/// Label of a ward's pods, with the group's name as its value.
pub const LABEL: &str = "ward";

/// The groups that any check may borrow.
pub const GROUPS: [&str; 3] = ["a", "b", "c"];

/// The group with a pod on every node.
pub const EVERYWHERE: &str = "all";

/// A cluster and a group.
type Key = (ClusterName, &'static str);

/// Groups that are lent in this run.
#[derive(Debug, Default)]
struct Lent {
    groups: Mutex<BTreeSet<Key>>,
    returned: Notify,
}

/// A group on loan; given back when dropped.
#[derive(Debug)]
pub struct Ward {
    key: Key,
    lent: Arc<Lent>,
}

impl Lent {
    /// Marks the first group that is free as lent.
    fn take(&self, cluster: &ClusterName, groups: &[&'static str]) -> Option<Key> {
        let mut lent = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        let key = |group: &&'static str| (cluster.clone(), *group);
        let free = groups.iter().map(key).find(|key| !lent.contains(key))?;
        lent.insert(free.clone());
        Some(free)
    }
}

impl Ward {
    /// Borrows one of the groups in a cluster, waiting while all are lent.
    pub async fn borrow(shared: &RunShared, cluster: &ClusterName, groups: &[&'static str]) -> Self {
        let lent = shared.of::<Lent>();
        loop {
            let free = {
                let mut returned = std::pin::pin!(lent.returned.notified());
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

    /// The group's name.
    pub fn group(&self) -> &'static str {
        self.key.1
    }
}

impl Drop for Ward {
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

    #[tokio::test]
    async fn a_group_is_lent_once_and_again_when_it_came_back() {
        let cluster = ClusterName::from("infra");
        let (run, other) = (RunShared::default(), RunShared::default());
        let first = Ward::borrow(&run, &cluster, &["a", "b"]).await;
        let second = Ward::borrow(&run, &cluster, &["a", "b"]).await;
        assert_eq!((first.group(), second.group()), ("a", "b"));
        let elsewhere = Ward::borrow(&other, &cluster, &["a"]).await;
        assert_eq!(elsewhere.group(), "a", "another run's groups are other pods");
        let waiting = Ward::borrow(&run, &cluster, &["a", "b"]);
        let returning = async { drop(second) };
        let (third, ()) = futures::join!(waiting, returning);
        assert_eq!(third.group(), "b");
    }
}
