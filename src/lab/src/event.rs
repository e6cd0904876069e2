//! Events about objects, as `kubectl describe` shows them. Repeated ones count up.

use crate::object::{now, random_suffix};
use meshproof_apiserver::{Object, Store, resource::names::EVENTS};
use serde_json::json;

/// `type` of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EventType {
    /// As it should be.
    Normal,
    /// Worth a look.
    Warning,
}

/// Records an event. An event that cannot be recorded (its namespace is going away) is lost, as in Kubernetes.
pub(crate) fn record(store: &Store, about: &Object, kind: EventType, reason: &str, message: &str, component: &str) {
    let namespace = about.namespace().unwrap_or("default");
    let known = store.all(&EVENTS, Some(namespace)).into_iter().find(|event| {
        event["involvedObject"]["uid"] == about.uid() && event["reason"] == reason && event["message"] == message
    });
    let written = match known {
        Some(event) => store.modify(&EVENTS, Some(namespace), event.name(), |event| {
            event["count"] = json!(event["count"].as_i64().unwrap_or(1) + 1);
            event["lastTimestamp"] = json!(now());
        }),
        None => {
            let name = format!("{}.{}{}", about.name(), random_suffix(), random_suffix());
            let event = json!({
                "apiVersion": "v1", "kind": "Event",
                "metadata": {"name": name, "namespace": namespace},
                "involvedObject": {
                    "apiVersion": about["apiVersion"], "kind": about["kind"], "name": about.name(),
                    "namespace": about.namespace(), "uid": about.uid(),
                    "resourceVersion": about["metadata"]["resourceVersion"],
                },
                "type": match kind { EventType::Normal => "Normal", EventType::Warning => "Warning" },
                "reason": reason, "message": message, "source": {"component": component},
                "reportingComponent": component, "reportingInstance": "",
                "firstTimestamp": now(), "lastTimestamp": now(), "count": 1,
            });
            store.create(&EVENTS, event)
        }
    };
    if let Err(error) = written {
        tracing::debug!(%error, reason, "lost an event");
    }
}
