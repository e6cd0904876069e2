//! Backends that the mesh adds to a cluster's services.

use crate::state::ClusterState;
use meshproof_datapath::{BackendState, Protocol};
use std::{collections::BTreeMap, net::Ipv4Addr, sync::Arc};
use tokio::sync::watch;

/// A service's namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceKey {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl ServiceKey {
    /// The key of these.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

/// A backend in another cluster, as the mesh announces it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteBackend {
    /// Its cluster.
    pub cluster: String,
    /// The pod's address.
    pub address: Ipv4Addr,
    /// Its ports by the names that the service gives them; Cilium merges by name.
    pub ports: BTreeMap<String, (Protocol, u16)>,
    /// Whether new flows may go there.
    pub state: BackendState,
}

/// What the mesh adds to one cluster's services. The mesh module is the only writer.
#[derive(Debug, Default)]
pub struct RemoteBackends(watch::Sender<BTreeMap<ServiceKey, Vec<RemoteBackend>>>);

impl RemoteBackends {
    /// Those of this cluster.
    pub(crate) fn of(cluster: &ClusterState) -> Arc<Self> {
        cluster.extension()
    }

    /// Replaces everything.
    pub fn replace(&self, services: BTreeMap<ServiceKey, Vec<RemoteBackend>>) {
        self.0.send_if_modified(|all| {
            let changed = *all != services;
            *all = services;
            changed
        });
    }

    /// What is in force.
    pub fn all(&self) -> BTreeMap<ServiceKey, Vec<RemoteBackend>> {
        self.0.borrow().clone()
    }

    /// Sees every change.
    pub fn subscribe(&self) -> watch::Receiver<BTreeMap<ServiceKey, Vec<RemoteBackend>>> {
        self.0.subscribe()
    }
}
