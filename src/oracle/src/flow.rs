//! Flows and their two ends, with what policies can say about them.

use crate::endpoint::Endpoint;
use std::net::IpAddr;

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
        /// Whether an API server answers there, outside of its cluster.
        serves_api: bool,
    },
}

/// Protocols that policies distinguish.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
    Icmp,
}

/// What is sent over the connection, as far as proxies parse it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Bytes that no proxy parses.
    Opaque,
    /// An HTTP request.
    Http(HttpRequest),
    /// A DNS query for a name: absolute, lower case, without final dot.
    Dns(String),
}

/// The parts of an HTTP request that L7 rules look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpRequest {
    /// The method.
    pub method: String,
    /// Path with query, as expressions see it (semantics A25; envoy:cilium/network_policy.cc).
    pub path: String,
    /// The authority as sent, with its port if it has one.
    pub host: String,
    /// Headers, names in lower case.
    pub headers: Vec<(String, String)>,
}

/// A flow to be judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Who opens it.
    pub from: Party,
    /// Its destination, after service translation.
    pub to: Party,
    /// The protocol.
    pub protocol: Protocol,
    /// Destination port; for ICMP the type.
    pub port: u16,
    /// What is sent.
    pub request: Request,
}
