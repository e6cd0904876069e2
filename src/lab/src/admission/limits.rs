//! LimitRanges (plugin LimitRanger): what containers are given that state no requests or limits, and what they may ask
//! for at least and at most.

use super::quantity::milli;
use meshproof_apiserver::{Admission, AdmissionRequest, ApiError, Operation, resource::names::LIMIT_RANGES};
use serde_json::{Value, json};

/// Enforces LimitRanges on new pods.
pub(crate) struct Limits;

impl Admission for Limits {
    fn admit(&self, request: &mut AdmissionRequest<'_>) -> Result<(), ApiError> {
        let is_pod = request.resource.plural == "pods" && request.resource.group.is_empty();
        if !is_pod || request.subresource.is_some() || request.operation != Operation::Create {
            return Ok(());
        }
        let ranges = request.store.all(&LIMIT_RANGES, request.namespace);
        let items = ranges
            .iter()
            .flat_map(|range| range["spec"]["limits"].as_array().into_iter().flatten());
        let items: Vec<&Value> = items.filter(|item| item["type"] == "Container").collect();
        let mut refused = Vec::new();
        for container in request.object["spec"]["containers"]
            .as_array_mut()
            .into_iter()
            .flatten()
        {
            for item in &items {
                complete(container, item);
                refused.extend(violations(container, item));
            }
        }
        match refused.len() {
            0 => Ok(()),
            1 => Err(ApiError::forbidden(request.resource, request.name, &refused[0])),
            _ => {
                let all = format!("[{}]", refused.join(", "));
                Err(ApiError::forbidden(request.resource, request.name, &all))
            }
        }
    }
}

fn complete(container: &mut Value, item: &Value) {
    for (section, defaults) in [("limits", "default"), ("requests", "defaultRequest")] {
        for (resource, value) in item[defaults].as_object().into_iter().flatten() {
            let stated = &mut container["resources"][section][resource];
            if stated.is_null() {
                *stated = value.clone();
            }
        }
    }
    // A limit without a request is the request, too.
    let limits = container["resources"]["limits"]
        .as_object()
        .cloned()
        .unwrap_or_default();
    for (resource, value) in limits {
        let stated = &mut container["resources"]["requests"][resource.as_str()];
        if stated.is_null() {
            *stated = value;
        }
    }
    if container["resources"] == json!({"requests": null}) {
        container["resources"] = json!({});
    }
}

fn violations(container: &Value, item: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let quantity = |value: &Value| value.as_str().and_then(milli);
    for (bound, section, word) in [("min", "requests", "minimum"), ("max", "limits", "maximum")] {
        for (resource, value) in item[bound].as_object().into_iter().flatten() {
            let bound = value.as_str().unwrap_or_default();
            let stated = &container["resources"][section][resource];
            let what = section.trim_end_matches('s');
            match (quantity(stated), milli(bound)) {
                (None, Some(_)) => found.push(format!(
                    "{word} {resource} usage per Container is {bound}.  No {what} is specified"
                )),
                (Some(is), Some(least)) if word == "minimum" && is < least => found.push(format!(
                    "minimum {resource} usage per Container is {bound}, but request is {}",
                    stated.as_str().unwrap_or_default()
                )),
                (Some(is), Some(most)) if word == "maximum" && is > most => found.push(format!(
                    "maximum {resource} usage per Container is {bound}, but limit is {}",
                    stated.as_str().unwrap_or_default()
                )),
                _ => {}
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use meshproof_apiserver::{
        Store,
        resource::names::{NAMESPACES, PODS},
    };

    fn pod(resources: Value) -> Value {
        json!({
            "metadata": {"name": "p", "namespace": "default"},
            "spec": {"containers": [{"name": "c", "image": "i", "resources": resources}]},
        })
    }

    #[test]
    fn containers_are_completed_and_bounded() {
        let store = Store::builder().admission(Limits).build();
        if store.find(&NAMESPACES, None, "default").is_none() {
            store
                .create(&NAMESPACES, json!({"metadata": {"name": "default"}}))
                .expect("a namespace");
        }
        let range = json!({
            "metadata": {"name": "r", "namespace": "default"},
            "spec": {"limits": [{"type": "Container", "default": {"cpu": "200m"}, "max": {"cpu": "1"}}]},
        });
        store.create(&LIMIT_RANGES, range).expect("a LimitRange");
        let greedy = store
            .create(&PODS, pod(json!({"limits": {"cpu": "2"}})))
            .expect_err("too much");
        let said = greedy.to_string();
        assert!(
            said.contains("maximum cpu usage per Container is 1, but limit is 2"),
            "{said}"
        );
        let modest = store.create(&PODS, pod(json!({}))).expect("completed");
        let resources = &modest["spec"]["containers"][0]["resources"];
        assert_eq!(resources["limits"]["cpu"], "200m");
        assert_eq!(resources["requests"]["cpu"], "200m");
    }
}
