//! What do applications notice when something fails? Streams run on while one thing at a time is taken away and given back.

mod cast;
mod endpoint;
mod observed;
mod patience;
mod recording;
mod reunion;
mod series;
mod stream;

#[cfg(test)]
mod stage;

pub mod agent_restart;
pub mod backend_deleted;
pub mod backend_unready;
pub mod local_backends_gone;
pub mod mesh_apiserver_down;
pub mod node_lost;
pub mod other_cluster_lost;
pub mod scaled_to_zero;

use meshproof_contract::{Admission, ClaimKind, Needs, Outcome, Suite};

/// The suite.
pub const SUITE: Suite = Suite {
    name: "failover",
    about: "What applications notice when backends, nodes, Cilium's agents and the clustermesh-apiserver go and come back: five kinds of stream, each on its own, run open-loop through one event at a time, beside controls that nothing happens to: two neighbours, and a DNS question for another name, whose silence excuses the DNS stream alone. Outages are intervals, never single figures. The suite disturbs, so on clusters of yours it runs only with `--disruptive`.",
    checks: &[
        &backend_deleted::BackendDeleted,
        &backend_unready::BackendUnready,
        &scaled_to_zero::ScaledToZero,
        &local_backends_gone::LocalBackendsGone,
        &mesh_apiserver_down::MeshApiServerDown,
        &agent_restart::AgentRestart,
        &node_lost::NodeLost,
        &other_cluster_lost::OtherClusterLost,
    ],
};

const NEEDS: Needs = Needs {
    scenario: Some(cast::SCENARIO),
    claim: None,
    admission: Admission::Exclusive,
    mutates: true,
};

const MESH_NEEDS: Needs = Needs {
    claim: Some(ClaimKind::ClusterMesh),
    ..NEEDS
};

/// The time by the runtime's clock, which tests can hold.
fn now() -> std::time::Instant {
    tokio::time::Instant::now().into_std()
}

/// What became of a probe that failed, in a word.
fn kind(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Refused { .. } => "refused",
        Outcome::Reset { .. } => "reset mid-stream",
        Outcome::Closed { .. } => "closed early",
        Outcome::Timeout { .. } => "timeout",
        Outcome::Stalled { .. } => "stalled",
        Outcome::Unreachable { .. } => "unreachable",
        Outcome::NameError { .. } => "name not resolved",
        Outcome::Dns { .. } => "DNS error code",
        Outcome::Answered { .. } => "HTTP error status",
        Outcome::Corrupted { .. } => "corrupted",
        Outcome::LocalError { .. } => "not tried",
        Outcome::PathMtu { .. } | Outcome::Series { .. } => "no stream",
    }
}
