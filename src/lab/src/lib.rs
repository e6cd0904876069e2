//! Two emulated Kubernetes clusters with Cilium-like networking on one Linux machine.
//!
//! The harness meets them only over the Kubernetes API; this crate knows nothing of suites, checks or reports. One
//! process, the engine, holds both API servers, the controllers, the kubelets and the data path; pods are processes of
//! the same executable in network namespaces of their own. Linux only.

#![cfg(target_os = "linux")]

mod cilium;
mod controller;
mod dns;
mod fault;
mod health;
mod identity;
mod informer;
mod kubelet;
mod mesh;
mod modules;
mod service;
mod state;
mod system;
mod topology;

pub use fault::{ActiveFaults, Effect, FaultName, FaultSpec, FaultState};
pub use identity::{IdentityBook, SecurityLabels, security_labels};
pub use kubelet::log::LogWriter;
pub use service::{RemoteBackend, RemoteBackends, ServiceKey};
pub use state::{ClusterState, LabState, NodeState, PodNetwork, PodState};
pub use system::{SystemContainer, SystemImage, SystemModule};
pub use topology::{
    AGENT_IMAGE, CILIUM_VERSION, CLUSTER_DOMAIN, ClusterSpec, EncryptionMode, KUBERNETES_VERSION, NodeSpec, RoutingMode,
    Topology,
};
