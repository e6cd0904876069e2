//! What the data path remembers of the packets that passed: flow events and counters. It does not know how they are
//! shown (Hubble, metrics): that is the lab's part.

use crate::{identity::Identity, name::EndpointName, service::Protocol};
use std::{collections::BTreeMap, net::Ipv4Addr, time::SystemTime};

/// Seen from an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// Towards the endpoint.
    Ingress,
    /// From the endpoint.
    Egress,
}

/// A port in the node's namespace where a proxy listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProxyPort(pub u16);

/// Why a packet was dropped. The numbers in the comments are Cilium's (`bpf/lib/drop_reasons.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DropReason {
    /// The source address is not the endpoint's (132).
    InvalidSource,
    /// No rule allows it (133).
    PolicyDenied,
    /// A rule denies it (181).
    PolicyDeny,
    /// The header makes no sense (134).
    InvalidPacket,
    /// The conntrack table is full (155).
    ConntrackFull,
    /// A later fragment whose first was never seen (157).
    FragmentNotFound,
    /// A service address without a service, or a service without backends (158).
    ServiceBackendNotFound,
    /// Not IPv4 (166).
    UnsupportedL3,
    /// Time to live exceeded (196).
    TtlExceeded,
    /// No free port to translate to (161).
    NoMappingLeft,
    /// Mutual authentication is required (189).
    AuthRequired,
    /// Strict encryption and no encrypted path (195).
    Unencrypted,
    /// Nobody has the destination address (no Cilium number: the stack drops it).
    NoEndpoint,
    /// Larger than the path allows and may not be fragmented (128 and up vary).
    TooBig,
    /// An injected fault.
    Fault,
}

impl DropReason {
    /// Cilium's number, 0 where it has none.
    pub fn code(self) -> u32 {
        match self {
            DropReason::InvalidSource => 132,
            DropReason::PolicyDenied => 133,
            DropReason::InvalidPacket => 134,
            DropReason::ConntrackFull => 155,
            DropReason::FragmentNotFound => 157,
            DropReason::ServiceBackendNotFound => 158,
            DropReason::NoMappingLeft => 161,
            DropReason::UnsupportedL3 => 166,
            DropReason::PolicyDeny => 181,
            DropReason::AuthRequired => 189,
            DropReason::Unencrypted => 195,
            DropReason::TtlExceeded => 196,
            DropReason::NoEndpoint | DropReason::TooBig | DropReason::Fault => 0,
        }
    }
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowVerdict {
    /// It went on.
    Forwarded,
    /// It did not.
    Dropped(DropReason),
    /// It went to a proxy.
    Redirected(ProxyPort),
}

/// Where on its way a packet was observed, by Hubble's trace points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observation {
    /// Handed to a local endpoint.
    ToEndpoint,
    /// Handed to the tunnel.
    ToOverlay,
    /// Handed to the node's own stack.
    ToHost,
    /// Handed to the network without a tunnel.
    ToNetwork,
    /// A policy was asked.
    PolicyVerdict,
    /// Dropped here.
    Drop,
}

/// One side of a flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Party {
    /// Its address.
    pub address: Ipv4Addr,
    /// Its port; 0 for protocols without.
    pub port: u16,
    /// Its identity as far as this node knows.
    pub identity: Identity,
    /// Its name, when it is an endpoint of this node.
    pub endpoint: Option<EndpointName>,
}

/// One observation of one packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowEvent {
    /// Counts up per node, without gaps; gaps in a reader's view are events it came too late for.
    pub sequence: u64,
    /// When.
    pub time: SystemTime,
    /// Where on its way.
    pub observation: Observation,
    /// What became of it.
    pub verdict: FlowVerdict,
    /// Seen from the local endpoint.
    pub direction: Direction,
    /// The protocol.
    pub protocol: Protocol,
    /// Who sent the packet.
    pub source: Party,
    /// Whom it is for.
    pub destination: Party,
    /// Whether it answers an earlier packet.
    pub is_reply: bool,
    /// TCP flags byte (FIN 1, SYN 2, RST 4, PSH 8, ACK 16).
    pub tcp_flags: u8,
    /// ICMP type and code.
    pub icmp: Option<(u8, u8)>,
    /// Length of the IP packet in bytes.
    pub length: u16,
}

/// Counts since the node's start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets that went on, by direction.
    pub forwarded: BTreeMap<Direction, u64>,
    /// Bytes that went on, by direction.
    pub forwarded_bytes: BTreeMap<Direction, u64>,
    /// Packets dropped, by reason and direction.
    pub dropped: BTreeMap<(DropReason, Direction), u64>,
    /// Flow events written.
    pub flows_seen: u64,
    /// Live conntrack entries.
    pub conntrack_entries: usize,
    /// Packets that the kernel lost before this node read them (full socket buffers). Nothing was injected: it is the
    /// lab that was too slow.
    pub overruns: u64,
}

impl Counters {
    /// Drops for this reason in both directions.
    pub fn dropped_for(&self, reason: DropReason) -> u64 {
        self.dropped
            .iter()
            .filter(|((r, _), _)| *r == reason)
            .map(|(_, count)| count)
            .sum()
    }
}
