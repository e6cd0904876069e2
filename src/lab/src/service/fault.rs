//! What a cluster's agents can get wrong when they turn Services into the data path: the catalogue's entries, and whom each concerns.
//!
//! Services of the system stay as they are. Faults of balancing concern the first cluster, those of merging the last: a check that
//! looks at one cluster only misses some of them.

use std::collections::BTreeSet;

use meshproof_apiserver::Object;

use crate::fault::{Effect, FaultName, FaultSpec};
use crate::state::LabState;

/// Something that agents get wrong about services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ServiceFault {
    /// The last TCP port of a service with several leads to a port on which nobody listens.
    PortBroken,
    /// UDP ports have no backends.
    UdpBroken,
    /// `sessionAffinity` is not heeded.
    SessionAffinityIgnored,
    /// Backends that are not ready any more stay.
    UnreadyKept,
    /// `service.cilium.io/affinity` is not heeded.
    AffinityIgnored,
    /// With an affinity, the side that is not preferred never serves.
    NoFallback,
    /// Backends of other clusters are taken only beside own ones.
    NeedsLocalBackends,
    /// NodePorts are not served.
    NodePortMissing,
    /// The agents do not replace kube-proxy, and say so.
    ReplacementOff,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Concern {
    First,
    Last,
}

const CATALOGUE: [(ServiceFault, &str, &str, Concern); 9] = [
    (
        ServiceFault::PortBroken,
        "service-port-broken",
        "in one cluster the last of several TCP ports of a service leads nowhere",
        Concern::First,
    ),
    (
        ServiceFault::UdpBroken,
        "service-udp-broken",
        "in one cluster the UDP ports of services have no backends",
        Concern::Last,
    ),
    (
        ServiceFault::SessionAffinityIgnored,
        "session-affinity-ignored",
        "in one cluster clients do not stay with their backend",
        Concern::First,
    ),
    (
        ServiceFault::UnreadyKept,
        "unready-backend-kept",
        "in one cluster backends that are not ready any more go on receiving new connections",
        Concern::First,
    ),
    (
        ServiceFault::AffinityIgnored,
        "global-affinity-ignored",
        "one cluster prefers neither side of a global service with an affinity",
        Concern::Last,
    ),
    (
        ServiceFault::NoFallback,
        "global-affinity-no-fallback",
        "in one cluster a global service with an affinity has nobody when the preferred side is empty",
        Concern::Last,
    ),
    (
        ServiceFault::NeedsLocalBackends,
        "global-needs-local-backends",
        "one cluster merges global services only where it has backends of its own",
        Concern::Last,
    ),
    (
        ServiceFault::NodePortMissing,
        "node-port-missing",
        "the nodes of one cluster serve no NodePorts",
        Concern::Last,
    ),
    (
        ServiceFault::ReplacementOff,
        "kube-proxy-replacement-off",
        "the agents of one cluster say that they do not replace kube-proxy",
        Concern::Last,
    ),
];

/// The catalogue's entries of this module.
pub(crate) fn faults() -> Vec<FaultSpec> {
    let specs = CATALOGUE.iter().map(|(_, name, summary, _)| FaultSpec {
        name: FaultName::new(name),
        summary,
        suites: &["service"],
        effect: Effect::Flag,
    });
    specs.collect()
}

/// The faults in force in this cluster.
pub(crate) fn in_force(lab: &LabState, cluster: &str) -> BTreeSet<ServiceFault> {
    let is = |found: Option<&std::sync::Arc<crate::state::ClusterState>>| found.is_some_and(|c| c.name() == cluster);
    let concerned = |concern: Concern| match concern {
        Concern::First => is(lab.clusters.first()),
        Concern::Last => is(lab.clusters.last()),
    };
    let active = CATALOGUE
        .iter()
        .filter(|(_, name, _, concern)| concerned(*concern) && lab.faults.is_active(FaultName::new(name)));
    let mut active: BTreeSet<_> = active.map(|(fault, ..)| *fault).collect();
    if lab.faults.is_active(crate::fault::failover::UNREADY_KEEPS) {
        active.insert(ServiceFault::UnreadyKept);
    }
    active
}

/// Whether a service is the cluster's own, which faults leave alone.
pub(super) fn is_system(service: &Object) -> bool {
    let namespace = service.namespace().unwrap_or_default();
    namespace.starts_with("kube-") || namespace == "default"
}
