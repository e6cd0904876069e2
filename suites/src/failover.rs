//! What applications notice when something fails: streams run on while one thing at a time is taken away and restored.

mod check;
mod disruption;
mod endpoint_slice;
mod event;
mod footprint;
mod idle;
mod observed;
mod participants;
mod quiet_node;
mod recording;
mod resync;
mod retry_when_busy;
mod series;
mod stream;
mod workload;

#[cfg(test)]
mod tests;

pub mod agent_restart;
pub mod backend_deleted;
pub mod backend_unready;
pub mod local_backends_gone;
pub mod mesh_apiserver_down;
pub mod node_away;
pub mod other_cluster_lost;
pub mod rollout;
pub mod scaled_to_zero;
pub mod watch;

use meshproof_contract::Suite;
use std::time::Instant;

/// The scenario whose agents take part.
const SCENARIO: &str = "failover";

/// The suite.
pub const SUITE: Suite = Suite {
    name: SCENARIO,
    about: "What applications notice when backends, nodes, Cilium agents, cluster DNS or other components fail or \
            restart: five kinds of stream run open-loop through one event at a time, beside control streams that the \
            event does not affect. Outages are intervals, never single figures. The suite disrupts the clusters, so \
            outside the lab it runs only with `--disruptive`.",
    // What leaves others alone for longest first: the others run beside it.
    checks: &[
        &mesh_apiserver_down::SECONDS,
        &mesh_apiserver_down::MINUTES,
        &agent_restart::AGENT_RESTART,
        &backend_deleted::BACKEND_DELETED,
        &backend_unready::BACKEND_UNREADY,
        &scaled_to_zero::SCALED_TO_ZERO,
        &local_backends_gone::LOCAL_BACKENDS_GONE,
        &rollout::DNS_RESTARTED,
        &rollout::KVSTOREMESH_RESTARTED,
        &rollout::OPERATOR_RESTARTED,
        &node_away::NODE_LOST,
        &node_away::NODE_DRAINED,
        &other_cluster_lost::OTHER_CLUSTER_LOST,
    ],
};

/// The suite's world in memory, healthy.
#[cfg(test)]
pub(crate) fn world() -> std::sync::Arc<dyn meshproof_contract::Environment> {
    let lasting = |world: &mut tests::world::World| world.facts.mesh_outage_seconds = Some(180);
    std::sync::Arc::new(tests::world::World::with(lasting))
}

/// The time by the runtime's clock, which tests can stop.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
