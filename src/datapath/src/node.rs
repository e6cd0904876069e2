//! A node: one thread with a network namespace, a switch and WireGuard peers; and the handle to it.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::SystemTime;

use ipnet::Ipv4Net;

use crate::config::{NodeConfig, Peer, PodConfig, PublicKey};
use crate::fabric::Fabric;
use crate::flow::{Counters, FlowEvent};
use crate::name::NodeName;
use crate::netns::Namespace;
use crate::policy::{Identity, Policy};
use crate::service::Service;

/// Why a node could not start.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// Two machines with one name.
    #[error("the fabric already has a machine called {0}")]
    NameTaken(NodeName),
}

/// Why a pod's network could not be made.
#[derive(Debug, thiserror::Error)]
pub enum PodError {
    /// Its node has shut down.
    #[error("node {0} has shut down")]
    NodeGone(NodeName),
}

/// Starts nodes.
#[derive(Debug)]
pub struct Node;

impl Node {
    /// Makes the node's namespace and devices, attaches it to the fabric and starts its thread.
    pub async fn start(_config: NodeConfig, _fabric: &Fabric) -> Result<NodeHandle, NodeError> {
        unimplemented!()
    }
}

/// A running node. Cheap to clone. Setters take effect in order and return at once; readers answer after every setter
/// that was called before them. The node stops when [`shutdown`](Self::shutdown) is called or the last handle drops.
#[derive(Clone, Debug)]
pub struct NodeHandle {}

impl NodeHandle {
    /// Its name.
    pub fn name(&self) -> &NodeName {
        unimplemented!()
    }
    /// What it was started with.
    pub fn config(&self) -> &NodeConfig {
        unimplemented!()
    }
    /// Its WireGuard key.
    pub fn public_key(&self) -> PublicKey {
        unimplemented!()
    }
    /// The node's own network namespace, where host-network processes live.
    pub fn namespace(&self) -> &Namespace {
        unimplemented!()
    }
    /// What other nodes must know of this one.
    pub fn as_peer(&self) -> Peer {
        unimplemented!()
    }
    /// Makes a pod's network namespace and attaches it to the switch.
    pub async fn add_pod(&self, _config: PodConfig) -> Result<PodNet, PodError> {
        unimplemented!()
    }
    /// Detaches a pod; its established flows are forgotten. The namespace itself lives on while somebody holds it.
    pub async fn remove_pod(&self, _address: Ipv4Addr) -> Result<(), PodError> {
        unimplemented!()
    }
    /// Gives a pod another identity (its labels changed).
    pub fn set_pod_identity(&self, _address: Ipv4Addr, _identity: Identity) {}
    /// Replaces the peers. Sessions with unchanged peers live on.
    pub fn set_peers(&self, _peers: Vec<Peer>) {}
    /// Replaces the services. Established flows to backends that stay are untouched.
    pub fn set_services(&self, _services: Vec<Service>) {}
    /// Replaces what is known about remote addresses; the longest prefix wins.
    pub fn set_identities(&self, _identities: Vec<(Ipv4Net, Identity)>) {}
    /// Replaces the policy; established flows are asked about again.
    pub fn set_policy(&self, _policy: Box<dyn Policy>) {}
    /// Counts since the start.
    pub async fn counters(&self) -> Counters {
        unimplemented!()
    }
    /// The WireGuard peers.
    pub async fn peers(&self) -> Vec<PeerStatus> {
        unimplemented!()
    }
    /// Remembered flow events with a sequence number of at least `from`, oldest first.
    pub async fn flows(&self, _from: u64) -> Vec<FlowEvent> {
        unimplemented!()
    }
    /// Stops the thread and waits for its end. The namespace goes when its last process has ended.
    pub async fn shutdown(&self) {}
}

/// A pod's network.
#[derive(Clone, Debug)]
pub struct PodNet {}

impl PodNet {
    /// Where the pod's processes are to be started.
    pub fn namespace(&self) -> &Namespace {
        unimplemented!()
    }
    /// Its address.
    pub fn address(&self) -> Ipv4Addr {
        unimplemented!()
    }
}

/// A WireGuard peer as `wg show` would print it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// The peer's node.
    pub node: NodeName,
    /// Its public key as this node knows it.
    pub public_key: PublicKey,
    /// Where it listens.
    pub endpoint: SocketAddr,
    /// What may come out of the tunnel.
    pub allowed_ips: Vec<Ipv4Net>,
    /// The last completed handshake; `None` until there was one.
    pub last_handshake: Option<SystemTime>,
    /// Bytes of WireGuard messages received.
    pub rx_bytes: u64,
    /// Bytes of WireGuard messages sent.
    pub tx_bytes: u64,
}
