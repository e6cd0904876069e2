//! Pods that a controller makes: one that admission refuses is an event about its owner, as with Kubernetes' own.

use crate::event::{self, EventType};
use meshproof_apiserver::{ApiError, Object, Store, resource::names::PODS};
use serde_json::Value;

/// Creates a pod; refused by a quota, a limit or a standard, it is told in an event, and tried again at the next look.
pub(super) fn create_pod(store: &Store, owner: &Object, pod: Value, component: &str) -> Result<(), ApiError> {
    match store.create(&PODS, pod) {
        Err(error) if error.is_forbidden() => {
            let error = error.to_string();
            // Each try draws another name; clients of Kubernetes count such events as one.
            let reason = error
                .split_once("is forbidden: ")
                .map_or(error.as_str(), |(_, reason)| reason);
            let message = format!("Error creating: pods \"{}-\" is forbidden: {reason}", owner.name());
            event::record(store, owner, EventType::Warning, "FailedCreate", &message, component);
            Ok(())
        }
        created => created.map(drop),
    }
}
