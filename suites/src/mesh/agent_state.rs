//! Whether the Cilium agents work: by their pods, by whether their command returns, and by their own status. Knows
//! nothing of other clusters.

use crate::kit::{
    cilium::pods::{self, Pods},
    recent::{self, Age},
};
use meshproof_contract::{
    CheckContext, CiliumAnswer, CiliumQuery, ClusterName, EnvironmentError, NodeLabel, NodeName, Tally,
};
use serde_json::Value;
use std::{collections::BTreeMap, time::Duration};

/// Time between the two reads that must both see a problem: longer than an agent is unready while it reloads its
/// configuration.
pub const RETRY_AFTER: Duration = Duration::from_secs(10);

/// What the agents of a cluster answered to `cilium-dbg status`, and the problems that two reads have seen.
pub struct Agents {
    /// The answers of the last read.
    pub answers: Result<Vec<CiliumAnswer>, EnvironmentError>,
    problems: BTreeMap<NodeName, String>,
}

impl Agents {
    /// A finding for each agent with a problem.
    pub fn report(&self, cluster: &ClusterName, tally: &mut Tally) {
        for (node, problem) in &self.problems {
            tally.finding(
                format!("Cilium agent on {}", NodeLabel::pod(cluster, node)),
                "a ready agent that answers and reaches its API server",
                problem,
            );
        }
    }
}

/// Asks all agents of the cluster, and again if there is a problem; only nodes with a problem both times are kept.
pub async fn observe(context: &CheckContext, cluster: &ClusterName) -> Agents {
    let first = read(context, cluster, Age::STATE).await;
    if first.problems.is_empty() {
        return first;
    }
    tokio::time::sleep(RETRY_AFTER).await;
    let mut second = read(context, cluster, Age::now()).await;
    second.problems.retain(|node, _| first.problems.contains_key(node));
    second
}

async fn read(context: &CheckContext, cluster: &ClusterName, age: Age) -> Agents {
    let facts = context.environment.facts();
    let (answers, pods) = tokio::join!(
        recent::cilium(context, cluster, CiliumQuery::Status, age),
        Pods::read(context, cluster, age)
    );
    if let Err(error) = &pods {
        context.note(format!("cannot read the agents' pods: {error}"));
    }
    let answered = answers.as_deref().unwrap_or_default();
    let others_answer = answered.iter().any(|answer| answer.output.is_ok());
    let mut problems = BTreeMap::new();
    for node in facts.cluster(cluster).into_iter().flat_map(|c| &c.nodes) {
        let answer = answered.iter().find(|answer| answer.node == node.name);
        let reported = answer.and_then(|answer| match &answer.output {
            Ok(status) => failure(status),
            Err(error @ EnvironmentError::Deadline { .. }) if others_answer => {
                Some(format!("{error}, while other agents answer"))
            }
            Err(_) => None,
        });
        let no_status = answer.is_none_or(|answer| answer.output.is_err());
        let problem = reported.or_else(|| of_pod(pods.as_ref().ok()?, &node.name, no_status));
        problems.extend(problem.map(|problem| (node.name.clone(), problem)));
    }
    Agents { answers, problems }
}

/// What a status says about the agent itself; `Warning` is not a failure.
fn failure(status: &Value) -> Option<String> {
    [("kubernetes", "the API server"), ("cilium", "the agent")]
        .into_iter()
        .find_map(|(key, what)| {
            let state = &status[key];
            let message = state["msg"].as_str().unwrap_or_default();
            (state["state"] == "Failure").then(|| format!("its status reports Failure for {what}: {message}"))
        })
}

/// What is wrong with the agent's pod on the node.
fn of_pod(pods: &Pods, node: &NodeName, no_status: bool) -> Option<String> {
    let mut agents = pods.of(pods::AGENT)?;
    agents.retain(|pod| pod["spec"]["nodeName"] == node.as_str());
    if agents.is_empty() {
        return no_status.then(|| "no agent pod on this node".to_owned());
    }
    agents.into_iter().find_map(pods::unready)
}
