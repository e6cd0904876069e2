//! Do Services lead to the right pods: a cluster's own, all clusters' where they are global, and no others?

mod ask;
mod at_nodes;
mod judge;
mod side;
mod spread;
mod steady;
mod test_service;

pub mod annotation;
pub mod availability;
pub mod callers;
pub mod cluster_ip;
pub mod fallback;
pub mod fragments;
pub mod global;
pub mod global_name;
pub mod headless;
pub mod host_port;
pub mod kube_proxy_replacement;
pub mod load_balancer;
pub mod merging;
pub mod node_port;
pub mod ports;
pub mod remote_backends;
pub mod session_affinity;
pub mod traffic_policy;
pub mod unready;

use meshproof_contract::{Admission, CheckContext, ClaimKind, Needs, Suite};
use std::{sync::OnceLock, time::Duration};
use tokio::time::Instant;

/// The suite.
pub const SUITE: Suite = Suite {
    name: "service",
    about: "Services with the same name in every cluster are answered by the pods that their annotations say, from \
            every node, evenly, on every port, and by no others. A change of annotation, readiness or replicas takes \
            effect within a measured time; each answer names the pod that gave it.",
    checks: &[
        &availability::Availability,
        &cluster_ip::ClusterIp,
        &callers::Callers::Host,
        &callers::Callers::Backends,
        &ports::TCP,
        &ports::UDP,
        &fragments::Fragments,
        &node_port::NodePort::Outside,
        &node_port::NodePort::Inside,
        &host_port::HostPort,
        &load_balancer::LoadBalancerAddress,
        &traffic_policy::TrafficPolicy,
        &kube_proxy_replacement::ReplacementInForce,
        &session_affinity::SessionAffinity,
        &global::CURRENT,
        &global::LEGACY,
        &merging::UNANNOTATED,
        &remote_backends::ONLY,
        &remote_backends::UNSHARED,
        &merging::LOCAL,
        &merging::REMOTE,
        &fallback::Fallback,
        &annotation::AnnotationChange,
        &unready::Unready,
        &global_name::GlobalName,
        &headless::GlobalHeadless,
    ],
};

/// What checks of one cluster need.
const NEEDS: Needs = Needs {
    scenario: Some("service"),
    claim: None,
    admission: Admission::Shared,
    mutates: false,
};

/// What checks of merging need.
const MESH_NEEDS: Needs = Needs {
    claim: Some(ClaimKind::ClusterMesh),
    ..NEEDS
};

/// Requests of each client to judge a Service by: with four pods the chance that one of them never answers is 4e-15.
const SAMPLE: u32 = 120;
/// Requests of each client while a state is waited for.
const POLL: u32 = 12;
/// How long a Service may take to converge after its deployment, from when the suite first asks any.
const CONVERGES: Duration = Duration::from_secs(12);
/// How long it is waited for in any case.
const CONVERGES_AT_LEAST: Duration = Duration::from_secs(3);

/// How long a change may take until every node of the other cluster acts on it.
fn changed_within(context: &CheckContext) -> Duration {
    context.environment.facts().thresholds.propagation
}

/// When a trial of this run first asked a Service.
#[derive(Default)]
struct FirstRequest(OnceLock<Instant>);

/// How much of [`CONVERGES`] is left: what was deployed long ago and is still wrong will not converge by waiting.
fn converges_within(context: &CheckContext) -> Duration {
    let first = context.shared.of::<FirstRequest>();
    let since = first.0.get_or_init(Instant::now).elapsed();
    CONVERGES.saturating_sub(since).max(CONVERGES_AT_LEAST)
}

#[cfg(test)]
mod tests;

/// The healthy world of the suite's tests, in which no check is skipped.
#[cfg(test)]
pub(crate) fn world(shape: crate::testing::Shape) -> std::sync::Arc<dyn meshproof_contract::Environment> {
    std::sync::Arc::new(tests::mesh::of(shape))
}
