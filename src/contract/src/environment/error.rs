//! Why an operation on the clusters failed: each error names the cluster, the object and, where there is one, the next
//! step.

use crate::{AgentId, ClusterName};

/// The harness or the API could not do what was asked: says nothing about the mesh.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum EnvironmentError {
    /// The agent cannot be reached any more.
    #[error("agent {agent} does not answer: {reason}")]
    AgentGone {
        /// Which.
        agent: AgentId,
        /// The last error.
        reason: String,
    },
    /// The agent uses another version of the protocol.
    #[error(
        "agent {agent} uses protocol version {theirs}, this meshproof uses {ours}: use a probe image of the same \
         version as meshproof (--image)"
    )]
    Version {
        /// Which.
        agent: AgentId,
        /// The agent's.
        theirs: u32,
        /// The harness's.
        ours: u32,
    },
    /// The API server answered 403.
    #[error(
        "{cluster}: not allowed to {verb} {object}: {reason}; `meshproof rbac` prints the ClusterRole that grants it"
    )]
    Forbidden {
        /// Which cluster.
        cluster: ClusterName,
        /// The verb.
        verb: String,
        /// The object or kind.
        object: String,
        /// The server's words.
        reason: String,
    },
    /// A disruption that the operators did not allow.
    #[error("{cluster}: not allowed to {what}: start the run with --disruptive to allow disruptions")]
    NotDisruptive {
        /// Which cluster.
        cluster: ClusterName,
        /// What was to be done.
        what: String,
    },
    /// A disruption for which the operators gave no means.
    #[error("{cluster}: cannot {what}: set nodePower.cut and nodePower.restore in meshproof.yaml")]
    NoMeans {
        /// Which cluster.
        cluster: ClusterName,
        /// What was to be done.
        what: String,
    },
    /// An object outside the run's own namespaces.
    #[error("{cluster}: refused to change {object}: it does not belong to this run")]
    NotOurs {
        /// Which cluster.
        cluster: ClusterName,
        /// What.
        object: String,
    },
    /// This environment has no such operation.
    #[error("this environment cannot {operation}")]
    Unsupported {
        /// What was asked for.
        operation: &'static str,
    },
    /// The API server has no such kind: what defines it is not installed.
    #[error("{cluster}: {kind} is not served")]
    NoSuchKind {
        /// Which cluster.
        cluster: ClusterName,
        /// Version and kind.
        kind: String,
    },
    /// Any other failure of the API.
    #[error("{cluster}: failed to {operation}: {reason}")]
    Api {
        /// Which cluster.
        cluster: ClusterName,
        /// What was being done.
        operation: String,
        /// The error, with its causes.
        reason: String,
    },
    /// A deadline passed.
    #[error("{cluster}: timed out after {seconds} s: {operation}; last state: {last}")]
    Deadline {
        /// Which cluster.
        cluster: ClusterName,
        /// What was being done.
        operation: String,
        /// After how long.
        seconds: u64,
        /// The last state.
        last: String,
    },
}
