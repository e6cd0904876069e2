//! The parties of a flow, with what policies can say about them.

use std::{collections::BTreeMap, net::IpAddr};

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
    /// Its node, since host and remote-node are told apart by it.
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

/// One end of a flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Party {
    /// A managed pod.
    Endpoint(Endpoint),
    /// A node, or a host-network pod on it.
    Node {
        /// Its cluster in the mesh.
        cluster: String,
        /// Its name.
        name: String,
        /// Its address.
        address: IpAddr,
        /// Whether an API server answers there.
        serves_api: bool,
    },
    /// Anything outside the mesh's clusters.
    World {
        /// Its address.
        address: IpAddr,
        /// Names that the source has resolved to it through the DNS proxy.
        names: Vec<String>,
    },
}

/// Protocols that policies tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
    Icmp,
}

/// What is asked over the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Bytes that no proxy parses.
    Opaque,
    /// An HTTP request.
    Http(HttpRequest),
    /// A DNS question for a name, absolute, lower case, without final dot.
    Dns(String),
}

/// The parts of an HTTP request that L7 rules look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpRequest {
    /// The method.
    pub method: String,
    /// Path without query.
    pub path: String,
    /// The host.
    pub host: String,
    /// Headers, names in lower case.
    pub headers: Vec<(String, String)>,
}

/// A flow to be judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Who opens it.
    pub from: Party,
    /// Whom it is for, after service translation.
    pub to: Party,
    /// The protocol.
    pub protocol: Protocol,
    /// Destination port; for ICMP the type.
    pub port: u16,
    /// What is asked.
    pub request: Request,
}
