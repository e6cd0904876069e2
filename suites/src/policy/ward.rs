//! Wards: groups of pods that nothing but this suite's policies selects, lent to one check at a time.
//!
//! Two policies on the same pods add up, so two checks may never hold the same group of one cluster at once. The groups are
//! named after the workloads of the scenario.

use meshproof_contract::ClusterName;
use std::collections::BTreeSet;
use std::sync::{LazyLock, Mutex, PoisonError};
use tokio::sync::Notify;

/// Label of a ward's pods, with the group's name as its value.
pub const LABEL: &str = "ward";

/// The groups that any check may borrow.
pub const GROUPS: [&str; 3] = ["a", "b", "c"];

/// The group with a pod on every node.
pub const EVERYWHERE: &str = "all";

/// An environment, its cluster and a group.
type Key = (usize, ClusterName, &'static str);

/// Groups that are lent, in every environment of this process.
static LENT: LazyLock<Mutex<BTreeSet<Key>>> = LazyLock::new(Mutex::default);
static RETURNED: Notify = Notify::const_new();

/// A group on loan; given back when dropped.
#[derive(Debug)]
pub struct Ward {
    key: Key,
}

impl Ward {
    /// Borrows one of the groups in a cluster of the environment `world`, waiting while all are lent.
    pub async fn borrow(world: usize, cluster: &ClusterName, groups: &[&'static str]) -> Self {
        loop {
            let mut returned = std::pin::pin!(RETURNED.notified());
            returned.as_mut().enable();
            let free = {
                let mut lent = LENT.lock().unwrap_or_else(PoisonError::into_inner);
                let key = |group: &&'static str| (world, cluster.clone(), *group);
                let free = groups.iter().map(key).find(|key| !lent.contains(key));
                if let Some(key) = &free {
                    lent.insert(key.clone());
                }
                free
            };
            match free {
                Some(key) => return Self { key },
                None => returned.await,
            }
        }
    }

    /// The group's name.
    pub fn group(&self) -> &'static str {
        self.key.2
    }
}

impl Drop for Ward {
    fn drop(&mut self) {
        let mut lent = LENT.lock().unwrap_or_else(PoisonError::into_inner);
        lent.remove(&self.key);
        drop(lent);
        RETURNED.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_group_is_lent_once_and_again_when_it_came_back() {
        let cluster = ClusterName::from("infra");
        let first = Ward::borrow(1, &cluster, &["a", "b"]).await;
        let second = Ward::borrow(1, &cluster, &["a", "b"]).await;
        assert_eq!((first.group(), second.group()), ("a", "b"));
        let elsewhere = Ward::borrow(2, &cluster, &["a"]).await;
        assert_eq!(elsewhere.group(), "a", "another world's groups are other pods");
        let waiting = Ward::borrow(1, &cluster, &["a", "b"]);
        let returning = async { drop(second) };
        let (third, ()) = futures::join!(waiting, returning);
        assert_eq!(third.group(), "b");
    }
}
