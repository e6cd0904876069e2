//! Pods as the API shows them.

use meshproof_contract::{AgentFacts, ObjectRef};
use serde_json::Value;

/// An agent's pod.
pub fn of(agent: &AgentFacts) -> ObjectRef {
    ObjectRef::namespaced("v1", "Pod", &agent.namespace, &agent.id.pod)
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
