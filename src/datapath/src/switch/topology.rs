//! Who is where: local endpoints, peers, prefixes and identities, and from them the way to an address.

use super::balance::NodePorts;
use crate::{
    config::{Encryption, NodeConfig, Peer, Routing},
    identity::Identity,
    name::{ClusterName, EndpointName},
};
use ipnet::Ipv4Net;
use std::{
    collections::{BTreeMap, HashMap},
    net::Ipv4Addr,
};

/// Index of a peer in the list last given to the switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerIndex(pub usize);

/// A pod of this node.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    pub name: EndpointName,
    pub identity: Identity,
}

/// The way to an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// A pod of this node.
    Pod,
    /// This node itself.
    Host,
    /// A pod of another node, or its router address.
    Peer(PeerIndex),
    /// Another node's own address.
    Node(PeerIndex),
    /// Outside the clusters.
    World,
    /// In this node's pod CIDR, but no pod has it.
    NoEndpoint,
    /// In a pod CIDR that no peer claims: to Cilium that is outside, until strict mode says otherwise.
    NoPeer,
    /// In a service CIDR.
    Service,
}

/// What a node knows of the others.
#[derive(Debug)]
pub(super) struct Topology {
    cluster: ClusterName,
    pub address: Ipv4Addr,
    pub router: Ipv4Addr,
    pod_cidr: Ipv4Net,
    cluster_pod_cidrs: Vec<Ipv4Net>,
    service_cidrs: Vec<Ipv4Net>,
    strict: Option<Ipv4Net>,
    /// Whether nodes are reached as pods are, through the encryption.
    pub node_encryption: bool,
    node_ports_elsewhere: bool,
    /// Whether a node is inside the clusters as the masquerading sees it.
    pub native: bool,
    pub endpoints: HashMap<Ipv4Addr, Endpoint>,
    pub peers: Vec<Peer>,
    nodes: HashMap<Ipv4Addr, PeerIndex>,
    peer_prefixes: Prefixes<PeerIndex>,
    identities: Prefixes<Identity>,
}

impl Topology {
    pub(super) fn new(config: &NodeConfig) -> Self {
        Self {
            cluster: config.cluster.clone(),
            address: config.address,
            router: config.router,
            pod_cidr: config.pod_cidr,
            cluster_pod_cidrs: config.cluster_pod_cidrs.clone(),
            service_cidrs: config.service_cidrs.clone(),
            strict: config.strict_encryption,
            node_encryption: config.node_encryption && config.encryption != Encryption::None,
            node_ports_elsewhere: config.node_ports_elsewhere,
            native: config.routing == Routing::Native,
            endpoints: HashMap::new(),
            peers: Vec::new(),
            nodes: HashMap::new(),
            peer_prefixes: Prefixes::default(),
            identities: Prefixes::default(),
        }
    }

    pub(super) fn set_peers(&mut self, peers: Vec<Peer>) {
        self.nodes = peers
            .iter()
            .enumerate()
            .map(|(index, peer)| (peer.address, PeerIndex(index)))
            .collect();
        self.peer_prefixes = Prefixes::default();
        for (index, peer) in peers.iter().enumerate() {
            self.peer_prefixes.insert(Ipv4Net::from(peer.router), PeerIndex(index));
            for cidr in &peer.pod_cidrs {
                self.peer_prefixes.insert(*cidr, PeerIndex(index));
            }
        }
        self.peers = peers;
    }

    pub(super) fn set_identities(&mut self, identities: Vec<(Ipv4Net, Identity)>) {
        self.identities = Prefixes::default();
        for (prefix, identity) in identities {
            self.identities.insert(prefix, identity);
        }
    }

    pub(super) fn way_to(&self, address: Ipv4Addr) -> Way {
        if self.endpoints.contains_key(&address) {
            return Way::Pod;
        }
        if self.is_own(address) {
            return Way::Host;
        }
        if let Some(peer) = self.nodes.get(&address) {
            return Way::Node(*peer);
        }
        if let Some(peer) = self.peer_prefixes.find(address) {
            return Way::Peer(peer);
        }
        if self.pod_cidr.contains(&address) {
            return Way::NoEndpoint;
        }
        if self.cluster_pod_cidrs.iter().any(|cidr| cidr.contains(&address)) {
            return Way::NoPeer;
        }
        if self.service_cidrs.iter().any(|cidr| cidr.contains(&address)) {
            return Way::Service;
        }
        Way::World
    }

    /// Whether the address is this node's own.
    pub(super) fn is_own(&self, address: Ipv4Addr) -> bool {
        address == self.address || address == self.router
    }

    /// Whether this node serves NodePorts at the address: its own, and those of its cluster's other nodes, which need
    /// not be asked. Another cluster's node is (semantics B13).
    pub(super) fn is_node(&self, address: Ipv4Addr, node_ports: NodePorts) -> bool {
        let is_near = |peer: &PeerIndex| {
            let is_served = self.peers[peer.0].cluster == self.cluster || node_ports == NodePorts::Anywhere;
            self.node_ports_elsewhere && is_served
        };
        address == self.address || self.nodes.get(&address).is_some_and(is_near)
    }

    /// The addresses of [`is_node`](Self::is_node).
    pub(super) fn node_port_addresses(&self) -> impl Iterator<Item = Ipv4Addr> {
        let peers = self.peers.iter().map(|peer| peer.address);
        let near = peers.filter(|address| self.is_node(*address, NodePorts::Near));
        std::iter::once(self.address).chain(near)
    }

    /// Whether strict mode holds for what these addresses send each other. Not for the node's own traffic
    /// (`strict_allow` in `bpf/lib/encrypt.h`).
    pub(super) fn is_strict(&self, source: Ipv4Addr, destination: Ipv4Addr) -> bool {
        let holds = |range: Ipv4Net| range.contains(&source) && range.contains(&destination);
        self.strict.is_some_and(holds) && !self.is_own(source)
    }

    pub(super) fn identity_of(&self, address: Ipv4Addr) -> Identity {
        if let Some(endpoint) = self.endpoints.get(&address) {
            return endpoint.identity;
        }
        if self.is_own(address) {
            return Identity::HOST;
        }
        if let Some(identity) = self.identities.find(address) {
            return identity;
        }
        match self.way_to(address) {
            Way::Node(_) => Identity::REMOTE_NODE,
            Way::Peer(peer) if self.peers[peer.0].router == address => Identity::REMOTE_NODE,
            Way::World | Way::NoPeer => Identity::WORLD,
            _ => Identity::UNKNOWN,
        }
    }
}

/// Prefixes, the longest of which wins.
#[derive(Debug)]
struct Prefixes<T> {
    by_length: BTreeMap<std::cmp::Reverse<u8>, HashMap<Ipv4Addr, T>>,
}

impl<T> Default for Prefixes<T> {
    fn default() -> Self {
        Self {
            by_length: BTreeMap::new(),
        }
    }
}

impl<T: Copy> Prefixes<T> {
    fn insert(&mut self, prefix: Ipv4Net, value: T) {
        self.by_length
            .entry(std::cmp::Reverse(prefix.prefix_len()))
            .or_default()
            .insert(prefix.network(), value);
    }

    fn find(&self, address: Ipv4Addr) -> Option<T> {
        self.by_length.iter().find_map(|(length, networks)| {
            let mask = u32::MAX.checked_shl(32 - u32::from(length.0)).unwrap_or(0);
            networks.get(&Ipv4Addr::from(u32::from(address) & mask)).copied()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_wins() {
        let mut prefixes = Prefixes::default();
        prefixes.insert("0.0.0.0/0".parse().unwrap(), 0);
        prefixes.insert("10.244.0.0/16".parse().unwrap(), 16);
        prefixes.insert("10.244.1.7/32".parse().unwrap(), 32);
        assert_eq!(prefixes.find([10, 244, 1, 7].into()), Some(32));
        assert_eq!(prefixes.find([10, 244, 1, 8].into()), Some(16));
        assert_eq!(prefixes.find([1, 1, 1, 1].into()), Some(0));
    }
}
