//! What an agent knows of other clusters, by way of the clustermesh-apiserver of its own.

use super::{
    super::view::{RemotePhase, RemoteView},
    Gatherer,
};
use crate::{
    fault::Fault,
    mesh::{AgentsLink, Counts, KeyKind, MeshPod},
};
use serde_json::Value;
use std::{collections::BTreeSet, time::Instant};

impl Gatherer<'_> {
    fn link(&self) -> AgentsLink {
        self.pods.mesh.agents(self.container.cluster.name())
    }

    /// What the agents know of other clusters, of one kind.
    pub(super) fn of_remotes(&self, kind: KeyKind) -> Vec<(String, Value)> {
        let Some(pod) = self.link().pod else { return Vec::new() };
        let snapshots = pod.remotes().values().map(|remote| remote.cache.snapshot());
        snapshots
            .flat_map(|snapshot| {
                let of_kind = snapshot
                    .into_iter()
                    .filter_map(|(key, value)| Some((key.strip_prefix(kind.prefix())?.to_owned(), (*value).clone())));
                of_kind.collect::<Vec<_>>()
            })
            .collect()
    }

    pub(super) fn global_services(&self) -> usize {
        let services = self.of_remotes(KeyKind::Service);
        let names: BTreeSet<_> = services
            .iter()
            .map(|(_, service)| (service["namespace"].to_string(), service["name"].to_string()))
            .collect();
        names.len()
    }

    pub(super) fn remotes(&self) -> Vec<RemoteView> {
        let (lab, cluster) = (&self.container.lab, self.container.cluster.name());
        let link = self.link();
        // As KVStoreMesh does for other clusters, agents notice only after a while that nobody serves them any more.
        let noticed = link
            .lost
            .filter(|(since, _)| Instant::now() >= *since + self.pods.mesh.timing.notice);
        let views = lab.others(cluster).map(|other| {
            let cluster_id = other.spec.id;
            let known = link
                .pod
                .as_ref()
                .is_some_and(|pod| self.pods.mesh.is_known(pod, other.name()));
            let phase = if link.pod.is_none() || noticed.is_some() {
                RemotePhase::Waiting
            } else if known {
                self.disturbed(RemotePhase::Ready { cluster_id }, cluster_id)
            } else {
                RemotePhase::Unconfigured
            };
            let lost = phase == RemotePhase::Waiting && link.pod.is_some();
            RemoteView {
                name: other.name().to_owned(),
                counts: link
                    .pod
                    .as_ref()
                    .map(|pod| counts(pod, other.name()))
                    .unwrap_or_default(),
                failures: u64::from(lost),
                last_failure: lost.then(|| noticed.map_or(self.agent.started, |(_, at)| at)),
                etcd_id: link.pod.as_ref().map(|pod| pod.etcd_id()).unwrap_or_default(),
                phase,
            }
        });
        views.collect()
    }

    /// The phase as a fault makes the agent report it.
    fn disturbed(&self, phase: RemotePhase, cluster_id: u8) -> RemotePhase {
        if self.acts(Fault::MeshRemoteNotConnected) {
            RemotePhase::Waiting
        } else if self.acts(Fault::MeshAgentNotReady) {
            RemotePhase::Unconfigured
        } else if self.acts(Fault::MeshAgentNotSynced) {
            RemotePhase::Syncing { cluster_id }
        } else if self.acts(Fault::MeshWrongClusterId) {
            RemotePhase::Ready {
                cluster_id: cluster_id.wrapping_add(100),
            }
        } else {
            phase
        }
    }
}

fn counts(pod: &MeshPod, other: &str) -> Counts {
    pod.remotes()
        .get(other)
        .map(|remote| remote.cache.counts())
        .unwrap_or_default()
}
