//! What of a lab is not ready yet.

use crate::{
    object::is_ready,
    state::{ClusterState, LabState},
};
use meshproof_apiserver::resource::names::{DAEMON_SETS, DEPLOYMENTS, NODES, PODS};
use serde_json::Value;

/// What is not ready yet, in words.
pub(super) fn missing(lab: &LabState) -> Vec<String> {
    lab.clusters.iter().flat_map(|cluster| missing_in(cluster)).collect()
}

fn missing_in(cluster: &ClusterState) -> Vec<String> {
    let (name, store) = (cluster.name(), &cluster.store);
    let mut missing = Vec::new();
    let nodes = store.all(&NODES, None);
    for node in &cluster.spec.nodes {
        let ready = nodes.iter().any(|n| n.name() == node.name && is_ready(n));
        if !ready {
            missing.push(format!("{name}: node {} is not ready", node.name));
        }
    }
    for deployment in store.all(&DEPLOYMENTS, None) {
        let wanted = deployment["spec"]["replicas"].as_i64().unwrap_or(1);
        if deployment["status"]["readyReplicas"].as_i64().unwrap_or_default() < wanted {
            missing.push(format!("{name}: deployment {} is not ready", deployment.name()));
        }
    }
    for set in store.all(&DAEMON_SETS, Some("kube-system")) {
        let status = &set["status"];
        let wanted = status["desiredNumberScheduled"].as_i64().unwrap_or(1);
        if wanted == 0 || status["numberReady"].as_i64().unwrap_or_default() < wanted {
            missing.push(format!("{name}: daemonset {} is not ready", set.name()));
        }
    }
    if !missing.is_empty() {
        let pods = store.all(&PODS, None);
        let unready = pods.iter().filter(|pod| !is_ready(pod));
        missing.extend(unready.map(|pod| format!("{name}: pod {} is {}", pod.name(), pod_state(pod))));
    }
    missing
}

/// A pod's phase or, better, what its first waiting container waits for.
pub(crate) fn pod_state(pod: &Value) -> String {
    let statuses = pod["status"]["containerStatuses"].as_array().into_iter().flatten();
    let waiting = statuses
        .map(|status| &status["state"]["waiting"])
        .find(|waiting| !waiting.is_null());
    match waiting {
        Some(waiting) => {
            let part = |field: &str| waiting[field].as_str().unwrap_or_default().to_owned();
            format!("{} {}", part("reason"), part("message")).trim_end().to_owned()
        }
        None => pod["status"]["phase"].as_str().unwrap_or("Pending").to_owned(),
    }
}
