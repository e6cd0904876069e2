//! A node's kubelet: starts the pods that are bound to its node, probes them, and reports what became of them. It meets
//! the cluster only through the API, and its pods only as processes and through the data path.

use crate::{
    follow::{Followed, follow},
    node_grace::NodeGrace,
    state::{ClusterState, LabState, NodeState},
    sync::lock,
    system::SystemImage,
};
use futures::StreamExt;
use meshproof_apiserver::{FieldSelector, Object, Store, WatchEvent, WatchOptions, resource::names::PODS};
use meshproof_datapath::netns::NamespaceError;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

mod address;
mod container;
mod container_states;
mod env_vars;
mod exec;
mod name_service;
mod node_status;
mod pod;
mod probe;
mod process;
mod runtime;
mod sandbox;
mod status;
mod streams;
mod sysctl;

pub(crate) use runtime::{PodRuntime, Running};
pub(crate) use streams::KubeletStreams;

/// What everything on a node shares.
pub(crate) struct Kubelet {
    lab: Arc<LabState>,
    cluster: Arc<ClusterState>,
    node: Arc<NodeState>,
    store: Store,
    images: Arc<[Arc<dyn SystemImage>]>,
    grace: NodeGrace,
    addresses: Mutex<address::AddressPool>,
    /// A runtime whose sockets are the node's: probes come from there.
    host: tokio::runtime::Handle,
    pods: Mutex<BTreeMap<String, Arc<PodRuntime>>>,
}

/// What a pod's worker gets: the pod's newest state, and whether the API still has it.
#[derive(Clone)]
struct PodUpdate {
    pod: Object,
    presence: Presence,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    Stored,
    Gone,
}

impl Kubelet {
    /// Starts the kubelet of a node: registers the node and follows its pods until `stop`.
    pub(crate) fn start(
        lab: &Arc<LabState>,
        cluster: &Arc<ClusterState>,
        node: &Arc<NodeState>,
        images: Arc<[Arc<dyn SystemImage>]>,
        grace: NodeGrace,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> Result<Arc<Self>, NamespaceError> {
        let kubelet = Arc::new(Self {
            lab: Arc::clone(lab),
            cluster: Arc::clone(cluster),
            node: Arc::clone(node),
            store: cluster.store.writing_as("kubelet"),
            images,
            grace,
            addresses: Mutex::new(address::AddressPool::new(node.spec.pod_cidr)),
            host: host_runtime(node, stop)?,
            pods: Mutex::default(),
        });
        node_status::register(&kubelet);
        let (reporter, cancelled) = (Arc::clone(&kubelet), stop.clone());
        tasks.spawn(async move { cancelled.run_until_cancelled(node_status::report(&reporter)).await });
        let (follower, cancelled) = (Arc::clone(&kubelet), stop.clone());
        let workers = tasks.clone();
        tasks.spawn(async move { cancelled.run_until_cancelled(follower.follow(&workers)).await });
        Ok(kubelet)
    }

    /// The runtime of a pod, by uid; none before its sandbox exists.
    pub(crate) fn pod(&self, uid: &str) -> Option<Arc<PodRuntime>> {
        lock(&self.pods).get(uid).cloned()
    }

    /// The node that it serves.
    pub(crate) fn node(&self) -> &Arc<NodeState> {
        &self.node
    }

    async fn follow(self: &Arc<Self>, tasks: &TaskTracker) {
        let mut workers: BTreeMap<String, watch::Sender<PodUpdate>> = BTreeMap::new();
        let fields = FieldSelector::parse(&format!("spec.nodeName={}", self.node.name())).unwrap_or_default();
        let mut changes = follow(&self.store, &PODS, move |_| WatchOptions {
            fields: fields.clone(),
            ..WatchOptions::default()
        });
        while let Some(change) = changes.next().await {
            // A node without a network hears nothing; what it missed it reads when it is back.
            if self.node.online().wait_for(|online| *online).await.is_err() {
                return;
            }
            let (pod, presence) = match change {
                Followed::Event(WatchEvent::Added(pod) | WatchEvent::Modified(pod)) => (pod, Presence::Stored),
                Followed::Event(WatchEvent::Deleted(pod)) => (pod, Presence::Gone),
                Followed::Event(WatchEvent::Bookmark { .. } | WatchEvent::Error(_)) | Followed::Restarted => continue,
            };
            let uid = pod.uid().to_owned();
            let update = PodUpdate { pod, presence };
            workers.retain(|_, sender| !sender.is_closed());
            match workers.get(&uid) {
                Some(sender) => {
                    sender.send_replace(update);
                }
                None if presence == Presence::Gone => {}
                None => {
                    let (sender, receiver) = watch::channel(update);
                    workers.insert(uid, sender);
                    tasks.spawn(pod::run(Arc::clone(self), receiver));
                }
            }
        }
    }

    fn put_runtime(&self, runtime: Arc<PodRuntime>) {
        lock(&self.pods).insert(runtime.uid.clone(), runtime);
    }

    fn drop_runtime(&self, uid: &str) {
        lock(&self.pods).remove(uid);
    }
}

/// A runtime on a thread inside the node's namespace.
fn host_runtime(node: &NodeState, stop: &CancellationToken) -> Result<tokio::runtime::Handle, NamespaceError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| NamespaceError {
            call: meshproof_datapath::netns::Call::Thread,
            source,
        })?;
    let handle = runtime.handle().clone();
    let stop = stop.clone();
    node.handle
        .namespace()
        .run(&format!("kubelet {}", node.name()), move || {
            runtime.block_on(stop.cancelled());
            runtime.shutdown_background();
        })?;
    Ok(handle)
}
