//! Two emulated Kubernetes clusters with Cilium-like networking on one Linux machine.
//!
//! The harness meets them only over the Kubernetes API; this crate knows nothing of suites, checks or reports. One
//! process holds both API servers, the controllers, the kubelets and the data path; pods are processes of
//! the same executable in network namespaces of their own. Linux only.

#![cfg(target_os = "linux")]

mod addons;
mod admission;
mod api_services;
mod cilium;
mod container_log;
mod control;
mod controller;
mod crd;
mod dns;
mod enforcement;
mod event;
mod external_hosts;
mod fault;
mod flux;
mod follow;
mod health;
mod identity;
mod informer;
mod injection;
mod installation;
mod installed_topology;
mod ipcache;
mod kube_proxy;
mod kubelet;
mod lab;
mod lab_process;
mod launch;
mod mesh;
mod node_grace;
mod object;
mod others;
mod platform;
mod power;
mod profile;
mod service;
mod state;
mod sync;
mod system;
mod topology;

pub use cilium::{cilium_config, helm_values};
pub use control::{ClusterStatus, Control, ControlError, LabStatus, NodeStatus, PodStatus};
pub use external_hosts::EXTERNAL_HOSTS;
pub use fault::{
    CATALOGUE as FAULTS, Fault, FaultSpec, Layer, PlaceSeed, SIZES as FAULT_SIZES, Scope, SizedFault, UnknownFault,
};
pub use installation::{Installation, Unsupported};
pub use lab::LabConfig;
pub use lab_process::{AGENT_SUBCOMMAND, LAB_SUBCOMMAND, lab_main};
pub use launch::{LabIsolation, LabOptions, LaunchError, Lifetime, Registration, RunningLab, launch, probe};
pub use node_grace::NodeGrace;
pub use platform::flows;
pub use profile::{EncryptionMode, PROFILES, Profile, Settings};
pub use topology::{AGENT_IMAGE, ClusterSpec, NODES, NodeSpec, Topology};
