//! The control interface of a running lab: one JSON line each way over an abstract unix socket, which leaves no file
//! and vanishes with the process. This file has the words; `server` and `client` speak them.

use serde::{Deserialize, Serialize};

mod client;
pub(crate) mod server;

pub use client::{Control, ControlError};

/// What can be asked of a lab.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub(crate) enum LabRequest {
    /// The status.
    Status,
    /// Inject a fault.
    Inject { name: String },
    /// Heal a fault.
    Heal { name: String },
    /// Heal all faults.
    HealAll,
    /// Cut a node off.
    CutNode { cluster: String, node: String },
    /// Bring a node back.
    RestoreNode { cluster: String, node: String },
    /// The last flows of every node.
    Flows { limit: usize },
    /// The kubeconfig.
    Kubeconfig,
    /// End the lab; answered before it ends.
    Stop,
}

/// What a lab answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub(crate) enum LabReply {
    Status(LabStatus),
    Flows { lines: Vec<String> },
    Kubeconfig { text: String, path: String },
    Done,
    Refused { why: String },
}

/// What runs in a lab.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LabStatus {
    /// Id of the lab's process, as seen from outside of its namespaces.
    pub pid: u32,
    /// Seconds since its start.
    pub uptime_seconds: u64,
    /// Where its kubeconfig can be read as long as it runs.
    pub kubeconfig: String,
    /// The clusters.
    pub clusters: Vec<ClusterStatus>,
    /// Names of the faults in force.
    pub faults: Vec<String>,
}

/// One cluster of a lab.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClusterStatus {
    /// Its name and kubeconfig context.
    pub name: String,
    /// URL of its API server.
    pub server: String,
    /// Its nodes.
    pub nodes: Vec<NodeStatus>,
}

/// One node of a cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: String,
    /// Condition Ready.
    pub ready: bool,
    /// Its pods.
    pub pods: Vec<PodStatus>,
}

/// One pod of a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PodStatus {
    /// `namespace/name`.
    pub name: String,
    /// Its address, if it has one.
    pub address: Option<String>,
    /// Condition Ready.
    pub ready: bool,
    /// Its phase, or what it waits for.
    pub state: String,
}

/// The abstract name of a user's well-known lab (`lab up`).
pub(crate) fn well_known_name(uid: u32) -> String {
    format!("meshproof-lab-{uid}")
}
