//! Another cluster, as an agent or KVStoreMesh sees it.

use crate::mesh::Counts;
use std::time::SystemTime;

/// Another cluster, as agents or KVStoreMesh see it.
#[derive(Clone, Debug, PartialEq)]
pub struct RemoteView {
    /// Its name.
    pub name: String,
    /// How the connection is.
    pub phase: RemotePhase,
    /// Nodes, endpoints, identities, shared services.
    pub counts: Counts,
    /// How often the connection was found broken.
    pub failures: u64,
    /// When last.
    pub last_failure: Option<SystemTime>,
    /// Stands for etcd's cluster id in texts.
    pub etcd_id: u64,
}

/// How the connection to another cluster is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RemotePhase {
    /// Never established, or broken.
    Waiting,
    /// Connected, but the other's configuration has not been read.
    Unconfigured,
    /// Connected and configured, but services are still being read.
    Syncing {
        /// The other's id.
        cluster_id: u8,
    },
    /// All is well.
    Ready {
        /// The other's id.
        cluster_id: u8,
    },
}
