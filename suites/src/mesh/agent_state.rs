//! Whether the Cilium agents are well: by their pods, by whether their command comes back, and by their own word. Knows nothing of
//! other clusters.

use crate::kit::cilium::pods::{self, Pods};
use crate::kit::cilium::nodes::place;
use meshproof_contract::{CheckContext, CiliumAnswer, CiliumQuery, ClusterName, EnvironmentError, NodeName, Tally};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// Time between the two looks that must both see something ill: longer than an agent is unready while it reads its configuration anew.
pub const AGAIN: Duration = Duration::from_secs(10);

/// What the agents of a cluster answered to `cilium-dbg status`, and what is wrong with some, as two looks have seen it.
pub struct Agents {
    /// The answers of the last look.
    pub answers: Result<Vec<CiliumAnswer>, EnvironmentError>,
    ill: BTreeMap<NodeName, String>,
}

impl Agents {
    /// A finding for each agent that is ill.
    pub fn tell(&self, cluster: &ClusterName, tally: &mut Tally) {
        for (node, problem) in &self.ill {
            tally.finding(
                format!("Cilium agent on {}", place(cluster, node)),
                "a ready agent that answers, and that reaches its API server",
                problem,
            );
        }
    }
}

/// Asks all agents of the cluster; again where one seems ill, and only what is wrong both times is kept.
pub async fn observe(context: &CheckContext, cluster: &ClusterName) -> Agents {
    let first = look(context, cluster).await;
    if first.ill.is_empty() {
        return first;
    }
    tokio::time::sleep(AGAIN).await;
    let mut second = look(context, cluster).await;
    second.ill.retain(|node, _| first.ill.contains_key(node));
    second
}

async fn look(context: &CheckContext, cluster: &ClusterName) -> Agents {
    let facts = context.environment.facts();
    let (answers, pods) = tokio::join!(
        context.environment.cilium(cluster, CiliumQuery::Status),
        Pods::read(context, cluster)
    );
    if let Err(error) = &pods {
        context.note(format!("the agents' pods could not be looked at: {error}"));
    }
    let told = answers.as_deref().unwrap_or_default();
    let somebody_answers = told.iter().any(|answer| answer.output.is_ok());
    let mut ill = BTreeMap::new();
    for node in facts.cluster(cluster).into_iter().flat_map(|c| &c.nodes) {
        let answer = told.iter().find(|answer| answer.node == node.name);
        let by_word = answer.and_then(|answer| match &answer.output {
            Ok(status) => failure(status),
            Err(error @ EnvironmentError::Deadline { .. }) if somebody_answers => {
                Some(format!("{error}, while other agents answer"))
            }
            Err(_) => None,
        });
        let is_silent = answer.is_none_or(|answer| answer.output.is_err());
        let problem = by_word.or_else(|| of_pod(pods.as_ref().ok()?, &node.name, is_silent));
        ill.extend(problem.map(|problem| (node.name.clone(), problem)));
    }
    Agents { answers, ill }
}

/// What a status says of the agent itself; `Warning` is no failure.
fn failure(status: &Value) -> Option<String> {
    [("kubernetes", "the API server"), ("cilium", "the agent")]
        .into_iter()
        .find_map(|(key, what)| {
            let state = &status[key];
            let message = state["msg"].as_str().unwrap_or_default();
            (state["state"] == "Failure").then(|| format!("its status says Failure for {what}: {message}"))
        })
}

/// What is wrong with the agent's pod on the node.
fn of_pod(pods: &Pods, node: &NodeName, is_silent: bool) -> Option<String> {
    let mut agents = pods.of(pods::AGENT)?;
    agents.retain(|pod| pod["spec"]["nodeName"] == node.as_str());
    if agents.is_empty() {
        return is_silent.then(|| "no pod of the agent is on this node".to_owned());
    }
    agents.into_iter().find_map(pods::unready)
}
