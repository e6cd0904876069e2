//! Where in the lab a fault acts.

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
    /// Kubernetes' controllers, and what kubelets say of their nodes.
    Controllers,
    /// What somebody changed in the API, and what follows from it.
    Objects,
    /// What servers of others answer.
    Servers,
    /// A whole node.
    Node,
}

/// Where a fault acts. Clusters and nodes are in the order that a [`PlaceSeed`](super::PlaceSeed) draws for the fault,
/// so the first one is any one; a lab with one cluster or one node lacks some of these places. A check that looks at
/// one cluster only, or in one direction only, misses some faults.
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
    /// A cluster that is drawn each time the fault is injected.
    DrawnCluster,
    /// A node that is drawn each time the fault is injected.
    DrawnNode,
}
