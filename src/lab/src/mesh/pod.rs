//! The clustermesh-apiserver pods of the lab: what their three containers share, and what runs in each.

use super::{
    etcd::{Gate, Propagation, serve},
    keyspace::{Keyspace, Kind, Snapshot, of_kind},
    link::{Link, LinkPhase, LinkStatus, Route, Timing},
    publish::Published,
    wire::Line,
};
use crate::{
    crd::{CILIUM_ENDPOINTS, CILIUM_IDENTITIES, CILIUM_NODES},
    fault::Fault,
    health::ready_endpoint,
    informer::Informer,
    state::{ClusterState, LabState},
    sync::lock,
    system::SystemContainer,
};
use meshproof_apiserver::resource::names::{ENDPOINT_SLICES, SERVICES};
use meshproof_datapath::netns::Namespace;
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::{Ipv4Addr, SocketAddrV4},
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime},
};
use tokio::{net::TcpSocket, sync::watch};

/// Where etcd listens in the pod.
pub const ETCD_PORT: u16 = 2379;
/// Where `apiserver` says that it is ready.
const APISERVER_HEALTH_PORT: u16 = 9880;
/// Where `kvstoremesh` says that it is ready.
const KVSTOREMESH_HEALTH_PORT: u16 = 9881;
/// How late changes are with [`Fault::MeshPropagationSlow`].
const SLOW: Duration = Duration::from_secs(12);
/// The beginning of the pods' names.
const POD_PREFIX: &str = "clustermesh-apiserver-";

/// One clustermesh-apiserver pod.
pub struct MeshPod {
    /// Its cluster.
    pub cluster: String,
    /// Its name.
    pub name: String,
    uid: String,
    local: Keyspace,
    etcd: watch::Sender<EtcdState>,
    remotes: BTreeMap<String, Remote>,
}

/// Another cluster, as a pod follows it.
pub struct Remote {
    /// The copy of its state.
    pub cache: Keyspace,
    /// How the link is.
    pub status: watch::Sender<LinkStatus>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EtcdState {
    Down,
    Up,
}

/// Pods by cluster and uid.
type KnownPods = BTreeMap<(String, String), Arc<MeshPod>>;

/// Every clustermesh-apiserver pod that runs, and what the agents follow.
#[derive(Clone, Default)]
pub struct MeshPods {
    pods: Arc<Mutex<KnownPods>>,
    changed: Arc<watch::Sender<u64>>,
    agents: Arc<Mutex<BTreeMap<String, AgentsLink>>>,
    /// How patient links are.
    pub timing: Timing,
}

/// What the agents of a cluster know of the others: from one pod of their own cluster, or the last that they knew.
#[derive(Clone, Default)]
pub struct AgentsLink {
    /// The pod that they follow or followed last.
    pub pod: Option<Arc<MeshPod>>,
    /// Since when they follow none.
    pub lost: Option<(Instant, SystemTime)>,
}

impl MeshPod {
    /// The other clusters, as this pod follows them.
    pub fn remotes(&self) -> &BTreeMap<String, Remote> {
        &self.remotes
    }

    /// A number that stands for etcd's cluster id in texts.
    pub fn etcd_id(&self) -> u64 {
        let bytes = self.uid.bytes();
        bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
    }

    pub(crate) fn is_serving(&self) -> bool {
        *self.etcd.borrow() == EtcdState::Up
    }
}

impl MeshPods {
    /// The pod of a container, known from its first container on.
    fn of_container(&self, container: &SystemContainer) -> Arc<MeshPod> {
        let cluster = container.cluster.name().to_owned();
        let mut pods = lock(&self.pods);
        let uid = container.pod.uid().to_owned();
        let known = pods.entry((cluster.clone(), uid.clone())).or_insert_with(|| {
            let others = container.lab.others(&cluster);
            let remote = || Remote {
                cache: Keyspace::default(),
                status: watch::Sender::default(),
            };
            Arc::new(MeshPod {
                name: container.pod.name().to_owned(),
                uid,
                local: Keyspace::default(),
                etcd: watch::Sender::new(EtcdState::Down),
                remotes: others.map(|other| (other.name().to_owned(), remote())).collect(),
                cluster,
            })
        });
        Arc::clone(known)
    }

    fn announce(&self) {
        self.changed.send_modify(|version| *version += 1);
    }

    /// Tells when a pod's etcd comes or goes.
    pub(super) fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// The pods of a cluster whose etcd runs, by name.
    pub fn serving(&self, cluster: &str) -> Vec<Arc<MeshPod>> {
        let pods = lock(&self.pods);
        let mut serving: Vec<_> = pods
            .values()
            .filter(|pod| pod.cluster == cluster && pod.is_serving())
            .map(Arc::clone)
            .collect();
        serving.sort_by(|a, b| a.name.cmp(&b.name));
        serving
    }

    /// The pod of that name, whether or not its etcd runs.
    pub fn pod(&self, cluster: &str, name: &str) -> Option<Arc<MeshPod>> {
        let pods = lock(&self.pods);
        pods.values()
            .find(|pod| pod.cluster == cluster && pod.name == name)
            .map(Arc::clone)
    }

    /// What a cluster's agents follow.
    pub fn agents(&self, cluster: &str) -> AgentsLink {
        lock(&self.agents).get(cluster).cloned().unwrap_or_default()
    }

    /// Lets a cluster's agents keep the pod that they follow, or choose another if it has gone.
    pub(super) fn choose(&self, cluster: &str) -> Option<Arc<MeshPod>> {
        let serving = self.serving(cluster);
        let mut agents = lock(&self.agents);
        let link = agents.entry(cluster.to_owned()).or_default();
        if link.pod.as_ref().is_some_and(|pod| pod.is_serving()) {
            return link.pod.clone();
        }
        match serving.into_iter().next() {
            Some(pod) => {
                *link = AgentsLink {
                    pod: Some(pod),
                    lost: None,
                };
                link.pod.clone()
            }
            None => {
                link.lost = link.lost.or_else(|| Some((Instant::now(), SystemTime::now())));
                None
            }
        }
    }

    /// Container `etcd`: serves what `apiserver` publishes, and holds what `kvstoremesh` copies.
    pub(crate) async fn run_etcd(&self, container: &SystemContainer) -> i32 {
        let pod = self.of_container(container);
        let listener = container
            .namespace
            .within(listen)
            .map_err(io::Error::other)
            .and_then(|bound| bound);
        let listener = match listener.and_then(tokio::net::TcpListener::from_std) {
            Ok(listener) => listener,
            Err(error) => {
                tracing::warn!(pod = pod.name, %error, "etcd cannot listen");
                return 1;
            }
        };
        pod.etcd.send_replace(EtcdState::Up);
        self.announce();
        let config = Line::Config {
            cluster: pod.cluster.clone(),
            id: container.cluster.spec.id,
        };
        let gate = Publisher {
            lab: Arc::clone(&container.lab),
            cluster: pod.cluster.clone(),
        };
        serve(
            listener,
            config,
            pod.local.clone(),
            Arc::new(gate),
            container.stop.clone(),
        )
        .await;
        pod.etcd.send_replace(EtcdState::Down);
        pod.local.replace(Snapshot::new());
        for remote in pod.remotes.values() {
            remote.cache.replace(Snapshot::new());
        }
        let key = (pod.cluster.clone(), pod.uid.clone());
        lock(&self.pods).remove(&key);
        self.announce();
        0
    }

    /// Container `apiserver`: publishes the cluster's state into the pod's etcd.
    pub(crate) async fn run_apiserver(&self, container: &SystemContainer) -> i32 {
        let pod = self.of_container(container);
        let resources = [
            CILIUM_NODES,
            CILIUM_IDENTITIES,
            CILIUM_ENDPOINTS,
            SERVICES,
            ENDPOINT_SLICES,
        ];
        let informer = Informer::start(&container.cluster.store, &resources, &container.stop);
        let mut changes = informer.changes();
        let mut faults = container.lab.faults.subscribe();
        informer.synced().await;
        let mut ready = Ready::Not;
        loop {
            pod.local
                .replace(snapshot(&container.lab, &container.cluster, &informer));
            ready.announce(container, APISERVER_HEALTH_PORT);
            tokio::select! {
                () = container.stop.cancelled() => return 0,
                _ = changes.next() => {}
                _ = faults.changed() => {}
            }
        }
    }

    /// Container `kvstoremesh`: copies the other clusters' state into the pod's etcd.
    pub(crate) async fn run_kvstoremesh(&self, container: &SystemContainer) -> i32 {
        let pod = self.of_container(container);
        let links = pod.remotes.iter().map(|(name, remote)| {
            remote.status.send_replace(LinkStatus::default());
            let route = OverDatapath {
                lab: Arc::clone(&container.lab),
                own: pod.cluster.clone(),
                other: name.clone(),
                namespace: container.namespace.clone(),
                address: container.address,
            };
            let link = Link::new(route, remote.cache.clone(), remote.status.clone(), self.timing);
            async move { link.run().await }
        });
        let all = futures::future::join_all(links);
        // Ready once every other cluster has been followed once, as with Cilium's own readiness of KVStoreMesh.
        let ready = async {
            for remote in pod.remotes.values() {
                let mut status = remote.status.subscribe();
                let _ = status.wait_for(|status| status.phase != LinkPhase::Waiting).await;
            }
            Ready::Not.announce(container, KVSTOREMESH_HEALTH_PORT);
        };
        container
            .stop
            .run_until_cancelled(async { tokio::join!(all, ready) })
            .await;
        0
    }

    /// How a pod's link to another cluster is.
    pub fn link(&self, pod: &MeshPod, other: &str) -> LinkStatus {
        pod.remotes
            .get(other)
            .map(|remote| remote.status.borrow().clone())
            .unwrap_or_default()
    }

    /// Whether the agents of a cluster have the configuration of another, by way of the pod that they follow.
    pub fn is_known(&self, pod: &MeshPod, other: &str) -> bool {
        let counts = pod
            .remotes
            .get(other)
            .map(|remote| remote.cache.counts())
            .unwrap_or_default();
        counts.nodes > 0 || matches!(self.link(pod, other).phase, LinkPhase::Connected { .. })
    }
}

/// Whether a container has said that it is ready.
enum Ready {
    Not,
    Yes,
}

impl Ready {
    /// Says so once.
    fn announce(&mut self, container: &SystemContainer, port: u16) {
        if matches!(self, Ready::Yes) {
            return;
        }
        if let Err(error) = ready_endpoint(container, port) {
            container.log.line(format!(
                "level=error msg=\"cannot serve health\" port={port} error=\"{error}\""
            ));
        }
        *self = Ready::Yes;
    }
}

fn listen() -> io::Result<std::net::TcpListener> {
    let listener = std::net::TcpListener::bind(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, ETCD_PORT))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn snapshot(lab: &LabState, cluster: &ClusterState, informer: &Informer) -> Snapshot {
    let mut nodes = informer.all(&CILIUM_NODES);
    if lab.acts_in(Fault::MeshNodeCountShort, cluster.name()) {
        nodes.pop();
    }
    let published = Published {
        cluster: cluster.name(),
        id: cluster.spec.id,
        nodes: &nodes,
        identities: &informer.all(&CILIUM_IDENTITIES),
        endpoints: &informer.all(&CILIUM_ENDPOINTS),
        services: &informer.all(&SERVICES),
        slices: &informer.all(&ENDPOINT_SLICES),
        unready: lab.acts_in(Fault::GlobalUnreadyBackendPublished, cluster.name()),
    };
    // The publisher has to publish what the cluster where these faults act then merges.
    let (any, unshared) = (
        lab.faults.is_active(Fault::GlobalAnnotationIgnored),
        lab.faults.is_active(Fault::GlobalSharedIgnored),
    );
    let mut snapshot = published.snapshot(|service| {
        let system = service
            .namespace()
            .is_some_and(|namespace| namespace.starts_with("kube-") || namespace == "default");
        (super::is_global(service) || any && !system) && (super::is_shared(service) || unshared)
    });
    if lab.acts_in(Fault::MeshEndpointStale, cluster.name()) {
        publish_departed(cluster, &mut snapshot);
    }
    snapshot
}

/// Publishes a pod that has gone, with the identity of one that is there.
fn publish_departed(cluster: &ClusterState, snapshot: &mut Snapshot) {
    let present = of_kind(snapshot, Kind::Endpoint).next().map(|(_, value)| value.clone());
    if let (Some(mut endpoint), Some(node)) = (present, cluster.spec.nodes.first()) {
        let address = node.unused_address().to_string();
        endpoint["IP"] = address.as_str().into();
        endpoint["K8sPodName"] = "departed".into();
        snapshot.insert(Kind::Endpoint.key(&address), Arc::new(endpoint));
    }
}

struct Publisher {
    lab: Arc<LabState>,
    cluster: String,
}

impl Gate for Publisher {
    fn propagation(&self) -> Propagation {
        if self.lab.acts_in(Fault::MeshPropagationStopped, &self.cluster) {
            Propagation::Stopped
        } else if self.lab.acts_in(Fault::MeshPropagationSlow, &self.cluster) {
            Propagation::Late(SLOW)
        } else {
            Propagation::Prompt
        }
    }

    fn subscribe(&self) -> watch::Receiver<BTreeSet<Fault>> {
        self.lab.faults.subscribe()
    }
}

/// Where a pod of another cluster reaches this one's etcd.
pub fn etcd_address(cluster: &ClusterState, from: Ipv4Addr) -> Option<SocketAddrV4> {
    let pods = cluster.nodes().iter().flat_map(|node| node.pods());
    let mut addresses: Vec<_> = pods
        .filter(|pod| pod.name.starts_with(POD_PREFIX))
        .map(|pod| pod.address)
        .collect();
    addresses.sort();
    // Spread over the cluster's replicas, as its load balancer would.
    let turn = usize::from(from.octets()[3]) % addresses.len().max(1);
    addresses
        .get(turn)
        .map(|address| SocketAddrV4::new(*address, ETCD_PORT))
}

/// The way from a kvstoremesh container to a clustermesh-apiserver pod of another cluster: from pod to pod.
struct OverDatapath {
    lab: Arc<LabState>,
    own: String,
    other: String,
    namespace: Namespace,
    address: Ipv4Addr,
}

impl Route for OverDatapath {
    fn address(&self) -> Option<SocketAddrV4> {
        etcd_address(self.lab.cluster(&self.other)?, self.address)
    }

    fn socket(&self) -> io::Result<TcpSocket> {
        self.namespace.within(TcpSocket::new_v4).map_err(io::Error::other)?
    }

    async fn blocked(&self) {
        self.until(|blocked| blocked).await;
    }

    async fn unblocked(&self) {
        self.until(|blocked| !blocked).await;
    }
}

impl OverDatapath {
    async fn until(&self, wanted: impl Fn(bool) -> bool) {
        let mut faults = self.lab.faults.subscribe();
        while !wanted(self.lab.acts_in(Fault::MeshKvstoremeshDisconnected, &self.own)) {
            if faults.changed().await.is_err() {
                return;
            }
        }
    }
}
