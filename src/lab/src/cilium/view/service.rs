//! A service, as an agent has put it into the data path.

use meshproof_datapath::{BackendState, Protocol};
use std::net::Ipv4Addr;

/// A frontend with its backends.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceView {
    /// Its number, from 1.
    pub id: u32,
    /// Namespace of the Kubernetes Service.
    pub namespace: String,
    /// Name of the Kubernetes Service.
    pub name: String,
    /// `ClusterIP`, `NodePort`, ...
    pub kind: &'static str,
    /// Address; 0.0.0.0 for node ports.
    pub address: Ipv4Addr,
    /// Port.
    pub port: u16,
    /// Protocol.
    pub protocol: Protocol,
    /// External traffic policy, where it matters.
    pub external_policy: &'static str,
    /// Internal traffic policy.
    pub internal_policy: &'static str,
    /// Who answers.
    pub backends: Vec<BackendView>,
}

/// A backend.
#[derive(Clone, Debug, PartialEq)]
pub struct BackendView {
    /// Its address.
    pub address: Ipv4Addr,
    /// Its port.
    pub port: u16,
    /// Its state.
    pub state: BackendState,
    /// The node, if it is one of this cluster.
    pub node: Option<String>,
    /// The node's zone, if it has one.
    pub zone: Option<String>,
}
