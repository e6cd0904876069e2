//! The quiet node of each cluster: it carries the controls of all that runs at the same time. No event happens to it.

use super::SCENARIO;
use meshproof_contract::{AgentFacts, CheckContext, ClusterName, NodeName, Verdict};
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

/// The quiet nodes of a run, each chosen once.
#[derive(Default)]
struct QuietNodes(Mutex<BTreeMap<ClusterName, NodeName>>);

/// The cluster's: the first one with one of these clients, and the same as before as long as it has one.
pub fn of(context: &CheckContext, cluster: &ClusterName, clients: &[AgentFacts]) -> Option<NodeName> {
    let chosen = context.shared.of::<QuietNodes>();
    let mut chosen = chosen.0.lock().unwrap_or_else(PoisonError::into_inner);
    let before = chosen.get(cluster);
    let still = before.filter(|node| clients.iter().any(|client| client.node == **node));
    let node = still.or_else(|| clients.first().map(|client| &client.node))?.clone();
    chosen.insert(cluster.clone(), node.clone());
    Some(node)
}

/// The same for a cluster whose clients are not known yet.
pub async fn find(context: &CheckContext, cluster: &ClusterName) -> Result<Option<NodeName>, Verdict> {
    let clients = context.environment.agents(cluster, SCENARIO, "client").await;
    let clients = clients.map_err(|error| Verdict::inconclusive(error.to_string()))?;
    Ok(of(context, cluster, &clients))
}
