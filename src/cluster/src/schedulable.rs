//! The nodes that replicas may be scheduled on, as of discovery: not those that are dead or cordoned. Pure.

use crate::ready::is_node_ready;
use k8s_openapi::api::core::v1::{Node, Taint};
use kube::ResourceExt;
use serde_json::{Value, json};

/// Control planes are observed like any node.
const CONTROL_PLANES: [&str; 2] = [
    "node-role.kubernetes.io/control-plane",
    "node-role.kubernetes.io/master",
];
/// Kubernetes' own taints describe a state of the node (unschedulable, unreachable, under pressure), not whom it is
/// for.
const STATES: &str = "node.kubernetes.io/";

/// The nodes that were Ready and not cordoned, and what keeps ordinary pods away from them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SchedulableNodes {
    nodes: Vec<String>,
    tolerations: Vec<Value>,
}

impl SchedulableNodes {
    /// Those of `nodes`; none where no node is fit, or nodes may not be listed.
    pub fn of(nodes: &[Node]) -> Option<Self> {
        let cordoned = |node: &&Node| node.spec.as_ref().and_then(|s| s.unschedulable) == Some(true);
        let mut fit: Vec<_> = nodes
            .iter()
            .filter(|node| is_node_ready(node) && !cordoned(node))
            .collect();
        fit.sort_by_key(|node| node.name_any());
        let mut tolerations: Vec<_> = CONTROL_PLANES
            .iter()
            .map(|key| json!({"key": key, "operator": "Exists"}))
            .collect();
        let taints = fit.iter().filter_map(|node| node.spec.as_ref()?.taints.as_ref());
        for taint in taints.flatten().filter(|taint| !taint.key.starts_with(STATES)) {
            let toleration = tolerated(taint);
            if !CONTROL_PLANES.contains(&taint.key.as_str()) && !tolerations.contains(&toleration) {
                tolerations.push(toleration);
            }
        }
        (!fit.is_empty()).then(|| Self {
            nodes: fit.iter().map(|node| node.name_any()).collect(),
            tolerations,
        })
    }

    /// `spec.affinity`: a field can be matched with one value only, so each node is a term.
    pub(crate) fn affinity(&self) -> Value {
        let terms: Vec<_> = self
            .nodes
            .iter()
            .map(|node| json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}))
            .collect();
        json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}})
    }

    /// `spec.tolerations`.
    pub(crate) fn tolerations(&self) -> Value {
        json!(self.tolerations)
    }
}

fn tolerated(taint: &Taint) -> Value {
    match taint.value.as_deref() {
        None | Some("") => json!({"key": taint.key, "operator": "Exists", "effect": taint.effect}),
        Some(value) => json!({"key": taint.key, "operator": "Equal", "value": value, "effect": taint.effect}),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn node(name: &str, ready: &str, spec: Value) -> Node {
        serde_json::from_value(json!({
            "metadata": {"name": name}, "spec": spec,
            "status": {"conditions": [{"type": "Ready", "status": ready}]},
        }))
        .expect("a node")
    }

    #[test]
    fn dead_and_cordoned_nodes_are_not_schedulable() {
        let nodes = [
            node("b", "True", json!({})),
            node("dead", "Unknown", json!({})),
            node("cordoned", "True", json!({"unschedulable": true})),
            node("a", "True", json!({})),
        ];
        let schedulable = SchedulableNodes::of(&nodes).expect("schedulable nodes");
        let terms = &schedulable.affinity()["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
        let term = |name: &str| json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": [name]}]});
        assert_eq!(terms["nodeSelectorTerms"], json!([term("a"), term("b")]));
        assert_eq!(
            SchedulableNodes::of(&nodes[1..3]),
            None,
            "nothing is known to be better"
        );
        assert_eq!(SchedulableNodes::of(&[]), None);
    }

    #[test]
    fn taints_of_schedulable_nodes_are_tolerated_unless_they_describe_a_state() {
        let taints = json!({"taints": [
            {"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"},
            {"key": "team", "value": "net", "effect": "NoExecute"},
            {"key": "gpu", "effect": "NoSchedule"},
            {"key": "node.kubernetes.io/disk-pressure", "effect": "NoSchedule"},
        ]});
        let nodes = [node("a", "True", taints.clone()), node("b", "True", taints)];
        let exists = |key: &str| json!({"key": key, "operator": "Exists"});
        assert_eq!(
            SchedulableNodes::of(&nodes).expect("schedulable nodes").tolerations(),
            json!([
                exists(CONTROL_PLANES[0]),
                exists(CONTROL_PLANES[1]),
                {"key": "team", "operator": "Equal", "value": "net", "effect": "NoExecute"},
                {"key": "gpu", "operator": "Exists", "effect": "NoSchedule"},
            ])
        );
    }
}
