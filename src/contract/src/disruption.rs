//! Disturbances of what is not a run's own. They are rare, named one by one, and never done unless the operators allow them.

use crate::NodeName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Whether the operators allow a run to disturb what it uses: nodes, Cilium's agents, the clustermesh-apiserver, and its own
/// workloads to the point where they do not answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Consent {
    /// It was not given: checks that disturb are skipped.
    #[default]
    Withheld,
    /// `--disruptive`, or a lab.
    Given,
}

/// One disturbance of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "disruption", rename_all = "kebab-case")]
pub enum Disruption {
    /// A node is gone with all that runs on it. Where the operators gave a command that cuts a node (`meshproof.yaml`), that is run;
    /// otherwise the node is cordoned and this run's pods on it are deleted without grace, which is the most that an API can do.
    NodeLost {
        /// The node.
        node: NodeName,
    },
    /// A whole cluster is gone: every node of it, by the operators' command. Without one there is no way.
    ClusterLost {
        /// Its nodes.
        nodes: Vec<NodeName>,
    },
    /// Cilium's agent on a node starts anew: its pod is deleted and its DaemonSet makes another.
    AgentRestart {
        /// The node.
        node: NodeName,
    },
    /// The `clustermesh-apiserver` has no replicas: the other clusters learn nothing more from this one.
    MeshApiServerDown,
}

impl fmt::Display for Disruption {
    /// What is done, after "to".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Disruption::NodeLost { node } => write!(f, "take node {node} away"),
            Disruption::ClusterLost { nodes } => write!(f, "take all {} nodes away", nodes.len()),
            Disruption::AgentRestart { node } => write!(f, "restart Cilium's agent on node {node}"),
            Disruption::MeshApiServerDown => f.write_str("scale clustermesh-apiserver to zero"),
        }
    }
}
