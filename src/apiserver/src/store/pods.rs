//! Two verbs of pods that are written as subresources: binding to a node, and eviction under a disruption budget.

use super::{DeleteOptions, Deleted, Store};
use crate::{
    error::{ApiError, Cause, CauseKind, Reason},
    object::Object,
    resource::names::{POD_DISRUPTION_BUDGETS, PODS},
    selector::LabelSelector,
    time,
};
use serde_json::{Value, json};

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
        let bound = self.update(&PODS, bound)?;
        // The kubelet may be quicker, and write its own status in between.
        let told = self.modify_status(&PODS, Some(namespace), name, |pod: &mut Value| {
            let condition = json!({
                "type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": time::now(),
            });
            match pod["status"]["conditions"].as_array_mut() {
                Some(conditions) => {
                    conditions.retain(|c| c["type"] != "PodScheduled");
                    conditions.push(condition);
                }
                None => pod["status"]["conditions"] = json!([condition]),
            }
        });
        match told {
            Err(error) if error.is_not_found() => Ok(bound),
            told => told,
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn a_kubelet_that_is_quicker_with_its_status_does_not_unmake_a_binding() {
        let store = Arc::new(Store::builder().build());
        for number in 0..200 {
            let name = format!("p{number}");
            let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"},
                "spec": {"containers": [{"name": "c", "image": "i"}]}});
            store.create(&PODS, pod).expect("a pod");
            let (kubelet, watched) = (Arc::clone(&store), name.clone());
            let kubelet = std::thread::spawn(move || {
                let is_bound = |pod: &Object| pod["spec"]["nodeName"].is_string();
                while !kubelet
                    .get(&PODS, Some("default"), &watched)
                    .is_ok_and(|pod| is_bound(&pod))
                {}
                kubelet.modify_status(&PODS, Some("default"), &watched, |pod: &mut Value| {
                    pod["status"]["phase"] = json!("Running");
                })
            });
            let bound = store
                .bind_pod("default", &name, "n")
                .expect("bound, whoever writes besides");
            assert_eq!(bound["spec"]["nodeName"], "n");
            kubelet.join().expect("no panic").expect("written");
            let pod = store.get(&PODS, Some("default"), &name).expect("there");
            assert_eq!(
                (&pod["status"]["phase"], &pod["status"]["conditions"][0]["type"]),
                (&json!("Running"), &json!("PodScheduled"))
            );
        }
    }
}
