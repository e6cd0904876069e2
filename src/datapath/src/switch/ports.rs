//! What goes into a switch and what comes out.

use super::topology::PeerIndex;
use crate::{flow::Direction, identity::Identity, packet::Packet};
use std::{
    net::{Ipv4Addr, SocketAddrV4},
    time::Duration,
};

/// Where a packet comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The pod with this address.
    Pod(Ipv4Addr),
    /// A process in the node's own namespace.
    Host,
    /// Another node, through the tunnel, with the identity that it carried.
    Tunnel(Identity),
    /// The network outside any tunnel, addressed to this node's switch.
    Wire,
}

/// Where a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The pod with this address.
    Pod(Ipv4Addr),
    /// The node's own stack.
    Host,
    /// A peer, tunnelled.
    Peer {
        /// Which.
        peer: PeerIndex,
        /// The source's identity.
        identity: Identity,
        /// Whether it may be encrypted.
        protection: Protection,
    },
    /// The network, as it is.
    Wire,
}

/// Whether a packet to a peer goes the configured way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// As configured.
    Configured,
    /// In clear whatever is configured: by a fault, or since native routing spares what nodes themselves send.
    Stripped,
    /// In clear by the node's second link, by a fault.
    SecondLink,
}

/// A packet on its way out.
#[derive(Debug)]
pub struct Delivery {
    /// Where to.
    pub target: Target,
    /// The packet.
    pub packet: Packet,
    /// How long to hold it back.
    pub delay: Duration,
}

/// Where a proxied flow was really going.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxiedFlow {
    /// The destination that the client asked for, a service's address if it asked a service.
    pub destination: SocketAddrV4,
    /// Where it would have gone: the backend that was chosen if it asked a service, the destination otherwise.
    pub backend: SocketAddrV4,
    /// The client's identity.
    pub source_identity: Identity,
    /// The identity of who would have been reached.
    pub destination_identity: Identity,
}

/// A connection that a proxy opens from the node's namespace on a client's behalf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// The client: the other side sees its address and identity, not the host's.
    pub client: SocketAddrV4,
    /// Whose policy sent the client to the proxy. After egress, the destination's ingress policy is still asked.
    pub after: Direction,
}
