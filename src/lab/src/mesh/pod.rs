//! The clustermesh-apiserver pods of the lab: what their three containers share, and which of them agents follow.

use super::{
    keyspace::{Keyspace, Snapshot},
    link::{LinkPhase, LinkStatus, Timing},
};
use crate::{sync::lock, system::SystemContainer};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Instant, SystemTime},
};
use tokio::sync::watch;

/// Where etcd listens in the pod.
pub const ETCD_PORT: u16 = 2379;

/// One clustermesh-apiserver pod.
pub struct MeshPod {
    /// Its cluster.
    pub cluster: String,
    /// Its name.
    pub name: String,
    uid: String,
    pub(super) local: Keyspace,
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
    /// The deadlines of links.
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
    pub(super) fn of_container(&self, container: &SystemContainer) -> Arc<MeshPod> {
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

    /// Says that a pod's etcd serves.
    pub(super) fn etcd_started(&self, pod: &MeshPod) {
        pod.etcd.send_replace(EtcdState::Up);
        self.changed.send_modify(|version| *version += 1);
    }

    /// Forgets a pod whose etcd has ended, and all that it held.
    pub(super) fn etcd_ended(&self, pod: &MeshPod) {
        pod.etcd.send_replace(EtcdState::Down);
        pod.local.replace(Snapshot::new());
        for remote in pod.remotes.values() {
            remote.cache.replace(Snapshot::new());
        }
        lock(&self.pods).remove(&(pod.cluster.clone(), pod.uid.clone()));
        self.changed.send_modify(|version| *version += 1);
    }

    /// Notifies when a pod's etcd starts or ends.
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
