//! Nodes that are not Cilium's: virtual ones (Liqo, virtual-kubelet, Fargate), other operating systems, and Node
//! objects without a kubelet. A real node whose agent is missing is none of them.

use crate::client::{ClusterClient, kind_of};
use k8s_openapi::api::core::v1::Node;
use kube::{ResourceExt, api::ListParams};
use std::collections::BTreeSet;

/// Labels of virtual nodes: key, value (none: any), and what such a node is.
const LABELS: [(&str, Option<&str>, &str); 4] = [
    ("liqo.io/type", Some("virtual-node"), "a virtual node of Liqo"),
    ("type", Some("virtual-kubelet"), "a virtual node (virtual-kubelet)"),
    ("kubernetes.azure.com/cluster-type", Some("virtual"), "a virtual node"),
    ("eks.amazonaws.com/compute-type", Some("fargate"), "a node of Fargate"),
];
/// Taint of virtual-kubelet's nodes.
const TAINT: &str = "virtual-kubelet.io/provider";

/// What a node is, if it is not Cilium's by its own description.
pub(super) fn what(node: &Node) -> Option<String> {
    let labels = node.labels();
    let by_label = LABELS.iter().find(|(key, value, _)| {
        let found = labels.get(*key).map(String::as_str);
        found.is_some() && value.is_none_or(|value| found == Some(value))
    });
    if let Some((_, _, what)) = by_label {
        return Some((*what).to_owned());
    }
    let spec = node.spec.as_ref();
    let mut taints = spec.into_iter().flat_map(|spec| spec.taints.iter().flatten());
    if taints.any(|taint| taint.key == TAINT) {
        return Some("a virtual node (virtual-kubelet)".to_owned());
    }
    let info = node.status.as_ref().and_then(|status| status.node_info.as_ref());
    match info {
        Some(info) if !info.operating_system.is_empty() && info.operating_system != "linux" => {
            Some(format!("a node of operating system {}", info.operating_system))
        }
        _ => None,
    }
}

/// The same of a Node object that no kubelet has ever reported to.
pub(super) fn without_kubelet(node: &Node) -> Option<String> {
    let info = node.status.as_ref().and_then(|status| status.node_info.as_ref());
    let reported = info.is_some_and(|info| !info.kubelet_version.is_empty());
    (!reported).then(|| "a Node object that no kubelet has ever reported to".to_owned())
}

/// The nodes that Cilium has; none where they may not be listed.
pub(super) async fn of_cilium(client: &ClusterClient) -> Option<BTreeSet<String>> {
    let objects = client
        .dynamic(&kind_of("cilium.io/v2", "CiliumNode"), None)
        .await
        .ok()?;
    let params = ListParams::default();
    let listed = client.call_again(objects.operation("list"), || objects.api.list(&params));
    Some(listed.await.ok()?.items.iter().map(ResourceExt::name_any).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn node(labels: Value, info: Value) -> Option<String> {
        let node = json!({"metadata": {"name": "n", "labels": labels}, "status": {"nodeInfo": info}});
        what(&serde_json::from_value(node).expect("a node"))
    }

    #[test]
    fn a_node_is_foreign_by_its_own_description_only() {
        let info = |os: &str| {
            json!({
                "operatingSystem": os, "kubeletVersion": "v1.34.0", "architecture": "amd64", "bootID": "",
                "containerRuntimeVersion": "", "kernelVersion": "", "kubeProxyVersion": "", "machineID": "",
                "osImage": "", "systemUUID": "",
            })
        };
        assert_eq!(node(json!({}), info("linux")), None);
        assert_eq!(
            node(json!({}), info("windows")).as_deref(),
            Some("a node of operating system windows")
        );
        let liqo = node(json!({"liqo.io/type": "virtual-node"}), info("linux"));
        assert_eq!(liqo.as_deref(), Some("a virtual node of Liqo"));
        let bare: Node = serde_json::from_value(json!({"metadata": {"name": "n"}})).expect("a node");
        assert_eq!(what(&bare), None);
        assert!(without_kubelet(&bare).is_some());
    }
}
