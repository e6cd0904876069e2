//! The lab's data path: node network namespaces, pod links, switch, service load balancing, WireGuard tunnels.
//!
//! Real packets between real network namespaces. A [`Fabric`] joins nodes; each [`Node`] is one thread that owns a
//! network namespace, a [`switch`] (a pure state machine) and its WireGuard peers. Pods are network namespaces whose
//! `eth0` is a veth that the node's thread reads and writes through packet sockets. Every [`Fault`] is data that can be
//! injected and healed while traffic runs.
//!
//! This crate knows nothing of Kubernetes objects, of Cilium's API or of the harness: the lab feeds it with nodes,
//! peers, services and policies as plain data, and reads counters, peers and flows back. Linux only, IPv4 only.

#![cfg(target_os = "linux")]

mod config;
mod device;
mod fabric;
mod fault;
mod flow;
mod identity;
mod impairment;
mod name;
pub mod netns;
mod node;
pub mod packet;
mod policy;
mod reactor;
mod service;
mod socket;
mod socket_balancer;
pub mod switch;
mod sync;
mod wireguard;

pub use config::{
    Dispatch, Encryption, FabricConfig, HostConfig, LinkProfile, NodeConfig, Peer, PodConfig, PublicKey, RefusedCall,
    Routing, SecretKey,
};
pub use device::DeviceError;
pub use fabric::{Fabric, FabricError, HostNet};
pub use fault::{Checksum, Effect, Fault, FaultId, Impairment, MtuSignal, Nodes, Traffic};
pub use flow::{Counters, Direction, DropReason, FlowEvent, FlowVerdict, Observation, Party, ProxyPort};
pub use identity::Identity;
pub use name::{ClusterName, EndpointName, NodeName, ServiceName};
pub use node::{Node, NodeError, NodeHandle, PodError, PodNet};
pub use policy::{AllowAll, FlowQuery, Policy, Verdict};
pub use service::{
    Affinity, Algorithm, Backend, BackendState, Frontend, NoBackend, Protocol, Service, ServiceOverride,
};
pub use socket_balancer::SocketBalancer;
pub use wireguard::PeerStatus;
