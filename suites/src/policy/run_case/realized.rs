//! What Cilium says about a change: a signal beside the traffic, never a verdict.

use super::settle::Goal;
use crate::policy::scene::Scene;
use meshproof_contract::{CiliumQuery, Environment, NodeName};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Whether the ward's endpoints have realized the agents' policies, with or without those in question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Realized {
    /// On every node of the ward.
    Everywhere,
    /// On some node it has not been realized.
    NotYet,
    /// Some agent could not be asked, or its words could not be read.
    Unknown,
}

/// How long agents may take to answer before they are left alone: a check has more to do than to wait for them.
const ANSWERED_WITHIN: Duration = Duration::from_secs(2);

/// The same within a short time, and not at all once it was not enough on this scene.
pub async fn realized_in_time(environment: &dyn Environment, scene: &Scene, names: &[String], goal: Goal) -> Realized {
    if scene.mute.load(Ordering::Relaxed) {
        return Realized::Unknown;
    }
    let told = tokio::time::timeout(ANSWERED_WITHIN, realized(environment, scene, names, goal)).await;
    told.unwrap_or_else(|_| {
        scene.mute.store(true, Ordering::Relaxed);
        Realized::Unknown
    })
}

/// Compares what each agent of the ward's nodes has (`policy get`) with what its endpoints have realized (`endpoint list`).
async fn realized(environment: &dyn Environment, scene: &Scene, names: &[String], goal: Goal) -> Realized {
    let (policies, endpoints) = futures::join!(
        environment.cilium(&scene.cluster, CiliumQuery::Policy),
        environment.cilium(&scene.cluster, CiliumQuery::Endpoints),
    );
    let by_node = |answers: Result<Vec<meshproof_contract::CiliumAnswer>, _>| -> BTreeMap<NodeName, Value> {
        let answers = answers.unwrap_or_default().into_iter();
        answers.filter_map(|a| Some((a.node, a.output.ok()?))).collect()
    };
    let (policies, endpoints) = (by_node(policies), by_node(endpoints));
    let mut all = Realized::Everywhere;
    for ward in &scene.wards {
        let agent = &ward.agent;
        let (Some(policy), Some(list)) = (policies.get(&agent.node), endpoints.get(&agent.node)) else {
            return Realized::Unknown;
        };
        match on_node(
            policy,
            list,
            &format!("{}/{}", agent.namespace, agent.id.pod),
            names,
            goal,
        ) {
            Some(true) => {}
            Some(false) => all = Realized::NotYet,
            None => return Realized::Unknown,
        }
    }
    all
}

fn on_node(policy: &Value, endpoints: &Value, pod: &str, names: &[String], goal: Goal) -> Option<bool> {
    let revision = policy["revision"].as_u64()?;
    let text = policy["policy"].as_str()?;
    let known = names.iter().filter(|name| text.contains(name.as_str())).count();
    let told = match goal {
        Goal::Enforced => known == names.len(),
        Goal::Open => known == 0,
    };
    let endpoint = endpoints.as_array()?.iter().find(|endpoint| {
        let ids = &endpoint["status"]["external-identifiers"];
        ids["pod-name"] == pod || ids["k8s-namespace"].as_str().zip(ids["k8s-pod-name"].as_str()) == pod.split_once('/')
    })?;
    let has = endpoint["status"]["policy"]["realized"]["policy-revision"].as_u64()?;
    Some(told && has >= revision)
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
        let judge = |has, goal| on_node(&policy, &endpoints(has), "meshproof/a-1", &names, goal);
        assert_eq!(judge(5, Goal::Enforced), Some(true));
        assert_eq!(judge(4, Goal::Enforced), Some(false));
        assert_eq!(judge(5, Goal::Open), Some(false), "the agent still has it");
        assert_eq!(on_node(&policy, &endpoints(5), "meshproof/b", &names, Goal::Open), None);
        assert_eq!(
            on_node(&json!({}), &endpoints(5), "meshproof/a-1", &names, Goal::Open),
            None
        );
    }
}
