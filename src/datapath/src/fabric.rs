//! The network between nodes: who is attached, which link rule applies to a pair, which faults are injected.

use crate::config::{FabricConfig, HostConfig};
use crate::fault::{Fault, FaultId};
use crate::name::NodeName;
use crate::netns::Namespace;
use ipnet::Ipv4Net;
use std::net::Ipv4Addr;

/// Why a fabric could not be made or changed.
#[derive(Debug, thiserror::Error)]
pub enum FabricError {
    /// Two machines with one name.
    #[error("the fabric already has a machine called {0}")]
    NameTaken(NodeName),
}

/// Joins nodes. Cheap to clone; every clone is the same fabric.
#[derive(Clone, Debug)]
pub struct Fabric {}

impl Fabric {
    /// An empty fabric.
    pub fn new(_config: FabricConfig) -> Result<Self, FabricError> {
        unimplemented!()
    }
    /// Attaches a machine that is no node: the world outside the clusters.
    pub async fn add_host(&self, _config: HostConfig) -> Result<HostNet, FabricError> {
        unimplemented!()
    }
    /// Sends packets for this prefix to that machine: load balancer addresses, pod CIDRs seen from outside.
    pub fn set_route(&self, _prefix: Ipv4Net, _to: &NodeName) {}
    /// Forgets the route.
    pub fn remove_route(&self, _prefix: Ipv4Net) {}
    /// Injects a fault; it acts from the next packet on.
    pub fn inject(&self, _fault: Fault) -> FaultId {
        unimplemented!()
    }
    /// Takes a fault back; `None` if there is none of that id.
    pub fn heal(&self, _id: FaultId) -> Option<Fault> {
        unimplemented!()
    }
    /// The faults in force.
    pub fn faults(&self) -> Vec<(FaultId, Fault)> {
        unimplemented!()
    }
}

/// A machine outside the clusters. Dropping it takes the machine off the fabric.
#[derive(Debug)]
pub struct HostNet {}

impl HostNet {
    /// Its network namespace.
    pub fn namespace(&self) -> &Namespace {
        unimplemented!()
    }
    /// Its address.
    pub fn address(&self) -> Ipv4Addr {
        unimplemented!()
    }
}
