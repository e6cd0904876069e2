//! Services as data: frontends, backends and how to choose among them. The choosing is in `switch::balance`.

use crate::name::ServiceName;
use std::{
    net::{Ipv4Addr, SocketAddrV4},
    time::Duration,
};

/// The transport protocols that the data path distinguishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP.
    Icmp,
    /// Any other IP protocol, by number.
    Other(u8),
}

/// Where a service is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Frontend {
    /// A virtual address: cluster IP, external IP or load balancer IP.
    Address {
        /// The virtual address and port.
        address: SocketAddrV4,
        /// TCP or UDP.
        protocol: Protocol,
    },
    /// A port on the address of this node and of every peer.
    NodePort {
        /// The port.
        port: u16,
        /// TCP or UDP.
        protocol: Protocol,
    },
}

impl Frontend {
    /// A virtual address over TCP.
    pub fn tcp(address: Ipv4Addr, port: u16) -> Self {
        Frontend::Address {
            address: SocketAddrV4::new(address, port),
            protocol: Protocol::Tcp,
        }
    }

    /// A virtual address over UDP.
    pub fn udp(address: Ipv4Addr, port: u16) -> Self {
        Frontend::Address {
            address: SocketAddrV4::new(address, port),
            protocol: Protocol::Udp,
        }
    }

    /// Its protocol.
    pub fn protocol(&self) -> Protocol {
        match self {
            Frontend::Address { protocol, .. } | Frontend::NodePort { protocol, .. } => *protocol,
        }
    }
}

/// One frontend with its backends, as `cilium-dbg service list` shows it: a Kubernetes Service with two ports and a
/// NodePort is several of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// The Kubernetes Service that it belongs to.
    pub name: ServiceName,
    /// Where it is reached.
    pub frontend: Frontend,
    /// Who answers. Affinity to local or remote clusters is the caller's choice of backends.
    pub backends: Vec<Backend>,
    /// Which of them answer clients outside the cluster, where not all do (`externalTrafficPolicy: Local`).
    pub outside: Option<Vec<SocketAddrV4>>,
    /// Whether a client stays with its backend.
    pub affinity: Affinity,
    /// How a backend is chosen.
    pub algorithm: Algorithm,
    /// What a client meets when nobody answers.
    pub no_backend: NoBackend,
}

impl Service {
    /// A service with Cilium's defaults: random choice, no affinity, reject without backends.
    pub fn new(name: impl Into<ServiceName>, frontend: Frontend, backends: Vec<Backend>) -> Self {
        Self {
            name: name.into(),
            frontend,
            backends,
            outside: None,
            affinity: Affinity::None,
            algorithm: Algorithm::Random,
            no_backend: NoBackend::Reject,
        }
    }
}

/// Who answers for a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Backend {
    /// Address and port of a pod or of a node.
    pub address: SocketAddrV4,
    /// Whether new flows may go there.
    pub state: BackendState,
}

impl Backend {
    /// A backend that takes new flows.
    pub fn active(address: Ipv4Addr, port: u16) -> Self {
        Self {
            address: SocketAddrV4::new(address, port),
            state: BackendState::Active,
        }
    }
}

/// A backend's state, by Cilium's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BackendState {
    /// Takes new flows.
    Active,
    /// Keeps established flows; takes new ones only if no backend is active.
    Terminating,
    /// Keeps established flows only.
    Quarantined,
}

/// Session affinity (`sessionAffinity: ClientIP`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Affinity {
    /// Every flow is chosen afresh.
    None,
    /// A client address stays with its backend until it has been idle for so long.
    ClientIp {
        /// Kubernetes' default is three hours.
        timeout: Duration,
    },
}

/// How a backend is chosen (`bpf-lb-algorithm`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// Uniformly.
    Random,
    /// Maglev consistent hashing of the flow's five-tuple.
    Maglev {
        /// Size of the lookup table, a prime; Cilium's default is 16381.
        table_size: u32,
    },
}

/// What a client meets at a service without backends (`service-no-backend-response`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoBackend {
    /// TCP reset, ICMP port unreachable for UDP.
    Reject,
    /// Silence.
    Drop,
}

/// A fault's hold on how a service's backend is chosen.
#[derive(Clone, Debug, PartialEq)]
pub enum ServiceOverride {
    /// Every new flow goes to this backend, known or not.
    Pinned(SocketAddrV4),
    /// This backend is treated as absent.
    Ignored(SocketAddrV4),
    /// This share (0 to 1) of the new flows goes to this backend, on the ports where it is one.
    Weighted(SocketAddrV4, f64),
    /// This share (0 to 1) of the new flows goes to this address, which is no backend any more.
    Stale(SocketAddrV4, f64),
    /// New flows of the node's own processes are dropped.
    HostDropped,
    /// New flows of which the client itself is the backend are dropped.
    HairpinDropped,
    /// A client's session affinity is forgotten.
    AffinityIgnored,
    /// Its NodePorts are also served at the addresses of other clusters' nodes.
    ServedElsewhere,
    /// A backend on the node that was asked from outside sees that node's address, and not the client's.
    SourceHidden,
    /// The node's policies let its flows pass.
    PolicySkipped,
    /// A client that stays with this backend is given another one.
    AffinityForgets(SocketAddrV4),
    /// Changes of the backends made after the injection are not seen (by these nodes).
    Frozen,
}
