//! Pods as the API shows them.

use meshproof_contract::{AgentFacts, ObjectRef};
use serde_json::Value;

/// An agent's pod.
pub fn of(agent: &AgentFacts) -> ObjectRef {
    ObjectRef {
        api_version: "v1".to_owned(),
        kind: "Pod".to_owned(),
        namespace: Some(agent.namespace.clone()),
        name: agent.id.pod.clone(),
    }
}

/// Its condition Ready.
pub fn ready(pod: &Value) -> Option<&Value> {
    let conditions = pod["status"]["conditions"].as_array()?;
    conditions.iter().find(|condition| condition["type"] == "Ready")
}

/// Whether its condition Ready is True.
pub fn is_ready(pod: &Value) -> bool {
    ready(pod).is_some_and(|condition| condition["status"] == "True")
}
