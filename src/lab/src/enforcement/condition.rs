//! The condition `Valid` of a policy, as Cilium's operator writes it.

use crate::object::now;
use meshproof_apiserver::{Object, Resource, Store};
use serde_json::{Value, json};

/// Writes whether the policy is valid, unless the condition says so already.
pub(super) fn write(store: &Store, resource: &Resource, object: &Object, read: Result<(), &String>) {
    let (status, message) = match read {
        Ok(()) => ("True", "Policy validation succeeded"),
        Err(why) => ("False", why.as_str()),
    };
    let is_ours = |condition: &Value| condition["type"] == "Valid";
    let conditions = object["status"]["conditions"].as_array();
    let present = conditions.and_then(|conditions| conditions.iter().find(|condition| is_ours(condition)));
    if present.is_some_and(|present| present["status"] == status && present["message"] == message) {
        return;
    }
    let since = match present {
        Some(present) if present["status"] == status => present["lastTransitionTime"].clone(),
        _ => json!(now()),
    };
    let condition = json!({"lastTransitionTime": since, "message": message, "status": status, "type": "Valid"});
    let store = store.writing_as("cilium-operator-generic");
    let written = store.modify_status(resource, object.namespace(), object.name(), |policy: &mut Value| {
        if !policy["status"]["conditions"].is_array() {
            policy["status"] = json!({"conditions": []});
        }
        if let Some(conditions) = policy["status"]["conditions"].as_array_mut() {
            conditions.retain(|condition| !is_ours(condition));
            conditions.push(condition.clone());
        }
    });
    if let Err(error) = written {
        // Deleted meanwhile, or changed: then it is looked at again.
        tracing::debug!(%error, policy = object.name(), "the condition was not written");
    }
}
