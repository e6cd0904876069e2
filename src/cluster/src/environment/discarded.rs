//! Objects that checks have no more use for: they go with the run's namespaces, which saves a call for each. So that a
//! long session does not fill the clusters, only the latest ones are left.

use meshproof_contract::{ClusterName, ObjectRef};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, PoisonError},
};

/// How many are left in a cluster.
const LEFT: usize = 64;

/// What is left, by cluster, the oldest first.
#[derive(Default)]
pub(super) struct Discarded(Mutex<BTreeMap<ClusterName, VecDeque<ObjectRef>>>);

impl Discarded {
    /// Adds one; those that are to be deleted now.
    pub(super) fn add(&self, cluster: &ClusterName, object: ObjectRef) -> Vec<ObjectRef> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let left = all.entry(cluster.clone()).or_default();
        left.push_back(object);
        let beyond = left.len().saturating_sub(LEFT);
        left.drain(..beyond).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_latest_ones_are_left() {
        let discarded = Discarded::default();
        let object = |number: usize| ObjectRef {
            api_version: "v1".into(),
            kind: "Service".into(),
            namespace: Some("meshproof".into()),
            name: format!("svc-{number}"),
        };
        for number in 0..LEFT {
            assert_eq!(discarded.add(&"infra".into(), object(number)), []);
        }
        assert_eq!(discarded.add(&"apps".into(), object(0)), [], "each cluster has its own");
        assert_eq!(discarded.add(&"infra".into(), object(LEFT)), [object(0)]);
    }
}
