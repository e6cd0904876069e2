//! A local endpoint, and what is enforced at it.

use std::{net::Ipv4Addr, time::SystemTime};

/// A local endpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct EndpointView {
    /// Its number on the node.
    pub id: u16,
    /// What it is.
    pub kind: EndpointKind,
    /// Its security identity.
    pub identity: u32,
    /// The identity's labels, with sources.
    pub labels: Vec<String>,
    /// Labels that are not part of the identity.
    pub derived: Vec<String>,
    /// Its address; none for the host's.
    pub address: Option<Ipv4Addr>,
    /// Named ports of its containers: name, protocol, number.
    pub named_ports: Vec<(String, String, u16)>,
    /// When it was made.
    pub created: SystemTime,
    /// The policy that its data path enforces.
    pub policy: EndpointPolicy,
}

/// What an endpoint is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndpointKind {
    /// A pod.
    Pod {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// Its uid.
        uid: String,
        /// What made it, such as ("echo", "Deployment").
        workload: Option<(String, String)>,
    },
    /// The node itself.
    Host,
    /// The health endpoint.
    Health,
}

/// Whether and since which revision a policy is enforced at an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointPolicy {
    /// The revision that the data path has realised.
    pub revision: u64,
    /// Which directions are enforced.
    pub enabled: PolicyEnabled,
}

/// Directions in which a policy selects an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyEnabled {
    /// None.
    None,
    /// Ingress only.
    Ingress,
    /// Egress only.
    Egress,
    /// Both.
    Both,
}

impl PolicyEnabled {
    /// As commands print it.
    pub fn as_str(self) -> &'static str {
        match self {
            PolicyEnabled::None => "none",
            PolicyEnabled::Ingress => "ingress",
            PolicyEnabled::Egress => "egress",
            PolicyEnabled::Both => "both",
        }
    }
}
