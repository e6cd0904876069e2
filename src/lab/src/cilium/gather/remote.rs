//! What an agent knows of other clusters, by way of the clustermesh-apiserver of its own.

use std::collections::BTreeSet;
use std::time::Instant;

use serde_json::Value;

use super::super::view::{RemotePhase, RemoteView};
use super::Gatherer;
use crate::mesh::{AgentsLink, Counts, Kind, MeshFault, MeshPod};

impl Gatherer<'_> {
    fn link(&self) -> AgentsLink {
        self.module.mesh.agents(self.container.cluster.name())
    }

    /// What the agents know of other clusters, of one kind.
    pub(super) fn of_remotes(&self, kind: Kind) -> Vec<(String, Value)> {
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
        let services = self.of_remotes(Kind::Service);
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
            .filter(|(since, _)| Instant::now() >= *since + self.module.mesh.timing.notice);
        let views = lab.others(cluster).map(|other| {
            let cluster_id = other.spec.id;
            let known = link
                .pod
                .as_ref()
                .is_some_and(|pod| self.module.mesh.is_known(pod, other.name()));
            let phase = match () {
                () if link.pod.is_none() || noticed.is_some() => RemotePhase::Waiting,
                () if !known => RemotePhase::Unconfigured,
                () => self.disturbed(RemotePhase::Ready { cluster_id }, cluster_id),
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

    fn disturbed(&self, phase: RemotePhase, cluster_id: u8) -> RemotePhase {
        let (lab, cluster) = (&self.container.lab, &self.container.cluster);
        let own = self.container.node.name();
        let is = |fault: MeshFault| fault.concerns_follower(lab, cluster.name());
        let first = cluster.nodes().first().is_some_and(|node| node.name() == own);
        let last = cluster.nodes().last().is_some_and(|node| node.name() == own);
        match () {
            () if is(MeshFault::RemoteNotConnected) => RemotePhase::Waiting,
            () if first && is(MeshFault::AgentNotReady) => RemotePhase::Unconfigured,
            () if last && is(MeshFault::AgentNotSynced) => RemotePhase::Syncing { cluster_id },
            () if is(MeshFault::WrongClusterId) => RemotePhase::Ready {
                cluster_id: cluster_id.wrapping_add(100),
            },
            () => phase,
        }
    }
}

fn counts(pod: &MeshPod, other: &str) -> Counts {
    pod.remotes()
        .get(other)
        .map(|remote| remote.cache.counts())
        .unwrap_or_default()
}
