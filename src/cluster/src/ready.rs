//! Condition Ready of pods and nodes.

use crate::name::NEVER_READY;
use k8s_openapi::api::core::v1::{Node, NodeCondition, Pod};

const READY: &str = "Ready";
const CONTAINERS_READY: &str = "ContainersReady";

/// Whether a pod is ready and not being deleted.
pub(crate) fn is_pod_ready(pod: &Pod) -> bool {
    has_condition(pod, READY)
}

/// Whether a probe pod's agent is ready: of a pod that is never ready itself, its container is.
pub(crate) fn is_agent_ready(pod: &Pod) -> bool {
    let gates = pod.spec.as_ref().and_then(|spec| spec.readiness_gates.as_ref());
    let never = gates
        .into_iter()
        .flatten()
        .any(|gate| gate.condition_type == NEVER_READY);
    has_condition(pod, if never { CONTAINERS_READY } else { READY })
}

fn has_condition(pod: &Pod, kind: &str) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    let holds = conditions
        .into_iter()
        .flatten()
        .any(|c| c.type_ == kind && c.status == "True");
    holds && pod.metadata.deletion_timestamp.is_none()
}

/// Whether a node's kubelet reports the node as fit for pods.
pub(crate) fn is_node_ready(node: &Node) -> bool {
    node_condition(node) == Some("True")
}

/// Status of a node's condition: `True`, `False`, or `Unknown` when its kubelet does not report.
pub(crate) fn node_condition(node: &Node) -> Option<&str> {
    Some(&ready_condition(node)?.status)
}

/// That condition as a whole.
pub(crate) fn ready_condition(node: &Node) -> Option<&NodeCondition> {
    let conditions = node.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == READY)
}
