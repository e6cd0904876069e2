//! The status of a new object. Clients cannot set it on creation, except where Kubernetes lets them (nodes).

use crate::resource::{ResourceDef, Subresource};
use serde_json::{Map, Value, json};

pub(super) fn reset(def: &ResourceDef, object: &mut Value) {
    if !def.has(Subresource::Status) {
        return;
    }
    if def.is_custom() {
        object.as_object_mut().map(|object| object.remove("status"));
        return;
    }
    object["status"] = match &*def.kind {
        "Node" | "PersistentVolume" => return,
        "Pod" => json!({"phase": "Pending", "qosClass": quality(&object["spec"])}),
        "Namespace" => json!({"phase": "Active"}),
        "PersistentVolumeClaim" => json!({"phase": "Pending"}),
        "Service" | "Ingress" => json!({"loadBalancer": {}}),
        "CustomResourceDefinition" => established(object),
        _ => json!({}),
    };
}

/// A definition is served at once, so it is established at once.
fn established(definition: &Value) -> Value {
    let now = crate::time::now();
    let condition = |kind: &str, reason: &str, message: &str| {
        json!({
            "type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": now,
        })
    };
    let versions = definition["spec"]["versions"].as_array().into_iter().flatten();
    let stored: Vec<&Value> = versions.filter(|v| v["storage"] == true).map(|v| &v["name"]).collect();
    json!({
        "acceptedNames": definition["spec"]["names"], "storedVersions": stored,
        "conditions": [
            condition("NamesAccepted", "NoConflicts", "no conflicts found"),
            condition("Established", "InitialNamesAccepted", "the initial names have been accepted"),
        ],
    })
}

/// The quality-of-service class of a pod: guaranteed when every container's requests equal its limits for CPU and
/// memory.
fn quality(spec: &Value) -> &'static str {
    let empty = Map::new();
    let mut any = false;
    let mut guaranteed = true;
    let containers = ["containers", "initContainers"]
        .into_iter()
        .flat_map(|f| spec[f].as_array().into_iter().flatten());
    for container in containers {
        let part = |name: &str| container["resources"][name].as_object().unwrap_or(&empty);
        let (limits, requests) = (part("limits"), part("requests"));
        any |= !limits.is_empty() || !requests.is_empty();
        guaranteed &= ["cpu", "memory"].iter().all(|resource| {
            limits.contains_key(*resource)
                && requests.get(*resource).unwrap_or(&limits[*resource]) == &limits[*resource]
        });
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}
