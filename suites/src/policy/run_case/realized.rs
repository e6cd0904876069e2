//! Whether Cilium's agents report a change as realized: a signal beside the traffic, never a verdict.

use super::change::Change;
use crate::policy::fixture::Fixture;
use meshproof_contract::{CiliumAnswer, CiliumQuery, Environment, EnvironmentError, NodeName};
use serde_json::Value;
use std::{collections::BTreeMap, sync::atomic::Ordering, time::Duration};

/// Whether the subject pods' endpoints have realized the agents' policies, with or without those in question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Realized {
    /// On every node of the subject pods.
    Everywhere,
    /// Not on some node.
    NotYet,
    /// Some agent could not be queried, or its answer could not be read.
    Unknown,
}

/// How long agents may take to answer before they are not queried again.
const ANSWERED_WITHIN: Duration = Duration::from_secs(2);

/// Asks the agents, within a short time, and not at all once that was not enough for this fixture.
pub async fn realized_in_time(
    environment: &dyn Environment,
    fixture: &Fixture,
    names: &[String],
    change: Change,
) -> Realized {
    if fixture.agents_slow.load(Ordering::Relaxed) {
        return Realized::Unknown;
    }
    let answered = tokio::time::timeout(ANSWERED_WITHIN, realized(environment, fixture, names, change)).await;
    answered.unwrap_or_else(|_| {
        fixture.agents_slow.store(true, Ordering::Relaxed);
        Realized::Unknown
    })
}

/// Compares what each agent of the subject pods' nodes has (`policy get`) with what its endpoints have realized
/// (`endpoint list`).
async fn realized(environment: &dyn Environment, fixture: &Fixture, names: &[String], change: Change) -> Realized {
    let (policies, endpoints) = futures::join!(
        environment.cilium(&fixture.cluster, CiliumQuery::Policy),
        environment.cilium(&fixture.cluster, CiliumQuery::Endpoints),
    );
    let (policies, endpoints) = (by_node(policies), by_node(endpoints));
    let mut all = Realized::Everywhere;
    for subject in &fixture.subjects {
        let agent = &subject.agent;
        let (Some(policy), Some(list)) = (policies.get(&agent.node), endpoints.get(&agent.node)) else {
            return Realized::Unknown;
        };
        let pod = format!("{}/{}", agent.namespace, agent.id.pod);
        match is_realized(policy, list, &pod, names, change) {
            Some(true) => {}
            Some(false) => all = Realized::NotYet,
            None => return Realized::Unknown,
        }
    }
    all
}

fn by_node(answers: Result<Vec<CiliumAnswer>, EnvironmentError>) -> BTreeMap<NodeName, Value> {
    let answers = answers.unwrap_or_default().into_iter();
    answers.filter_map(|a| Some((a.node, a.output.ok()?))).collect()
}

/// Whether a pod's endpoint has the change, by the outputs of its node's agent; none where they cannot be read.
fn is_realized(policy: &Value, endpoints: &Value, pod: &str, names: &[String], change: Change) -> Option<bool> {
    let revision = policy["revision"].as_u64()?;
    let text = policy["policy"].as_str()?;
    let known = names.iter().filter(|name| text.contains(name.as_str())).count();
    let agent_has_change = match change {
        Change::Applied => known == names.len(),
        Change::Deleted => known == 0,
    };
    let endpoint = endpoints.as_array()?.iter().find(|endpoint| {
        let ids = &endpoint["status"]["external-identifiers"];
        let split = ids["k8s-namespace"].as_str().zip(ids["k8s-pod-name"].as_str());
        ids["pod-name"] == pod || split == pod.split_once('/')
    })?;
    let realized = endpoint["status"]["policy"]["realized"]["policy-revision"].as_u64()?;
    Some(agent_has_change && realized >= revision)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn endpoints(revision: u64) -> Value {
        json!([{"status": {
            "external-identifiers": {"pod-name": "meshproof/a-1"},
            "policy": {"realized": {"policy-revision": revision}},
        }}])
    }

    #[test]
    fn realized_means_known_to_the_agent_and_reached_by_the_endpoint() {
        let policy = json!({"revision": 5, "policy": "[{\"value\": \"meshproof-policy-x\"}]"});
        let names = ["meshproof-policy-x".to_owned()];
        let judge = |has, change| is_realized(&policy, &endpoints(has), "meshproof/a-1", &names, change);
        assert_eq!(judge(5, Change::Applied), Some(true));
        assert_eq!(judge(4, Change::Applied), Some(false));
        assert_eq!(judge(5, Change::Deleted), Some(false), "the agent still has it");
        let of = |policy: &Value, pod| is_realized(policy, &endpoints(5), pod, &names, Change::Deleted);
        assert_eq!(of(&policy, "meshproof/b"), None);
        assert_eq!(of(&json!({}), "meshproof/a-1"), None);
    }
}
