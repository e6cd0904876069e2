//! What the mesh can get wrong: the catalogue's entries, and where each acts.
//!
//! Faults with a direction stop or bend what goes **from the first cluster to the others**; faults of agents and of merging
//! concern the last cluster. So a check that looks one way only misses some of them.

use std::time::Duration;

use crate::fault::{Effect, FaultName, FaultSpec};
use crate::state::LabState;

/// How late changes are with [`MeshFault::PropagationSlow`].
pub(super) const SLOW: Duration = Duration::from_secs(12);

/// Something that the mesh gets wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MeshFault {
    /// Every agent of the last cluster has lost the other clusters.
    RemoteNotConnected,
    /// One agent of the last cluster is connected, but not ready.
    AgentNotReady,
    /// One agent of the last cluster has not synchronised services.
    AgentNotSynced,
    /// One agent of the last cluster has lost its own API server, and says so.
    ApiServerLost,
    /// KVStoreMesh of the last cluster has lost the other clusters.
    KvstoremeshDisconnected,
    /// The agents of the last cluster know the others under a wrong cluster id.
    WrongClusterId,
    /// The first cluster does not publish its last node.
    NodeCountShort,
    /// The first cluster publishes the address of a pod that has gone.
    EndpointStale,
    /// Changes in the first cluster are no longer sent, while the connection stays healthy.
    PropagationStopped,
    /// Changes in the first cluster are sent late.
    PropagationSlow,
    /// The last cluster never removes a backend of another cluster.
    BackendsNeverRemoved,
    /// The last cluster takes no backends of other clusters.
    RemoteBackendsMissing,
    /// The last cluster merges services by name, whether annotated or not.
    AnnotationIgnored,
    /// The last cluster merges services that their owner does not share.
    SharedIgnored,
    /// The last cluster knows the newer annotation only.
    LegacyAnnotationIgnored,
    /// The first cluster announces backends that are not ready.
    UnreadyPublished,
    /// In the last cluster no slices are made of other clusters' pods.
    HeadlessNotSynced,
    /// The certificate with which the last cluster's KVStoreMesh reaches the others ends in two days.
    CertificateExpiring,
    /// The others would not be trusted by the last cluster's KVStoreMesh any more; the connections that stand go on.
    CertificateUntrusted,
}

const CATALOGUE: [(MeshFault, &str, &str, &[&str]); 19] = [
    (
        MeshFault::RemoteNotConnected,
        "mesh-remote-not-connected",
        "the agents of one cluster have lost the connection to the other",
        &["mesh"],
    ),
    (
        MeshFault::AgentNotReady,
        "mesh-agent-not-ready",
        "one agent is connected to the other cluster, but not ready",
        &["mesh"],
    ),
    (
        MeshFault::AgentNotSynced,
        "mesh-agent-not-synced",
        "one agent has not synchronised the other cluster's services",
        &["mesh"],
    ),
    (
        MeshFault::ApiServerLost,
        "agent-api-server-lost",
        "one agent has lost its own API server: it goes on with what it knew, and its status says Failure",
        &["mesh"],
    ),
    (
        MeshFault::KvstoremeshDisconnected,
        "mesh-kvstoremesh-disconnected",
        "KVStoreMesh of one cluster has lost the other, while its agents say that all is well",
        &["mesh"],
    ),
    (
        MeshFault::WrongClusterId,
        "mesh-wrong-cluster-id",
        "the agents of one cluster know the other under a wrong cluster id",
        &["mesh"],
    ),
    (
        MeshFault::NodeCountShort,
        "mesh-node-count-short",
        "one cluster sees a node less of the other than there are",
        &["mesh"],
    ),
    (
        MeshFault::EndpointStale,
        "mesh-endpoint-stale",
        "one cluster goes on announcing the address of a pod that has gone",
        &["mesh"],
    ),
    (
        MeshFault::PropagationStopped,
        "mesh-propagation-stopped",
        "changes in one cluster are no longer seen in the other, while every status is green",
        &["mesh"],
    ),
    (
        MeshFault::PropagationSlow,
        "mesh-propagation-slow",
        "changes in one cluster are seen in the other 12 s late",
        &["mesh"],
    ),
    (
        MeshFault::BackendsNeverRemoved,
        "global-backends-never-removed",
        "one cluster keeps the other's backends of global services that have gone",
        &["mesh", "service"],
    ),
    (
        MeshFault::RemoteBackendsMissing,
        "global-remote-backends-missing",
        "one cluster takes none of the other's backends of global services",
        &["mesh", "service"],
    ),
    (
        MeshFault::AnnotationIgnored,
        "global-annotation-ignored",
        "one cluster merges services of equal names that are not annotated",
        &["service"],
    ),
    (
        MeshFault::SharedIgnored,
        "global-shared-ignored",
        "one cluster merges services that the other does not share",
        &["service"],
    ),
    (
        MeshFault::LegacyAnnotationIgnored,
        "global-legacy-annotation-ignored",
        "one cluster does not merge services that carry the legacy annotation only",
        &["service"],
    ),
    (
        MeshFault::UnreadyPublished,
        "global-unready-backend-published",
        "one cluster goes on announcing backends that are not ready any more to the other",
        &["service"],
    ),
    (
        MeshFault::HeadlessNotSynced,
        "headless-sync-missing",
        "one cluster's DNS does not learn the other's pods of global headless services",
        &["service"],
    ),
    (
        MeshFault::CertificateExpiring,
        "mesh-certificate-expiring",
        "the certificate with which one cluster reaches the other ends in two days",
        &["mesh"],
    ),
    (
        MeshFault::CertificateUntrusted,
        "mesh-certificate-untrusted",
        "one cluster would not trust the other if it had to connect again, while the connection stands",
        &["mesh"],
    ),
];

/// The catalogue's entries of this module.
pub fn faults() -> Vec<FaultSpec> {
    let specs = CATALOGUE.iter().map(|(_, name, summary, suites)| FaultSpec {
        name: FaultName::new(name),
        summary,
        suites,
        effect: Effect::Flag,
    });
    specs.collect()
}

impl MeshFault {
    fn name(self) -> Option<FaultName> {
        CATALOGUE
            .iter()
            .find(|(fault, ..)| *fault == self)
            .map(|(_, name, ..)| FaultName::new(name))
    }

    /// Whether the fault is in force.
    pub fn is_active(self, lab: &LabState) -> bool {
        self.name().is_some_and(|name| lab.faults.is_active(name))
    }

    /// Whether the fault is in force and concerns what this cluster publishes.
    pub(super) fn concerns_publisher(self, lab: &LabState, cluster: &str) -> bool {
        self.is_active(lab) && lab.clusters.first().is_some_and(|first| first.name() == cluster)
    }

    /// Whether the fault is in force and concerns what this cluster sees of others.
    pub fn concerns_follower(self, lab: &LabState, cluster: &str) -> bool {
        self.is_active(lab) && lab.clusters.last().is_some_and(|last| last.name() == cluster)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_fault_has_one_name() {
        let names: BTreeSet<_> = CATALOGUE.iter().filter_map(|(fault, ..)| fault.name()).collect();
        assert_eq!(names.len(), CATALOGUE.len());
    }
}
