//! A pod as policies see it: its labels, and those that Cilium adds.

use crate::flow::Protocol;
use std::collections::{BTreeMap, BTreeSet};

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
    pub named_ports: BTreeMap<String, (Protocol, u16)>,
}

/// The named ports of every pod of the mesh, by which egress rules resolve a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamedPorts(BTreeMap<(String, String, Protocol), BTreeSet<u16>>);

impl NamedPorts {
    /// Those of these pods.
    pub fn of<'a>(endpoints: impl IntoIterator<Item = &'a Endpoint>) -> Self {
        let mut found: BTreeMap<_, BTreeSet<u16>> = BTreeMap::new();
        for endpoint in endpoints {
            for (name, (protocol, number)) in &endpoint.named_ports {
                let key = (endpoint.cluster.clone(), name.to_ascii_lowercase(), *protocol);
                found.entry(key).or_default().insert(*number);
            }
        }
        Self(found)
    }

    /// The number of a name in one cluster; none if no pod of it has the name, or if two give it different numbers:
    /// then it opens nothing (semantics A19; pkg/types/portmap.go).
    pub(crate) fn number(&self, cluster: &str, name: &str, protocol: Protocol) -> Option<u16> {
        let numbers = self.0.get(&(cluster.to_owned(), name.to_owned(), protocol))?;
        match numbers.len() {
            1 => numbers.first().copied(),
            _ => None,
        }
    }
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
