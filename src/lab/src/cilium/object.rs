//! The objects that agents write: CiliumNode, CiliumEndpoint, CiliumIdentity. Pure.

use crate::{identity::SecurityLabels, profile::EncryptionMode, topology::NodeSpec};
use meshproof_apiserver::Object;
use serde_json::{Map, Value, json};
use std::net::Ipv4Addr;

/// What Cilium calls the key of WireGuard (`wgKey` in `pkg/wireguard/types`).
pub(super) const WIREGUARD_KEY: u8 = 255;

/// The annotation that carries a node's WireGuard key.
pub(super) const PUBLIC_KEY: &str = "network.cilium.io/wg-pub-key";

pub(super) fn cilium_node(
    node: &Object,
    spec: &NodeSpec,
    router: Ipv4Addr,
    encryption: EncryptionMode,
    public_key: &str,
) -> Value {
    let mut object = json!({
        "apiVersion": "cilium.io/v2",
        "kind": "CiliumNode",
        "metadata": {
            "name": spec.name,
            "labels": node["metadata"]["labels"],
            "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": spec.name, "uid": node.uid()}],
        },
        "spec": {
            "addresses": [
                {"type": "InternalIP", "ip": spec.address.to_string()},
                {"type": "CiliumInternalIP", "ip": router.to_string()},
            ],
            "alibaba-cloud": {},
            "azure": {},
            "bootid": node["status"]["nodeInfo"]["bootID"].as_str().unwrap_or_default(),
            "encryption": {},
            "eni": {},
            "health": {"ipv4": spec.health_address().to_string()},
            "ingress": {},
            "ipam": {"podCIDRs": [spec.pod_cidr.to_string()], "pools": {}},
        },
    });
    if encryption == EncryptionMode::WireGuard {
        object["metadata"]["annotations"] = json!({PUBLIC_KEY: public_key});
        object["spec"]["encryption"] = json!({"key": WIREGUARD_KEY});
    }
    object
}

/// A pod's endpoint as its agent sees it.
pub(super) struct Endpoint<'a> {
    pub(super) pod: &'a Object,
    pub(super) id: u16,
    pub(super) address: Ipv4Addr,
    pub(super) node: Ipv4Addr,
    pub(super) identity: u32,
    pub(super) labels: &'a [String],
    pub(super) encryption: EncryptionMode,
}

impl Endpoint<'_> {
    pub(super) fn object(&self) -> Value {
        let (namespace, name) = (self.pod.namespace().unwrap_or_default(), self.pod.name());
        let mut status = json!({
            "encryption": {},
            "external-identifiers": external_identifiers(namespace, name, self.pod.uid()),
            "id": self.id,
            "identity": {"id": self.identity, "labels": self.labels},
            "networking": {"addressing": [{"ipv4": self.address.to_string()}], "node": self.node.to_string()},
            "state": "ready",
        });
        if self.encryption == EncryptionMode::WireGuard {
            status["encryption"] = json!({"key": WIREGUARD_KEY});
        }
        let mut metadata = json!({
            "namespace": namespace,
            "name": name,
            "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": name, "uid": self.pod.uid()}],
        });
        if !self.pod.labels().is_empty() {
            metadata["labels"] = json!(self.pod.labels());
        }
        json!({"apiVersion": "cilium.io/v2", "kind": "CiliumEndpoint", "metadata": metadata, "status": status})
    }
}

/// How a pod's sandbox is known outside Cilium. The container's id is 64 hexadecimal digits made of the pod's uid.
pub(super) fn external_identifiers(namespace: &str, name: &str, uid: &str) -> Value {
    let id = uid.replace('-', "").repeat(2);
    json!({
        "cni-attachment-id": format!("{id}:eth0"),
        "container-id": id,
        "k8s-namespace": namespace,
        "k8s-pod-name": name,
        "pod-name": format!("{namespace}/{name}"),
    })
}

pub(super) fn cilium_identity(identity: u32, labels: &SecurityLabels) -> Value {
    let namespace = labels
        .get("k8s:io.kubernetes.pod.namespace")
        .cloned()
        .unwrap_or_default();
    let security: Map<String, Value> = labels.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
    json!({
        "apiVersion": "cilium.io/v2",
        "kind": "CiliumIdentity",
        "metadata": {"name": identity.to_string(), "labels": {"io.kubernetes.pod.namespace": namespace}},
        "security-labels": security,
    })
}

/// Labels as lists show them: `k8s:app=client`.
pub(super) fn label_list(labels: &SecurityLabels) -> Vec<String> {
    labels.iter().map(|(key, value)| format!("{key}={value}")).collect()
}
