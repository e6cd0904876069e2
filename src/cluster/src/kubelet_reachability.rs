//! Kubelets that the API server cannot reach: every stream to a pod goes through both, and where port 10250 is dropped
//! each try costs its whole deadline. Remembered for a while, so that only the first streams pay. Pure but for its
//! lock.

use meshproof_contract::NodeName;
use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// A stream that fails after so long was not refused: nobody answered. (API servers and this client time out later.)
pub(crate) const SLOW: Duration = Duration::from_secs(10);
/// For how long no stream to that node is tried.
const REMEMBERED: Duration = Duration::from_secs(60);

/// The nodes of one cluster whose kubelets were not reached.
#[derive(Default)]
pub(crate) struct KubeletReachability(Mutex<BTreeMap<NodeName, Unreached>>);

struct Unreached {
    at: Instant,
    reason: String,
    reported: bool,
}

impl KubeletReachability {
    /// A stream to a pod of that node was not answered.
    pub(crate) fn note(&self, node: &NodeName, reason: &str, now: Instant) {
        let mut all = self.lock();
        let reported = all.get(node).is_some_and(|known| known.reported);
        let reason = format!("kubelet of node {node} (port 10250) does not answer the API server: {reason}");
        all.insert(
            node.clone(),
            Unreached {
                at: now,
                reason,
                reported,
            },
        );
    }

    /// Why no stream to that node is to be tried.
    pub(crate) fn unreached(&self, node: &NodeName, now: Instant) -> Option<String> {
        let all = self.lock();
        let known = all.get(node)?;
        (now.duration_since(known.at) < REMEMBERED).then(|| known.reason.clone())
    }

    /// The node came back.
    pub(crate) fn forget(&self, node: &NodeName) {
        self.lock().remove(node);
    }

    /// What has not been reported yet, a line for each node.
    pub(crate) fn unreported(&self) -> Vec<String> {
        let mut all = self.lock();
        let unreported = all.values_mut().filter(|known| !known.reported);
        let report = |known: &mut Unreached| {
            known.reported = true;
            known.reason.clone()
        };
        unreported.map(report).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeName, Unreached>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_not_tried_for_a_minute_and_reported_once() {
        let (kubelets, node, start) = (KubeletReachability::default(), NodeName::from("apps-2"), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(kubelets.unreached(&node, start), None);
        kubelets.note(&node, "no answer in time", start);
        let reason = "kubelet of node apps-2 (port 10250) does not answer the API server: no answer in time";
        assert_eq!(kubelets.unreached(&node, at(59)).as_deref(), Some(reason));
        assert_eq!(kubelets.unreached(&"apps-1".into(), at(1)), None);
        assert_eq!(kubelets.unreached(&node, at(60)), None, "tried again");
        assert_eq!(kubelets.unreported(), [reason]);
        kubelets.note(&node, "no answer in time", at(80));
        assert_eq!(kubelets.unreported(), [""; 0]);
        kubelets.forget(&node);
        assert_eq!(kubelets.unreached(&node, at(81)), None);
    }
}
