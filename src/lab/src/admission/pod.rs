//! What pods are given, and whether their namespace's Pod Security Standard lets them in.

use super::security::{Level, violations};
use meshproof_apiserver::{Admission, AdmissionRequest, ApiError, Operation, resource::names::NAMESPACES};
use serde_json::{Value, json};

/// Taints that every pod tolerates for a while (plugin DefaultTolerationSeconds).
const TOLERATED: [&str; 2] = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];
const TOLERATION_SECONDS: u64 = 300;

/// Completes pods and enforces `pod-security.kubernetes.io/enforce`.
pub(crate) struct Pods;

impl Admission for Pods {
    fn admit(&self, request: &mut AdmissionRequest<'_>) -> Result<(), ApiError> {
        let concerned = request.resource.plural == "pods" && request.resource.group.is_empty();
        if !concerned || request.subresource.is_some() || request.operation == Operation::Delete {
            return Ok(());
        }
        if request.operation == Operation::Create {
            complete(&mut request.object["spec"]);
        }
        let namespace = request
            .store
            .find(&NAMESPACES, None, request.namespace.unwrap_or_default());
        let label = namespace
            .as_ref()
            .and_then(|namespace| namespace.label("pod-security.kubernetes.io/enforce"));
        let Some(level) = label.and_then(Level::parse) else {
            return Ok(());
        };
        let found = violations(level, &request.object["spec"]);
        if found.is_empty() {
            return Ok(());
        }
        let why = format!(
            "violates PodSecurity \"{}:latest\": {}",
            level.as_str(),
            found.join(", ")
        );
        Err(ApiError::forbidden(request.resource, request.name, &why))
    }
}

fn complete(spec: &mut Value) {
    if spec["serviceAccountName"].as_str().unwrap_or_default().is_empty() {
        spec["serviceAccountName"] = json!("default");
        spec["serviceAccount"] = json!("default");
    }
    if spec["priority"].is_null() {
        spec["priority"] = json!(0);
        spec["preemptionPolicy"] = json!("PreemptLowerPriority");
    }
    let mut tolerations = spec["tolerations"].as_array().cloned().unwrap_or_default();
    for key in TOLERATED {
        let covers = |toleration: &Value| {
            (toleration["key"] == key || toleration["key"].as_str().unwrap_or_default().is_empty())
                && matches!(toleration["effect"].as_str(), None | Some("" | "NoExecute"))
        };
        if !tolerations.iter().any(covers) {
            let seconds = TOLERATION_SECONDS;
            tolerations
                .push(json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds}));
        }
    }
    spec["tolerations"] = json!(tolerations);
}
