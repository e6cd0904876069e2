//! Kubelets that the API server does not reach: every stream to a pod goes through both, and where something drops port 10250
//! each try costs its whole deadline. Remembered for a while, so that only the first ones pay. Pure but for its lock.

use meshproof_contract::NodeName;
use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// A stream that did not come about after so long was not refused: nobody answered. (API servers and this client give up later.)
pub(crate) const SLOW: Duration = Duration::from_secs(10);
/// For how long nothing more is tried.
const REMEMBERED: Duration = Duration::from_secs(60);

/// The nodes of one cluster whose kubelets were not reached.
#[derive(Default)]
pub(crate) struct Kubelets(Mutex<BTreeMap<NodeName, Unreached>>);

struct Unreached {
    at: Instant,
    reason: String,
    is_told: bool,
}

impl Kubelets {
    /// A stream to a pod of that node was not answered.
    pub(crate) fn note(&self, node: &NodeName, reason: &str, now: Instant) {
        let mut all = self.lock();
        let is_told = all.get(node).is_some_and(|known| known.is_told);
        let reason = format!("API server -> kubelet (10250) of node {node} does not answer: {reason}");
        all.insert(
            node.clone(),
            Unreached {
                at: now,
                reason,
                is_told,
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

    /// What has not been told yet, a line for each node.
    pub(crate) fn news(&self) -> Vec<String> {
        let mut all = self.lock();
        let untold = all.values_mut().filter(|known| !known.is_told);
        let tell = |known: &mut Unreached| {
            known.is_told = true;
            known.reason.clone()
        };
        untold.map(tell).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeName, Unreached>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_left_alone_for_a_minute_and_told_once() {
        let (kubelets, node, start) = (Kubelets::default(), NodeName::from("apps-2"), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(kubelets.unreached(&node, start), None);
        kubelets.note(&node, "no answer in time", start);
        let reason = "API server -> kubelet (10250) of node apps-2 does not answer: no answer in time";
        assert_eq!(kubelets.unreached(&node, at(59)).as_deref(), Some(reason));
        assert_eq!(kubelets.unreached(&"apps-1".into(), at(1)), None);
        assert_eq!(kubelets.unreached(&node, at(60)), None, "tried again");
        assert_eq!(kubelets.news(), [reason]);
        kubelets.note(&node, "no answer in time", at(80));
        assert_eq!(kubelets.news(), [""; 0]);
        kubelets.forget(&node);
        assert_eq!(kubelets.unreached(&node, at(81)), None);
    }
}
