//! Two verbs of pods that are written as subresources: binding to a node, and eviction under a disruption budget.

use serde_json::{Value, json};

use super::{DeleteOptions, Deleted, Store, WriteOptions, metadata};
use crate::error::{ApiError, Cause, CauseKind, Reason};
use crate::object::Object;
use crate::resource::names::{POD_DISRUPTION_BUDGETS, PODS};
use crate::selector::LabelSelector;

impl Store {
    /// Binds a pod to a node, as a scheduler does (`pods/binding`). 409 when it is bound already.
    pub fn bind_pod(&self, namespace: &str, name: &str, node: &str) -> Result<Object, ApiError> {
        let def = self.definition(&PODS)?;
        let pod = self.get(&PODS, Some(namespace), name)?;
        if let Some(bound) = pod["spec"]["nodeName"].as_str().filter(|n| !n.is_empty()) {
            let why = format!("pod {name} is already assigned to node \"{bound}\"");
            return Err(ApiError::conflict(&def, name, &why));
        }
        if pod.is_terminating() {
            return Err(ApiError::conflict(
                &def,
                name,
                &format!("pod {name} is being deleted, cannot be assigned to a host"),
            ));
        }
        let mut bound = pod.to_value();
        bound["spec"]["nodeName"] = json!(node);
        let mut scheduled = self.update(&PODS, bound)?.to_value();
        let condition = json!({
            "type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": metadata::now(),
        });
        match scheduled["status"]["conditions"].as_array_mut() {
            Some(conditions) => {
                conditions.retain(|c| c["type"] != "PodScheduled");
                conditions.push(condition);
            }
            None => scheduled["status"]["conditions"] = json!([condition]),
        }
        self.update_with(&PODS, scheduled, &WriteOptions::status())
    }

    /// Evicts a pod (`pods/eviction`): deletes it unless a disruption budget says "not now" (429).
    pub fn evict_pod(&self, namespace: &str, name: &str, options: &DeleteOptions) -> Result<Deleted, ApiError> {
        let pod = self.get(&PODS, Some(namespace), name)?;
        for budget in self.all(&POD_DISRUPTION_BUDGETS, Some(namespace)) {
            let selects = LabelSelector::from_object(&budget["spec"]["selector"]).is_some_and(|s| s.matches(&pod));
            let allowed = budget["status"]["disruptionsAllowed"].as_i64().unwrap_or_default();
            if selects && is_ready(&pod) && allowed <= 0 {
                return Err(refusal(&budget));
            }
        }
        self.delete(&PODS, Some(namespace), name, options)
    }
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    conditions
        .into_iter()
        .any(|c| c["type"] == "Ready" && c["status"] == "True")
}

fn refusal(budget: &Object) -> ApiError {
    let message = "Cannot evict pod as it would violate the pod's disruption budget.";
    let mut error = ApiError::new(Reason::TooManyRequests, message).about("", "", "");
    if let Some(details) = &mut error.details {
        let healthy = budget["status"]["currentHealthy"].as_i64().unwrap_or_default();
        let desired = budget["status"]["desiredHealthy"].as_i64().unwrap_or_default();
        let message = format!(
            "The disruption budget {} needs {desired} healthy pods and has {healthy} currently",
            budget.name(),
        );
        details.causes.push(Cause {
            kind: CauseKind::DisruptionBudget,
            field: String::new(),
            message,
        });
    }
    error
}
