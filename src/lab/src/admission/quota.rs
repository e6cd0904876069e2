//! ResourceQuotas (plugin ResourceQuota): what a namespace may hold in all. Used amounts are counted from the objects
//! that exist, so the plugin keeps none.

use super::quantity::{milli, text};
use meshproof_apiserver::{
    Admission, AdmissionRequest, ApiError, Operation,
    resource::names::{PODS, RESOURCE_QUOTAS, SERVICES},
};
use serde_json::Value;
use std::collections::BTreeMap;

/// Enforces ResourceQuotas on new pods and on Services.
pub(crate) struct Quotas;

impl Admission for Quotas {
    fn admit(&self, request: &mut AdmissionRequest<'_>) -> Result<(), ApiError> {
        let (plural, group) = (&*request.resource.plural, &*request.resource.group);
        let counts = matches!(
            (plural, request.operation),
            ("pods", Operation::Create) | ("services", Operation::Create | Operation::Update)
        );
        if !counts || !group.is_empty() || request.subresource.is_some() {
            return Ok(());
        }
        for quota in request.store.all(&RESOURCE_QUOTAS, request.namespace) {
            let hard = quota["spec"]["hard"].as_object().cloned().unwrap_or_default();
            let missing = missing(plural, request.object, &hard);
            if !missing.is_empty() {
                let why = format!("failed quota: {}: must specify {}", quota.name(), missing.join("; "));
                return Err(ApiError::forbidden(request.resource, request.name, &why));
            }
            if let Some(why) = exceeded(request, plural, &hard) {
                let why = format!("exceeded quota: {}, {why}", quota.name());
                return Err(ApiError::forbidden(request.resource, request.name, &why));
            }
        }
        Ok(())
    }
}

type Hard = serde_json::Map<String, Value>;

/// A quota of requests or limits demands that every container states them.
fn missing(plural: &str, object: &Value, hard: &Hard) -> Vec<String> {
    if plural != "pods" {
        return Vec::new();
    }
    let demanded = hard
        .keys()
        .filter_map(|key| demanded(key).map(|(section, resource)| (key, section, resource)));
    let lacking = demanded.filter_map(|(key, section, resource)| {
        let containers = object["spec"]["containers"].as_array().into_iter().flatten();
        let without = containers.filter(|container| container["resources"][section][resource].is_null());
        let names: Vec<&str> = without.filter_map(|container| container["name"].as_str()).collect();
        (!names.is_empty()).then(|| format!("{key} for: {}", names.join(",")))
    });
    lacking.collect()
}

/// `limits.cpu` as section and resource; `cpu` alone is its request.
fn demanded(key: &str) -> Option<(&str, &str)> {
    match key.split_once('.') {
        Some((section @ ("requests" | "limits"), resource)) => Some((section, resource)),
        None if matches!(key, "cpu" | "memory") => Some(("requests", key)),
        _ => None,
    }
}

fn exceeded(request: &AdmissionRequest<'_>, plural: &str, hard: &Hard) -> Option<String> {
    let resource = if plural == "pods" { &PODS } else { &SERVICES };
    let others = request.store.all(resource, request.namespace);
    let mut used: BTreeMap<&String, i128> = BTreeMap::new();
    for other in others
        .iter()
        .filter(|other| other.name() != request.name && is_charged(other))
    {
        for key in hard.keys() {
            *used.entry(key).or_default() += charge(plural, other, key);
        }
    }
    let over = hard.iter().filter_map(|(key, limit)| {
        let limit = limit.as_str().map(str::to_owned).unwrap_or_else(|| limit.to_string());
        let asked = charge(plural, request.object, key);
        let used = used.get(key).copied().unwrap_or_default();
        (asked > 0 && used + asked > milli(&limit)?).then(|| {
            let [asked, used] = [asked, used].map(|amount| format!("{key}={}", text(amount, &limit)));
            (asked, used, format!("{key}={limit}"))
        })
    });
    let (mut asked, mut used, mut limited) = (Vec::new(), Vec::new(), Vec::new());
    for (a, u, l) in over {
        asked.push(a);
        used.push(u);
        limited.push(l);
    }
    (!asked.is_empty()).then(|| {
        format!(
            "requested: {}, used: {}, limited: {}",
            asked.join(","),
            used.join(","),
            limited.join(",")
        )
    })
}

/// Pods that have ended count no more.
fn is_charged(object: &Value) -> bool {
    !matches!(object["status"]["phase"].as_str(), Some("Succeeded" | "Failed"))
}

/// What an object takes of a quota, in thousandths.
fn charge(plural: &str, object: &Value, key: &str) -> i128 {
    let ports = || object["spec"]["ports"].as_array().map_or(0, Vec::len) as i128;
    let kind = object["spec"]["type"].as_str().unwrap_or("ClusterIP");
    match (plural, key) {
        ("pods", "pods" | "count/pods") | ("services", "services" | "count/services") => 1_000,
        ("services", "services.nodeports") if matches!(kind, "NodePort" | "LoadBalancer") => ports() * 1_000,
        ("services", "services.loadbalancers") if kind == "LoadBalancer" => 1_000,
        ("pods", key) => demanded(key).map_or(0, |(section, resource)| {
            let containers = object["spec"]["containers"].as_array().into_iter().flatten();
            let stated = containers.filter_map(|c| milli(c["resources"][section][resource].as_str()?));
            stated.sum()
        }),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use meshproof_apiserver::{Store, resource::names::NAMESPACES};
    use serde_json::json;

    fn store(hard: Value) -> Store {
        let store = Store::builder().admission(Quotas).build();
        if store.find(&NAMESPACES, None, "default").is_none() {
            store
                .create(&NAMESPACES, json!({"metadata": {"name": "default"}}))
                .expect("a namespace");
        }
        let quota = json!({"metadata": {"name": "q", "namespace": "default"}, "spec": {"hard": hard}});
        store.create(&RESOURCE_QUOTAS, quota).expect("a quota");
        store
    }

    fn pod(name: &str, resources: Value) -> Value {
        json!({
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"containers": [{"name": "c", "image": "i", "resources": resources}]},
        })
    }

    fn refused(store: &Store, resource: &meshproof_apiserver::Resource, object: Value) -> String {
        store.create(resource, object).expect_err("refused").to_string()
    }

    #[test]
    fn pods_are_counted_and_must_state_what_is_limited() {
        let store = store(json!({"pods": "1", "limits.cpu": "1"}));
        let said = refused(&store, &PODS, pod("a", json!({})));
        assert!(
            said.contains("failed quota: q: must specify limits.cpu for: c"),
            "{said}"
        );
        store
            .create(&PODS, pod("a", json!({"limits": {"cpu": "600m"}})))
            .expect("fits");
        let said = refused(&store, &PODS, pod("b", json!({"limits": {"cpu": "600m"}})));
        let expected = "exceeded quota: q, requested: limits.cpu=600m,pods=1, used: limits.cpu=600m,pods=1, limited: \
                        limits.cpu=1,pods=1";
        assert!(said.contains(expected), "{said}");
    }

    #[test]
    fn node_ports_can_be_forbidden_alone() {
        let store = store(json!({"services.nodeports": "0"}));
        let service = |name: &str, kind: &str| {
            json!({
                "metadata": {"name": name, "namespace": "default"},
                "spec": {
                    "type": kind, "clusterIP": "10.0.0.9",
                    "ports": [{"name": "http", "port": 80, "nodePort": 30000}],
                },
            })
        };
        let said = refused(&store, &SERVICES, service("n", "NodePort"));
        let expected = "exceeded quota: q, requested: services.nodeports=1, used: services.nodeports=0, limited: \
                        services.nodeports=0";
        assert!(said.contains(expected), "{said}");
        let mut plain = service("c", "ClusterIP");
        plain["spec"]["ports"] = json!([{"name": "http", "port": 80}]);
        store.create(&SERVICES, plain).expect("a cluster IP needs no node port");
    }
}
