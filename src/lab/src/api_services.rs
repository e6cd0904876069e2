//! The APIServices that an API server registers for its own groups. Aggregated APIs of others are no part of the lab.

use crate::{
    state::{ClusterState, LabState},
    system::Addon,
};
use meshproof_apiserver::resource::names::API_SERVICES;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// One for each group and version that is served when it is asked: after those that bring definitions.
pub(crate) struct ApiServicesAddon;

impl Addon for ApiServicesAddon {
    fn name(&self) -> &'static str {
        "kube-apiserver"
    }

    fn manifests(&self, _: &LabState, cluster: &ClusterState) -> Vec<Value> {
        let definitions = cluster.store.definitions();
        let served: BTreeSet<(&str, &str)> = definitions
            .iter()
            .map(|def| (def.group.as_ref(), def.version.as_ref()))
            .collect();
        served
            .into_iter()
            .map(|(group, version)| local(group, version))
            .collect()
    }
}

fn local(group: &str, version: &str) -> Value {
    let message = "Local APIServices are always available";
    json!({
        "apiVersion": API_SERVICES.group().to_owned() + "/v1",
        "kind": "APIService",
        "metadata": {
            "name": format!("{version}.{group}"),
            "labels": {"kube-aggregator.kubernetes.io/automanaged": "onstart"},
        },
        "spec": {"group": group, "version": version, "groupPriorityMinimum": 1000, "versionPriority": 100},
        "status": {"conditions": [{
            "type": "Available", "status": "True", "reason": "Local", "message": message,
            "lastTransitionTime": crate::object::now(),
        }]},
    })
}
