//! What the catalogue says of a fault.

use super::{CATALOGUE, Fault};
use std::fmt;

/// One entry of the catalogue.
#[derive(Clone, Copy, Debug)]
pub struct FaultSpec {
    /// The fault.
    pub fault: Fault,
    /// Its name, in kebab case, as checks and `meshproof prove` use it.
    pub name: &'static str,
    /// What is wrong while it is in force, in one line.
    pub what: &'static str,
    /// The layer of the lab that is wrong.
    pub layer: Layer,
    /// The suites that it concerns.
    pub suites: &'static [&'static str],
    /// Where it acts.
    pub scope: Scope,
}

/// A layer of the lab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// Packets between pods and nodes: drops, delays, changes of packets.
    Network,
    /// WireGuard, and what leaves a node unencrypted.
    Encryption,
    /// The choice of a backend in a node's data path.
    Balancing,
    /// What agents make of Services and EndpointSlices.
    Services,
    /// Cluster DNS.
    Dns,
    /// The enforcement of network policies.
    Policy,
    /// The cluster mesh: what a cluster publishes and what it takes from others.
    Mesh,
    /// Cilium's agents: what they report, and what they do when they start.
    Agents,
    /// Kubernetes' controllers.
    Controllers,
    /// A whole node.
    Node,
}

/// Where a fault acts. Clusters and nodes are in the topology's order; a lab with one cluster or one node lacks some of
/// these places. A check that looks at one cluster only, or in one direction only, misses some faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everywhere.
    Lab,
    /// The first cluster.
    FirstCluster,
    /// The last cluster.
    LastCluster,
    /// The first node of the first cluster.
    FirstNode,
    /// The first node of the last cluster.
    LastClustersFirstNode,
    /// The last node of the last cluster.
    LastNode,
    /// Between the first two nodes of the first cluster.
    NodePair,
    /// Between the last node of the first cluster and the last node of the last.
    MeshPair,
    /// Between the first cluster and the last.
    Mesh,
    /// The first DNS replica, by name, of the first cluster.
    FirstDnsReplica,
}

impl Fault {
    /// The fault of this name.
    pub fn named(name: &str) -> Option<Self> {
        CATALOGUE.iter().find(|spec| spec.name == name).map(|spec| spec.fault)
    }

    /// Its entry in the catalogue.
    pub fn spec(self) -> &'static FaultSpec {
        // The catalogue is made from the same list as the enum, in the same order.
        &CATALOGUE[self as usize]
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        self.spec().name
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
