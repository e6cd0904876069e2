//! A pod as policies see it: its labels, and those that Cilium adds.

use std::collections::BTreeMap;

/// A pod that Cilium manages, in any cluster of the mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its cluster's name in the mesh (`cluster-name`).
    pub cluster: String,
    /// Its namespace.
    pub namespace: String,
    /// Labels of that namespace.
    pub namespace_labels: BTreeMap<String, String>,
    /// Its service account.
    pub service_account: String,
    /// The pod's labels.
    pub labels: BTreeMap<String, String>,
    /// Its node, which distinguishes host from remote-node.
    pub node: String,
    /// Its container ports that have a name.
    pub named_ports: BTreeMap<String, u16>,
}

impl Endpoint {
    /// The value of an identity label, as selectors see it: the pod's own labels and those that Cilium adds
    /// (docs.cilium.io, "Identity-Relevant Labels" and "Using Kubernetes Constructs In Policy").
    pub fn label(&self, key: &str) -> Option<&str> {
        match key {
            NAMESPACE => Some(&self.namespace),
            CLUSTER => Some(&self.cluster),
            SERVICE_ACCOUNT => Some(&self.service_account),
            _ => match key.strip_prefix(NAMESPACE_LABELS) {
                Some(key) => self.namespace_labels.get(key).map(String::as_str),
                None => self.labels.get(key).map(String::as_str),
            },
        }
    }
}

/// Label of a pod's namespace.
pub const NAMESPACE: &str = "io.kubernetes.pod.namespace";
/// Label of a pod's cluster.
pub const CLUSTER: &str = "io.cilium.k8s.policy.cluster";
/// Label of a pod's service account.
pub const SERVICE_ACCOUNT: &str = "io.cilium.k8s.policy.serviceaccount";
/// Prefix of the labels of a pod's namespace.
pub const NAMESPACE_LABELS: &str = "io.cilium.k8s.namespace.labels.";
