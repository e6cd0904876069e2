//! What is true in the lab now, for everybody in it to read: clusters, nodes, running pods, faults. The kubelets and
//! the boot write it; addons derive from it what Cilium would show, and keep in it what they know by type. It
//! does not know Kubernetes' rules, nor who derives what from it.

use crate::{
    fault::{ActiveFaults, Fault, PlaceSeed, Scope},
    identity::IdentityBook,
    sync::{read, write},
    topology::{ClusterSpec, NodeSpec, Topology},
};
pub(crate) use drawn::{Drawn, Place};
use extensions::Extensions;
use meshproof_apiserver::Store;
use meshproof_datapath::{Fabric, Identity, NodeHandle, PodNet};
use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    sync::{Arc, OnceLock, RwLock},
    time::SystemTime,
};
use tokio::sync::watch;

mod drawn;
mod extensions;

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
    /// Where they act.
    pub places: PlaceSeed,
    /// When it was started.
    pub started: SystemTime,
    /// Where faults act whose place is drawn.
    pub(crate) drawn: Drawn,
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
    /// The services that the nodes' data paths were last given, with backends of other clusters.
    pub services: watch::Sender<Vec<meshproof_datapath::Service>>,
    nodes: OnceLock<Vec<Arc<NodeState>>>,
    extensions: Extensions,
}

/// One node.
pub struct NodeState {
    /// What it was asked to be.
    pub spec: NodeSpec,
    /// Its handle in the data path: counters, WireGuard peers, flows, namespace.
    pub handle: NodeHandle,
    pods: RwLock<BTreeMap<String, PodState>>,
    online: watch::Sender<bool>,
    extensions: Extensions,
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
    pub(crate) fn new(topology: Topology, fabric: Fabric, clusters: Vec<Arc<ClusterState>>, places: PlaceSeed) -> Self {
        Self {
            places,
            topology,
            fabric,
            clusters,
            faults: ActiveFaults::default(),
            started: SystemTime::now(),
            drawn: Drawn::default(),
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

    /// Whether a fault is in force and acts in this cluster, be it on one node of it.
    pub fn acts_in(&self, fault: Fault, cluster: &str) -> bool {
        self.faults.is_active(fault) && self.concerns_cluster(fault, cluster)
    }

    /// Whether a fault is in force and acts on this node.
    pub fn acts_on(&self, fault: Fault, cluster: &ClusterState, node: &str) -> bool {
        self.faults.is_active(fault) && self.concerns(fault, cluster, node)
    }

    /// The clusters in the order that was drawn for this fault.
    pub fn drawn_clusters(&self, fault: Fault) -> Vec<&Arc<ClusterState>> {
        let order = self.places.order(fault, "clusters", self.clusters.len());
        order.into_iter().map(|at| &self.clusters[at]).collect()
    }

    /// The nodes of a cluster in the order that was drawn for this fault.
    pub fn drawn_nodes<'a>(&self, fault: Fault, cluster: &'a ClusterState) -> Vec<&'a Arc<NodeState>> {
        let nodes = cluster.nodes();
        let order = self
            .places
            .order(fault, &format!("nodes of {}", cluster.name()), nodes.len());
        order.into_iter().map(|at| &nodes[at]).collect()
    }

    /// Whether a fault, if it is in force, acts on this node.
    pub fn concerns(&self, fault: Fault, cluster: &ClusterState, node: &str) -> bool {
        let is = |known: Option<&&Arc<NodeState>>| known.is_some_and(|it| it.name() == node);
        let nodes = self.drawn_nodes(fault, cluster);
        let this_node = match fault.spec().scope {
            Scope::FirstNode | Scope::LastClustersFirstNode => is(nodes.first()),
            Scope::LastNode => is(nodes.last()),
            Scope::DrawnNode => self.drawn.place(fault).is_some_and(|place| place.node == node),
            _ => true,
        };
        this_node && self.concerns_cluster(fault, cluster.name())
    }

    fn concerns_cluster(&self, fault: Fault, cluster: &str) -> bool {
        let is = |known: Option<&&Arc<ClusterState>>| known.is_some_and(|it| it.name() == cluster);
        let clusters = self.drawn_clusters(fault);
        match fault.spec().scope {
            Scope::DrawnNode | Scope::DrawnCluster => {
                self.drawn.place(fault).is_some_and(|place| place.cluster == cluster)
            }
            Scope::Lab => true,
            Scope::FirstCluster | Scope::FirstNode | Scope::NodePair | Scope::FirstDnsReplica => is(clusters.first()),
            Scope::LastCluster | Scope::LastClustersFirstNode | Scope::LastNode => is(clusters.last()),
            Scope::MeshPair | Scope::Mesh => is(clusters.first()) || is(clusters.last()),
        }
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
            services: watch::Sender::new(Vec::new()),
            nodes: OnceLock::new(),
            extensions: Extensions::default(),
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

    /// What a module keeps of this cluster, by type; the first call makes it.
    pub(crate) fn extension<T: Default + Send + Sync + 'static>(&self) -> Arc<T> {
        self.extensions.of()
    }
}

impl NodeState {
    pub(crate) fn new(spec: NodeSpec, handle: NodeHandle) -> Self {
        Self {
            spec,
            handle,
            pods: RwLock::default(),
            online: watch::Sender::new(true),
            extensions: Extensions::default(),
        }
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// What a module keeps of this node, by type; the first call makes it.
    pub(crate) fn extension<T: Default + Send + Sync + 'static>(&self) -> Arc<T> {
        self.extensions.of()
    }

    /// Pods with a sandbox on this node, in order of their names.
    pub fn pods(&self) -> Vec<PodState> {
        let mut pods: Vec<_> = read(&self.pods).values().cloned().collect();
        pods.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        pods
    }

    /// The pod of that uid.
    pub fn pod(&self, uid: &str) -> Option<PodState> {
        read(&self.pods).get(uid).cloned()
    }

    /// Whether its kubelet reaches the API. Its pods run on when it does not.
    pub fn online(&self) -> watch::Receiver<bool> {
        self.online.subscribe()
    }

    pub(crate) fn set_online(&self, online: bool) {
        self.online.send_replace(online);
    }

    pub(crate) fn put_pod(&self, pod: PodState) {
        write(&self.pods).insert(pod.uid.clone(), pod);
    }

    pub(crate) fn take_pod(&self, uid: &str) -> Option<PodState> {
        write(&self.pods).remove(uid)
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
