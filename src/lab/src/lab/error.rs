//! Why a lab could not be started.

use meshproof_apiserver::ApiError;
use meshproof_datapath::{FabricError, NodeError, netns::NamespaceError};
use std::time::Duration;

/// Why a lab could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The network between the nodes could not be made.
    #[error("failed to create the network between the nodes")]
    Fabric(#[from] FabricError),
    /// A node could not be started.
    #[error("failed to start a node")]
    Node(#[from] NodeError),
    /// A kubelet could not enter its node's namespace.
    #[error("failed to start a kubelet")]
    Kubelet(#[from] NamespaceError),
    /// No port for an API server.
    #[error("failed to listen on 127.0.0.1 for the API server of {cluster}")]
    Listen {
        /// Whose.
        cluster: String,
        /// Why.
        source: std::io::Error,
    },
    /// An API server could not start.
    #[error("failed to start the API server of {cluster}")]
    Server {
        /// Whose.
        cluster: String,
        /// Why.
        source: meshproof_apiserver::StartError,
    },
    /// A cluster refused one of the objects that it starts with.
    #[error("cluster {cluster} refused {object}: {source}")]
    Object {
        /// Which cluster.
        cluster: String,
        /// Kind and name.
        object: String,
        /// Why.
        source: ApiError,
    },
    /// System pods did not become ready.
    #[error("the lab was not ready after {} s: {}", .after.as_secs(), .waiting.join("; "))]
    NotReady {
        /// How long it was waited.
        after: Duration,
        /// What was still missing, as last seen.
        waiting: Vec<String>,
    },
}
