//! What is true in the lab now, for everybody in it to read: clusters, nodes, running pods, faults. The kubelets and the
//! boot write it; system modules derive from it what Cilium would show. It does not know Kubernetes' rules.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::SystemTime;

use meshproof_apiserver::Store;
use meshproof_datapath::{Fabric, Identity, NodeHandle, PodNet};
use tokio::sync::watch;

use crate::fault::ActiveFaults;
use crate::identity::IdentityBook;
use crate::enforcement::PolicyBoard;
use crate::service::RemoteBackends;
use crate::topology::{ClusterSpec, NodeSpec, Topology};

/// The whole lab.
pub struct LabState {
    /// What it was asked to be.
    pub topology: Topology,
    /// The network between the nodes.
    pub fabric: Fabric,
    /// The clusters, in the topology's order.
    pub clusters: Vec<Arc<ClusterState>>,
    /// The faults in force.
    pub faults: ActiveFaults,
    /// When it was started.
    pub started: SystemTime,
    pods_changed: watch::Sender<u64>,
}

/// One cluster.
pub struct ClusterState {
    /// What it was asked to be.
    pub spec: ClusterSpec,
    /// Its API, in process. Use `store.writing_as("...")` so that managed fields say who wrote.
    pub store: Store,
    /// Its security identities.
    pub identities: IdentityBook,
    /// Backends that the mesh adds to this cluster's services.
    pub remote_backends: RemoteBackends,
    /// What the nodes' data paths were last told to serve, backends of other clusters included.
    pub services: watch::Sender<Vec<meshproof_datapath::Service>>,
    nodes: OnceLock<Vec<Arc<NodeState>>>,
}

/// One node.
pub struct NodeState {
    /// What it was asked to be.
    pub spec: NodeSpec,
    /// Its place in the data path: counters, WireGuard peers, flows, namespace.
    pub handle: NodeHandle,
    /// What its agent knows of policies.
    pub policy: PolicyBoard,
    pods: RwLock<BTreeMap<String, PodState>>,
    online: watch::Sender<bool>,
}

/// A pod whose sandbox exists: it has a network, whether or not its containers run.
#[derive(Clone, Debug)]
pub struct PodState {
    /// `metadata.uid`.
    pub uid: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its address; for a host-network pod the node's.
    pub address: Ipv4Addr,
    /// Its network.
    pub network: PodNetwork,
    /// When its sandbox was made.
    pub created: SystemTime,
}

/// Whose network a pod uses.
#[derive(Clone, Debug)]
pub enum PodNetwork {
    /// Its own: it is an endpoint of Cilium.
    Own {
        /// The network.
        net: PodNet,
        /// Its security identity.
        identity: Identity,
    },
    /// The node's.
    Host,
}

impl LabState {
    pub(crate) fn new(topology: Topology, fabric: Fabric, clusters: Vec<Arc<ClusterState>>) -> Self {
        Self {
            topology,
            fabric,
            clusters,
            faults: ActiveFaults::default(),
            started: SystemTime::now(),
            pods_changed: watch::Sender::new(0),
        }
    }

    /// The cluster of that name.
    pub fn cluster(&self, name: &str) -> Option<&Arc<ClusterState>> {
        self.clusters.iter().find(|cluster| cluster.spec.name == name)
    }

    /// Every cluster but that one.
    pub fn others<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Arc<ClusterState>> {
        self.clusters.iter().filter(move |cluster| cluster.spec.name != name)
    }

    /// Every node of every cluster, with its cluster.
    pub fn nodes(&self) -> impl Iterator<Item = (&Arc<ClusterState>, &Arc<NodeState>)> {
        self.clusters
            .iter()
            .flat_map(|cluster| cluster.nodes().iter().map(move |node| (cluster, node)))
    }

    /// Changes whenever a sandbox comes, goes or gets another identity, anywhere.
    pub fn pods_changed(&self) -> watch::Receiver<u64> {
        self.pods_changed.subscribe()
    }

    pub(crate) fn announce_pods(&self) {
        self.pods_changed.send_modify(|version| *version += 1);
    }
}

impl ClusterState {
    pub(crate) fn new(spec: ClusterSpec, store: Store) -> Self {
        Self {
            identities: IdentityBook::new(spec.id),
            spec,
            store,
            remote_backends: RemoteBackends::default(),
            services: watch::Sender::new(Vec::new()),
            nodes: OnceLock::new(),
        }
    }

    pub(crate) fn set_nodes(&self, nodes: Vec<Arc<NodeState>>) {
        if self.nodes.set(nodes).is_err() {
            tracing::error!(cluster = self.spec.name, "the nodes of a cluster are set once");
        }
    }

    /// The nodes; empty until they are started.
    pub fn nodes(&self) -> &[Arc<NodeState>] {
        self.nodes.get().map_or(&[], Vec::as_slice)
    }

    /// The node of that name.
    pub fn node(&self, name: &str) -> Option<&Arc<NodeState>> {
        self.nodes().iter().find(|node| node.spec.name == name)
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.spec.name
    }
}

impl NodeState {
    pub(crate) fn new(spec: NodeSpec, handle: NodeHandle) -> Self {
        Self {
            spec,
            handle,
            policy: PolicyBoard::default(),
            pods: RwLock::default(),
            online: watch::Sender::new(true),
        }
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// Pods with a sandbox on this node, in order of their names.
    pub fn pods(&self) -> Vec<PodState> {
        let mut pods: Vec<_> = self
            .pods
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect();
        pods.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        pods
    }

    /// The pod of that uid.
    pub fn pod(&self, uid: &str) -> Option<PodState> {
        self.pods
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(uid)
            .cloned()
    }

    /// Whether its kubelet reaches the API. Its pods run on when it does not.
    pub fn online(&self) -> watch::Receiver<bool> {
        self.online.subscribe()
    }

    pub(crate) fn set_online(&self, online: bool) {
        self.online.send_replace(online);
    }

    pub(crate) fn put_pod(&self, pod: PodState) {
        self.pods
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(pod.uid.clone(), pod);
    }

    pub(crate) fn take_pod(&self, uid: &str) -> Option<PodState> {
        self.pods.write().unwrap_or_else(PoisonError::into_inner).remove(uid)
    }
}

impl PodState {
    /// The security identity; the host's for a host-network pod.
    pub fn identity(&self) -> Identity {
        match &self.network {
            PodNetwork::Own { identity, .. } => *identity,
            PodNetwork::Host => Identity::HOST,
        }
    }
}
