//! Two emulated Kubernetes clusters with Cilium-like networking on one Linux machine.
//!
//! The harness meets them only over the Kubernetes API; this crate knows nothing of suites, checks or reports. One
//! process, the engine, holds both API servers, the controllers, the kubelets and the data path; pods are processes of
//! the same executable in network namespaces of their own. Linux only.

#![cfg(target_os = "linux")]

mod admission;
mod cilium;
mod control;
mod controller;
mod dns;
mod engine;
mod fault;
mod health;
mod identity;
mod informer;
mod ipcache;
mod kubelet;
mod lab;
mod launch;
mod mesh;
mod modules;
mod outside;
mod enforcement;
mod power;
mod service;
mod state;
mod system;
mod topology;

pub use control::{ClusterStatus, Control, ControlError, FaultInfo, LabStatus, NodeStatus, PodStatus};
pub use controller::NodeGrace;
pub use engine::{AGENT_SUBCOMMAND, ENGINE_SUBCOMMAND, engine_main};
pub use fault::{
    ActiveFaults, Effect, FaultError, FaultName, FaultSpec, FaultState, Faults, catalogue as fault_catalogue,
};
pub use identity::{IdentityBook, SecurityLabels, security_labels};
pub use kubelet::log::LogWriter;
pub use lab::{Lab, LabConfig, StartError};
pub use launch::{LabIsolation, LabOptions, LaunchError, Lifetime, Registration, RunningLab, launch, probe};
pub use outside::OUTSIDE_NAMES;
pub use enforcement::PolicyBoard;
pub use service::{RemoteBackend, RemoteBackends, ServiceKey};
pub use state::{ClusterState, LabState, NodeState, PodNetwork, PodState};
pub use system::{SystemContainer, SystemImage, SystemModule};
pub use topology::{
    AGENT_IMAGE, CILIUM_VERSION, CLUSTER_DOMAIN, ClusterSpec, EncryptionMode, KUBERNETES_VERSION, NODES, NodeSpec,
    RoutingMode, Topology,
};
