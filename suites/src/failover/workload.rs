//! The pods of the scenario's workloads: waiting for them, spreading them over nodes, scaling them.

use super::{SCENARIO, now};
use crate::kit::object::pod;
use meshproof_contract::{AgentFacts, CheckContext, ClusterName, EnvironmentError, ObjectRef, Tally, Verdict};
use serde_json::{Value, json};
use std::{collections::BTreeMap, time::Duration};
use tokio::time::sleep;

/// The pods behind the service of one cluster.
pub const BACKEND: &str = "backend";
/// The pods behind the global services.
pub const GLOBAL_BACKEND: &str = "global-backend";
/// How long backends may take to be ready, before and after an event.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// Pods that are deleted at most to spread the others.
const SPREADS: usize = 3;
/// Between two reads.
const INTERVAL: Duration = Duration::from_millis(100);

/// An error of the environment proves nothing about the mesh.
pub fn unknown(error: EnvironmentError) -> Verdict {
    Verdict::inconclusive(error.to_string())
}

/// The agents of a workload once at least so many are ready.
pub async fn ready(
    context: &CheckContext,
    cluster: &ClusterName,
    workload: &str,
    at_least: usize,
) -> Result<Vec<AgentFacts>, Verdict> {
    let begun = now();
    loop {
        let found = context.environment.agents(cluster, SCENARIO, workload).await;
        let found = found.map_err(unknown)?;
        if found.len() >= at_least {
            return Ok(found);
        }
        if now() - begun > READY_WITHIN {
            return Err(Verdict::inconclusive(format!(
                "{cluster}: {} of at least {at_least} agents `{workload}` were ready after {} s",
                found.len(),
                READY_WITHIN.as_secs()
            )));
        }
        sleep(INTERVAL).await;
    }
}

/// Agents of one workload on several nodes. Where all are on one while another node could run them, pods are deleted
/// one by one: their Deployment spreads them by preference only, and after an event new pods go where there is room.
pub async fn spread(context: &CheckContext, mut agents: Vec<AgentFacts>) -> Result<Vec<AgentFacts>, Verdict> {
    for _ in 0..SPREADS {
        let Some(last) = agents.last().cloned() else { break };
        if agents.len() < 2 || agents.iter().any(|other| other.node != last.node) {
            break;
        }
        let nodes = context.environment.list(&last.id.cluster, "v1", "Node", None).await;
        let nodes = nodes.map_err(unknown)?;
        let is_other = |node: &Value| node["metadata"]["name"] != last.node.as_str();
        if !nodes.iter().any(|node| is_schedulable(node) && is_other(node)) {
            break;
        }
        context.note(format!(
            "all agents `{}` run on {}: deleting {} to spread them",
            last.workload, last.node, last.id
        ));
        let deleted = context.environment.delete(&last.id.cluster, &pod::of(&last)).await;
        deleted.map_err(unknown)?;
        agents = without(context, &last, agents.len()).await?;
    }
    Ok(agents)
}

/// So many agents of a workload, the deleted one not among them.
async fn without(context: &CheckContext, deleted: &AgentFacts, at_least: usize) -> Result<Vec<AgentFacts>, Verdict> {
    let begun = now();
    loop {
        let mut found = ready(context, &deleted.id.cluster, &deleted.workload, at_least).await?;
        found.retain(|agent| agent.id != deleted.id);
        if found.len() >= at_least {
            return Ok(found);
        }
        if now() - begun > READY_WITHIN {
            return Err(Verdict::inconclusive(format!(
                "{} was deleted and is still ready after {} s, or has no successor",
                deleted.id,
                READY_WITHIN.as_secs()
            )));
        }
        sleep(INTERVAL).await;
    }
}

/// Whether a node is ready and takes new pods.
fn is_schedulable(node: &Value) -> bool {
    let mut conditions = node["status"]["conditions"].as_array().into_iter().flatten();
    let ready = conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
    ready && node["spec"]["unschedulable"] != true
}

/// Since when each of these agents' pods is ready, as the API has it: a pod that was not ready for a moment shows
/// another time afterwards. None where it could not be read.
pub async fn ready_since(context: &CheckContext, agents: &[AgentFacts]) -> Option<BTreeMap<String, Value>> {
    let mut since = BTreeMap::new();
    for agent in agents {
        let object = context.environment.get(&agent.id.cluster, &pod::of(agent)).await.ok()?;
        let ready = object.as_ref().and_then(pod::ready);
        since.insert(agent.id.to_string(), ready.cloned().unwrap_or_default());
    }
    Some(since)
}

/// Gives the backends' Deployment so many replicas.
pub async fn scale(context: &CheckContext, backend: &AgentFacts, replicas: usize) -> Result<(), Verdict> {
    let deployment = ObjectRef::namespaced(
        "apps/v1",
        "Deployment",
        &backend.namespace,
        &format!("{SCENARIO}-{}", backend.workload),
    );
    let change = json!({"spec": {"replicas": replicas}});
    let patched = context
        .environment
        .patch(&backend.id.cluster, &deployment, change)
        .await;
    patched.map(drop).map_err(unknown)
}

/// Tallies what could not be done as unknown, beside everything that was seen.
pub fn tally_failure<T>(tally: &mut Tally, done: &Result<T, Verdict>) {
    if let Err(Verdict::Inconclusive { why } | Verdict::Skipped { why }) = done {
        tally.unknown(why);
    }
}
