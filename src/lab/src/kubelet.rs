//! A node's kubelet: starts the pods that are bound to its node, probes them, and reports what became of them. It meets
//! the cluster only through the API, and its pods only as processes and through the data path.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use meshproof_apiserver::resource::names::PODS;
use meshproof_apiserver::{FieldSelector, Object, Store, WatchEvent, WatchOptions};
use meshproof_datapath::netns::NamespaceError;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::controller::NodeGrace;
use crate::state::{ClusterState, LabState, NodeState};
use crate::system::SystemImage;

mod address;
mod board;
mod container;
mod environment;
pub(crate) mod event;
pub(crate) mod exec;
pub(crate) mod log;
mod machine;
mod name_service;
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

/// What a pod's worker is told: the pod's newest state, and whether the API still has it.
#[derive(Clone)]
struct Order {
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
        machine::register(&kubelet);
        let (machine, cancelled) = (Arc::clone(&kubelet), stop.clone());
        tasks.spawn(async move { cancelled.run_until_cancelled(machine::report(&machine)).await });
        let (follower, cancelled) = (Arc::clone(&kubelet), stop.clone());
        let workers = tasks.clone();
        tasks.spawn(async move { cancelled.run_until_cancelled(follower.follow(&workers)).await });
        Ok(kubelet)
    }

    /// The runtime of a pod, by uid; none before its sandbox exists.
    pub(crate) fn pod(&self, uid: &str) -> Option<Arc<PodRuntime>> {
        self.pods
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(uid)
            .cloned()
    }

    /// The node that it serves.
    pub(crate) fn node(&self) -> &Arc<NodeState> {
        &self.node
    }

    async fn follow(self: &Arc<Self>, tasks: &TaskTracker) {
        let mut orders: BTreeMap<String, watch::Sender<Order>> = BTreeMap::new();
        loop {
            let fields = FieldSelector::parse(&format!("spec.nodeName={}", self.node.name())).unwrap_or_default();
            let options = WatchOptions {
                fields,
                ..WatchOptions::default()
            };
            let Ok(mut events) = self.store.watch(&PODS, None, options) else {
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                continue;
            };
            while let Some(event) = events.next().await {
                // A node without a network hears nothing; what it missed it reads when it is back.
                if self.node.online().wait_for(|online| *online).await.is_err() {
                    return;
                }
                let (pod, presence) = match event {
                    WatchEvent::Added(pod) | WatchEvent::Modified(pod) => (pod, Presence::Stored),
                    WatchEvent::Deleted(pod) => (pod, Presence::Gone),
                    WatchEvent::Bookmark { .. } => continue,
                    WatchEvent::Error(_) => break,
                };
                let uid = pod.uid().to_owned();
                let order = Order { pod, presence };
                orders.retain(|_, sender| !sender.is_closed());
                match orders.get(&uid) {
                    Some(sender) => {
                        sender.send_replace(order);
                    }
                    None if presence == Presence::Gone => {}
                    None => {
                        let (sender, receiver) = watch::channel(order);
                        orders.insert(uid, sender);
                        tasks.spawn(pod::run(Arc::clone(self), receiver));
                    }
                }
            }
        }
    }

    fn put_runtime(&self, runtime: Arc<PodRuntime>) {
        self.pods
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(runtime.uid.clone(), runtime);
    }

    fn drop_runtime(&self, uid: &str) {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
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
