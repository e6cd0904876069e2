//! Nodes that are cut off, with the record of it, and nodes that are cordoned and lose the run's own pods.

use crate::{
    ApiError,
    api::Operation,
    client::ClusterClient,
    name::{NAMESPACES, SCENARIO, of_run},
    ready::node_condition,
};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use meshproof_contract::{NodeName, RunId};
use serde_json::{Value, json};

/// On a node that a run cordoned: the run.
pub(super) const CORDONED: &str = "meshproof.dev/cordoned-by";

/// On a node that a run cut off by the operators' command: the run.
pub(super) const CUT: &str = "meshproof.dev/cut-off-by";

/// Records on a node that this run cuts it off.
pub(super) async fn record_cut(client: &ClusterClient, node: &NodeName, run: &RunId) -> Result<(), ApiError> {
    patch(client, node, json!({"metadata": {"annotations": {CUT: run.as_str()}}})).await
}

/// Takes back the record of a node that is there again.
pub(super) async fn erase_cut(client: &ClusterClient, node: &NodeName) -> Result<(), ApiError> {
    patch(client, node, json!({"metadata": {"annotations": {CUT: null}}})).await
}

pub(super) async fn cordon(client: &ClusterClient, node: &NodeName, run: &RunId) -> Result<(), ApiError> {
    let present = get(client, node).await?;
    if present.spec.and_then(|spec| spec.unschedulable) == Some(true) {
        // The operators cordoned it: it stays so.
        return Ok(());
    }
    let change = json!({
        "metadata": {"annotations": {CORDONED: run.as_str()}}, "spec": {"unschedulable": true},
    });
    patch(client, node, change).await
}

/// Uncordons a node that a run cordoned.
pub(super) async fn uncordon(client: &ClusterClient, node: &NodeName) -> Result<(), ApiError> {
    if !get(client, node).await?.annotations().contains_key(CORDONED) {
        return Ok(());
    }
    let change = json!({
        "metadata": {"annotations": {CORDONED: null}}, "spec": {"unschedulable": null},
    });
    patch(client, node, change).await
}

/// Deletes the run's pods of that scenario on the node, without grace.
pub(super) async fn delete_own_pods(
    client: &ClusterClient,
    node: &NodeName,
    run: &RunId,
    scenario: &str,
) -> Result<(), ApiError> {
    let params = ListParams::default().labels(&format!("{},{SCENARIO}={scenario}", of_run(run)));
    let at_once = DeleteParams::default().grace_period(0);
    for namespace in NAMESPACES {
        for pod in client.list::<Pod>(Some(namespace), &params).await? {
            if node_of(&pod) == Some(node.as_str()) {
                delete_pod(client, &pod, &at_once).await?;
            }
        }
    }
    Ok(())
}

/// Deletes a pod; one that is gone already is not an error.
pub(super) async fn delete_pod(client: &ClusterClient, pod: &Pod, params: &DeleteParams) -> Result<(), ApiError> {
    let (namespace, name) = (pod.namespace().unwrap_or_default(), pod.name_any());
    let operation = Operation::on("delete", "pods").within(&namespace).named(&name);
    let deleting = client.within::<Pod>(&namespace);
    match client.call(operation, deleting.delete(&name, params)).await {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
}

pub(super) fn node_of(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref()
}

/// Why a node is not ready; none when it is.
pub(super) async fn not_ready(client: &ClusterClient, node: &NodeName) -> Result<Option<String>, ApiError> {
    let found = get(client, node).await?;
    Ok(match node_condition(&found) {
        Some("True") => None,
        Some(status) => Some(format!("condition Ready of node {node} is {status}")),
        None => Some(format!("node {node} has no condition Ready")),
    })
}

async fn get(client: &ClusterClient, node: &NodeName) -> Result<Node, ApiError> {
    let api = Api::<Node>::all(client.kube());
    let operation = Operation::on("get", "nodes").named(node.as_str());
    client.call(operation, api.get(node.as_str())).await
}

async fn patch(client: &ClusterClient, node: &NodeName, change: Value) -> Result<(), ApiError> {
    let api = Api::<Node>::all(client.kube());
    let operation = Operation::on("patch", "nodes").named(node.as_str());
    let (params, change) = (PatchParams::default(), Patch::Merge(change));
    let patched = client.call(operation, api.patch(node.as_str(), &params, &change));
    patched.await.map(drop)
}
