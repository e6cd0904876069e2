//! What else there is to compare a path between two nodes of one cluster with. Two nodes have no third beside them, so
//! their neighbours are the nodes of other clusters: those are hardly nearer than the next node of one's own.

use crate::kit::{
    matrix::{self, Path},
    paths::{self, WorkloadPair},
};
use meshproof_contract::{AgentFacts, CheckContext, ClusterName, Facts, Outcome, Probe};

/// So many nodes of each other cluster are asked from each end: one of them may be slow itself.
const ASKED: usize = 2;

/// Times in microseconds, of one path after the other so that none loads another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nearby {
    /// On the path itself.
    pub own: u64,
    /// From the end of it that is farther from the nodes of other clusters; none without another cluster.
    pub elsewhere: Option<u64>,
    /// Between the two nodes themselves; none without agents on them.
    pub hosts: Option<u64>,
}

/// The time of a path that counts, in microseconds, of what a series on it showed.
pub type Time = fn(&Outcome) -> Option<u64>;

/// Measures a path between pods, and what it is compared with; none if the path gave no answer now. Of several paths
/// to compare with the best counts.
pub async fn compare(
    context: &CheckContext,
    path: &Path,
    probe: impl Fn(&Path) -> Probe,
    time: Time,
) -> Option<Nearby> {
    let facts = context.environment.facts();
    let (own, elsewhere) = own_and_elsewhere(context, path, &probe, time).await?;
    let hosts = match between_hosts(&facts, path) {
        Some(hosts) => answer(context, &[hosts], &probe, time).await,
        None => None,
    };
    Some(Nearby { own, elsewhere, hosts })
}

/// The same without the nodes themselves: the time of the path, and that from its farther end to other clusters.
pub async fn own_and_elsewhere(
    context: &CheckContext,
    path: &Path,
    probe: impl Fn(&Path) -> Probe,
    time: Time,
) -> Option<(u64, Option<u64>)> {
    let facts = context.environment.facts();
    let own = answer(context, std::slice::from_ref(path), &probe, time).await?;
    let from = answer(context, &abroad(&facts, path, &path.from), &probe, time).await;
    let to = answer(context, &abroad(&facts, path, &path.to), &probe, time).await;
    Some((own, from.zip(to).map(|(from, to)| from.max(to))))
}

/// From the client pod on the node of one end to servers of other clusters.
fn abroad(facts: &Facts, path: &Path, end: &AgentFacts) -> Vec<Path> {
    let cluster = &path.from.id.cluster;
    let WorkloadPair { client, server } = WorkloadPair::PODS;
    let Some(client) = on_node(facts, cluster, client, end) else {
        return Vec::new();
    };
    let others = facts
        .clusters
        .iter()
        .map(|other| &other.name)
        .filter(|other| *other != cluster);
    let servers = others.flat_map(|other| paths::agents(facts, other, server).into_iter().take(ASKED));
    servers
        .map(|to| Path {
            from: client.clone(),
            to,
        })
        .collect()
}

fn between_hosts(facts: &Facts, path: &Path) -> Option<Path> {
    let WorkloadPair { client, server } = WorkloadPair::HOST_TO_HOST;
    let cluster = &path.from.id.cluster;
    Some(Path {
        from: on_node(facts, cluster, client, &path.from)?,
        to: on_node(facts, cluster, server, &path.to)?,
    })
}

fn on_node(facts: &Facts, cluster: &ClusterName, workload: &str, end: &AgentFacts) -> Option<AgentFacts> {
    let mut agents = paths::agents(facts, cluster, workload).into_iter();
    agents.find(|agent| agent.node == end.node)
}

/// The best time on any of these paths.
async fn answer(context: &CheckContext, paths: &[Path], probe: impl Fn(&Path) -> Probe, time: Time) -> Option<u64> {
    let mut best = None;
    for path in paths {
        let seen = matrix::observe(context.environment.as_ref(), std::slice::from_ref(path), |path| {
            vec![probe(path)]
        });
        let seen = seen.await;
        let answers = seen.iter().flatten().flatten().filter_map(time);
        best = best.into_iter().chain(answers).min();
    }
    best
}

/// The fastest answer of a series, in microseconds.
pub fn quickest(outcome: &Outcome) -> Option<u64> {
    match outcome {
        Outcome::Series { latencies, .. } => latencies.iter().min().map(|micros| u64::from(*micros)),
        Outcome::Answered { timing, .. } => Some(timing.total),
        _ => None,
    }
}
