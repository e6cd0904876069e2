//! Faults as data: where they act, on which traffic, and what they do. Injected with [`Fabric::inject`], healed with
//! [`Fabric::heal`](crate::Fabric::heal); each takes effect with the next packet.
//!
//! [`Fabric::inject`]: crate::Fabric::inject

use crate::{
    flow::Direction,
    name::{NodeName, ServiceName},
    service::{Protocol, ServiceOverride},
};
use ipnet::Ipv4Net;
use std::{collections::BTreeSet, net::Ipv4Addr, time::Duration};

/// Names an injected fault until it is healed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FaultId(pub u64);

/// Something that a network can get wrong.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// On the wire between nodes, seen from outside: acts on what leaves `eth0`, ciphertext or not.
    Underlay {
        /// Sending nodes.
        from: Nodes,
        /// Receiving nodes.
        to: Nodes,
        /// What happens.
        impairment: Impairment,
    },
    /// On the pods' packets between nodes, inside any tunnel; packets between two pods of one node never meet it.
    Path {
        /// Nodes of the sending pods.
        from: Nodes,
        /// Nodes of the receiving pods.
        to: Nodes,
        /// What happens.
        impairment: Impairment,
    },
    /// On one pod's link.
    Endpoint {
        /// The pod's address.
        address: Ipv4Addr,
        /// Which way.
        direction: Direction,
        /// What happens.
        impairment: Impairment,
    },
    /// Pod packets leave with the node's `cilium_host` address as source.
    Masquerade {
        /// Nodes of the sending pods.
        from: Nodes,
        /// Nodes of the receiving pods.
        to: Nodes,
    },
    /// Matching pod packets leave unencrypted although encryption is on.
    Plaintext {
        /// Nodes of the sending pods.
        from: Nodes,
        /// Nodes of the receiving pods.
        to: Nodes,
        /// Which packets, by the pods' headers.
        traffic: Traffic,
    },
    /// Pod packets leave unencrypted, and by the nodes' second link, which nothing else uses.
    SecondLink {
        /// Nodes of the sending pods.
        from: Nodes,
        /// Nodes of the receiving pods.
        to: Nodes,
    },
    /// What nodes themselves send leaves unencrypted although node encryption is on, and so does what their pods send
    /// to nodes.
    NodesInClear {
        /// Sending nodes.
        from: Nodes,
        /// Receiving nodes.
        to: Nodes,
    },
    /// No WireGuard datagram passes: neither handshake nor data.
    TunnelDown {
        /// Sending nodes.
        from: Nodes,
        /// Receiving nodes.
        to: Nodes,
    },
    /// `node` knows a wrong public key for `peer`.
    WrongKey {
        /// Who has it wrong.
        node: Nodes,
        /// About whom.
        peer: NodeName,
    },
    /// `node` has no WireGuard peer for `peer`: what it sends there goes as without a key, and it cannot read what
    /// comes.
    UnknownPeer {
        /// Who lacks it.
        node: Nodes,
        /// About whom.
        peer: NodeName,
    },
    /// `node` allows other addresses for `peer` than it should.
    AllowedIps {
        /// Who allows them.
        node: Nodes,
        /// About whom.
        peer: NodeName,
        /// All that is allowed.
        allowed: Vec<Ipv4Net>,
    },
    /// `node` shows its last handshake with `peer` as at least this old, as if nobody had renewed the keys.
    StaleHandshake {
        /// Who shows it.
        node: Nodes,
        /// About whom.
        peer: NodeName,
        /// How old.
        age: Duration,
    },
    /// Strict mode is on and these nodes do not act on it.
    StrictIgnored {
        /// Which.
        nodes: Nodes,
    },
    /// TCP connections on which nothing was sent for a while get no packet through any more, as behind a firewall that
    /// forgot them.
    IdleDropped {
        /// On which nodes.
        nodes: Nodes,
        /// After how long.
        after: Duration,
    },
    /// A node without a network: nothing from it, nothing to it.
    Cut {
        /// The node.
        node: NodeName,
    },
    /// Some nodes choose a service's backends wrongly.
    Service {
        /// On which nodes.
        nodes: Nodes,
        /// Which service.
        service: ServiceName,
        /// How.
        change: ServiceOverride,
    },
}

/// A set of nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Nodes {
    /// All, hosts outside the clusters included.
    Any,
    /// These.
    Only(BTreeSet<NodeName>),
}

impl Nodes {
    /// Just one.
    pub fn one(name: impl Into<NodeName>) -> Self {
        Nodes::Only(BTreeSet::from([name.into()]))
    }

    /// Whether the set has it.
    pub fn contains(&self, name: &NodeName) -> bool {
        match self {
            Nodes::Any => true,
            Nodes::Only(names) => names.contains(name),
        }
    }
}

impl<N: Into<NodeName>> FromIterator<N> for Nodes {
    fn from_iter<I: IntoIterator<Item = N>>(names: I) -> Self {
        Nodes::Only(names.into_iter().map(Into::into).collect())
    }
}

/// What happens to which packets.
#[derive(Clone, Debug, PartialEq)]
pub struct Impairment {
    /// Which packets.
    pub traffic: Traffic,
    /// What happens to them.
    pub effect: Effect,
}

impl Impairment {
    /// The effect on every packet.
    pub fn all(effect: Effect) -> Self {
        Self {
            traffic: Traffic::All,
            effect,
        }
    }

    /// The effect on one protocol.
    pub fn of(protocol: Protocol, effect: Effect) -> Self {
        Self {
            traffic: Traffic::Protocol(protocol),
            effect,
        }
    }
}

/// Which packets an impairment concerns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Traffic {
    /// All.
    All,
    /// One protocol.
    Protocol(Protocol),
    /// One protocol and destination port.
    Port(Protocol, u16),
    /// IP packets larger than this many bytes.
    LargerThan(u16),
    /// Fragments of packets, the first ones included.
    Fragments,
    /// WireGuard messages of types 1 to 3, without data.
    Handshake,
    /// From or to this address.
    Address(Ipv4Addr),
    /// To this address.
    To(Ipv4Addr),
    /// TCP segments that carry nothing but their header.
    BareSegments,
    /// ICMP errors, each of which quotes the packet that it is about.
    IcmpErrors,
    /// Packets that a service's translation sends to a backend; known to the switch only, which no other place asks.
    Translated,
    /// What a proxy in the node's namespace sends on a client's behalf; known to the switch only, too.
    Proxied,
}

/// What an impairment does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Effect {
    /// All are lost.
    Drop,
    /// This share is lost, 0 to 1, chosen by the fabric's seeded generator.
    Loss(f64),
    /// Each takes so much longer.
    Delay(Duration),
    /// Each takes longer by an amount chosen uniformly up to this; packets may overtake each other.
    Jitter(Duration),
    /// Packets larger than this do not pass.
    Mtu {
        /// Largest IP packet in bytes.
        bytes: u16,
        /// Whether ICMP reports it to the sender.
        signal: MtuSignal,
    },
    /// This share, 0 to 1, gets one byte of its payload inverted.
    Corrupt {
        /// How many.
        share: f64,
        /// Whether the receiver's kernel can notice.
        checksum: Checksum,
    },
    /// This share, 0 to 1, arrives twice.
    Duplicate(f64),
    /// This share, 0 to 1, arrives later by the given time, after packets sent behind it.
    Reorder {
        /// How many.
        share: f64,
        /// By how much.
        by: Duration,
    },
    /// No more than so many bits a second cross, each link of a pair by itself; what waits too long is lost. Only on
    /// the wire between nodes.
    Rate(u64),
    /// TCP segments other than SYN are answered with a reset and do not pass.
    Reset,
}

/// Whether a sender hears of a packet that was too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MtuSignal {
    /// ICMP "fragmentation needed" with the MTU; packets that may be fragmented are.
    Icmp,
    /// Nothing: a blackhole.
    Silent,
}

/// Whether a corrupted packet still has a right checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// Left as it was: the receiver's kernel discards the packet.
    Stale,
    /// Recomputed: the application reads wrong data.
    Recomputed,
}
