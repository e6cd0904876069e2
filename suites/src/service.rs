//! Do services lead to the right pods: a cluster's own, all clusters' where they are global, and nobody else's?

mod ask;
mod judge;
mod namesakes;
mod side;
mod spread;
mod steady;

pub mod annotation;
pub mod fallback;
pub mod global;
pub mod headless;
pub mod merging;
pub mod names;
pub mod node_port;
pub mod plain;
pub mod ports;
pub mod remote_only;
pub mod replacement;
pub mod sticky;
pub mod unready;

use meshproof_contract::{Admission, CheckContext, ClaimKind, Needs, Suite};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// The suite.
pub const SUITE: Suite = Suite {
    name: "service",
    about: "Services of equal names in every cluster: each is answered by the pods that its annotations say, from every node, evenly, on every port, and by nobody else; and a change of annotation, readiness or replicas is felt within a measured time. Who answered is read from each answer.",
    checks: &[
        &plain::Plain,
        &ports::TCP,
        &ports::UDP,
        &node_port::NodePort,
        &replacement::ReplacementInForce,
        &sticky::Sticky,
        &global::CURRENT,
        &global::LEGACY,
        &merging::UNANNOTATED,
        &remote_only::REMOTE_ONLY,
        &remote_only::UNSHARED,
        &merging::LOCAL,
        &merging::REMOTE,
        &fallback::FallsOver,
        &annotation::AnnotationChange,
        &unready::Unready,
        &names::GlobalName,
        &headless::GlobalHeadless,
    ],
};

/// What checks of one cluster need.
const NEEDS: Needs = Needs {
    scenario: Some(side::SCENARIO),
    claim: None,
    admission: Admission::Shared,
    mutates: false,
};

/// What checks of merging need.
const MESH_NEEDS: Needs = Needs {
    claim: Some(ClaimKind::ClusterMesh),
    ..NEEDS
};

/// Requests of each client to judge a service by: with four pods the chance that one of them is never met is 4e-15.
const SAMPLE: u32 = 120;
/// Requests of each client while a state is waited for.
const POLL: u32 = 12;
/// How long a service may take to be as it was deployed, from when the suite first looks at any.
const SETTLES: Duration = Duration::from_secs(12);
/// How long it is waited for in any case.
const SETTLES_AT_LEAST: Duration = Duration::from_secs(3);
/// How long a change may take until every node of the other cluster acts on it.
fn changed_within(context: &CheckContext) -> Duration {
    context.environment.facts().thresholds.propagation
}

/// When a trial of this run first looked at a service.
#[derive(Default)]
struct FirstLook(OnceLock<Instant>);

/// How much of [`SETTLES`] is left: what was deployed long ago and is still otherwise will not come right by waiting.
fn settles(context: &CheckContext) -> Duration {
    let first = context.shared.of::<FirstLook>();
    let since = first.0.get_or_init(Instant::now).elapsed();
    SETTLES.saturating_sub(since).max(SETTLES_AT_LEAST)
}

#[cfg(test)]
mod tests;
