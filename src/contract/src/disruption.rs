//! Disruptions of what is not a run's own. They are few, named one by one, and never caused unless the operators allow
//! them.

use crate::NodeName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Whether the operators allow a run to disrupt what it uses: nodes, Cilium agents, the clustermesh-apiserver, and its
/// own workloads until they do not answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Consent {
    /// It was not given: checks that disrupt are skipped.
    #[default]
    Withheld,
    /// `--disruptive`, or a lab.
    Given,
}

/// One disruption of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "disruption", rename_all = "kebab-case")]
pub enum Disruption {
    /// A node is lost with all that runs on it, by the operators' command that cuts a node (`meshproof.yaml`). It
    /// cannot be done without one.
    NodeLost {
        /// The node.
        node: NodeName,
    },
    /// A node is cordoned and the pods of one scenario of this run on it are deleted without grace, the most that an
    /// API can do. Pods of other scenarios stay: other checks know them.
    NodeDrained {
        /// The node.
        node: NodeName,
        /// The scenario.
        scenario: String,
    },
    /// A whole cluster is lost: every node of it, by the operators' command. It cannot be done without one.
    ClusterLost {
        /// Its nodes.
        nodes: Vec<NodeName>,
    },
    /// The Cilium agent on a node restarts: its pod is deleted and its DaemonSet creates another.
    AgentRestart {
        /// The node.
        node: NodeName,
    },
    /// The pods of a component are replaced by a rollout of its Deployment, as `kubectl rollout restart` does it.
    Rollout {
        /// The component.
        component: Component,
    },
    /// The `clustermesh-apiserver` has no replicas: the other clusters get no more updates from this one.
    MeshApiServerDown,
}

/// A component that runs as a Deployment. Which one is found by the pods that the API says are its own, never by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "component", rename_all = "kebab-case")]
pub enum Component {
    /// The pods behind the Service of cluster DNS.
    ClusterDns {
        /// Its namespace.
        namespace: String,
        /// Its name.
        service: String,
    },
    /// The `clustermesh-apiserver`, whose pods have KVStoreMesh.
    MeshApiServer,
    /// Cilium's operator.
    Operator,
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Component::ClusterDns { namespace, service } => write!(f, "the pods behind Service {namespace}/{service}"),
            Component::MeshApiServer => f.write_str("the pods of clustermesh-apiserver"),
            Component::Operator => f.write_str("the pods of Cilium's operator"),
        }
    }
}

impl fmt::Display for Disruption {
    /// What is done, after "to".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Disruption::NodeLost { node } => write!(f, "take node {node} down"),
            Disruption::NodeDrained { node, scenario } => {
                write!(f, "cordon node {node} and delete the pods of scenario {scenario} on it")
            }
            Disruption::ClusterLost { nodes } => write!(f, "take all {} nodes down", nodes.len()),
            Disruption::AgentRestart { node } => write!(f, "restart the Cilium agent on node {node}"),
            Disruption::Rollout { component } => write!(f, "restart {component}"),
            Disruption::MeshApiServerDown => f.write_str("scale clustermesh-apiserver to zero"),
        }
    }
}
