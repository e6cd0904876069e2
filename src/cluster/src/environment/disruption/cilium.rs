//! Cilium's agents and the clustermesh-apiserver: restarted, scaled to zero and back.

use super::node::{delete_pod, node_of};
use crate::{
    ApiError,
    api::Operation,
    client::ClusterClient,
    discover::cilium::{AGENT_LABEL, MESH_LABEL},
};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::{
    ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use meshproof_contract::NodeName;
use serde_json::{Value, json};

/// Name of the Deployment.
pub(super) const MESH_APISERVER: &str = "clustermesh-apiserver";
/// On a Deployment that a run scaled to zero: its replicas before.
pub(super) const REPLICAS: &str = "meshproof.dev/replicas";

/// The agent's pod on a node.
pub(super) async fn agent(client: &ClusterClient, namespace: &str, node: &NodeName) -> Result<Option<Pod>, ApiError> {
    let params = ListParams::default().labels(AGENT_LABEL);
    let mut pods = client.list::<Pod>(Some(namespace), &params).await?.into_iter();
    Ok(pods.find(|pod| node_of(pod) == Some(node.as_str()) && pod.metadata.deletion_timestamp.is_none()))
}

/// Deletes the agent's pod, which its DaemonSet replaces.
pub(super) async fn delete_agent(client: &ClusterClient, pod: &Pod) -> Result<(), ApiError> {
    delete_pod(client, pod, &DeleteParams::default()).await
}

pub(super) async fn mesh_pods(client: &ClusterClient, namespace: &str) -> Result<Vec<Pod>, ApiError> {
    let params = ListParams::default().labels(MESH_LABEL);
    client.list::<Pod>(Some(namespace), &params).await
}

pub(super) async fn scale_to_zero(client: &ClusterClient, namespace: &str) -> Result<(), ApiError> {
    let Some(deployment) = client.get::<Deployment>(namespace, MESH_APISERVER).await? else {
        return Ok(());
    };
    let replicas = deployment.spec.and_then(|spec| spec.replicas).unwrap_or(1);
    if replicas == 0 {
        return Ok(());
    }
    let change = json!({
        "metadata": {"annotations": {REPLICAS: replicas.to_string()}}, "spec": {"replicas": 0},
    });
    patch(client, namespace, MESH_APISERVER, change).await
}

/// Gives the Deployment the replicas that it had before a run scaled it to zero, and returns their number; none if no
/// run did.
pub(super) async fn scale_back(client: &ClusterClient, namespace: &str) -> Result<Option<u32>, ApiError> {
    let found = client.get::<Deployment>(namespace, MESH_APISERVER).await;
    let Some(deployment) = found.or_else(ApiError::none_if_forbidden)? else {
        return Ok(None);
    };
    let before = deployment.annotations().get(REPLICAS);
    let Some(replicas) = before.and_then(|replicas| replicas.parse::<u32>().ok()) else {
        return Ok(None);
    };
    let change = json!({
        "metadata": {"annotations": {REPLICAS: null}}, "spec": {"replicas": replicas},
    });
    patch(client, namespace, MESH_APISERVER, change).await?;
    Ok(Some(replicas))
}

/// Changes a Deployment.
pub(super) async fn patch(client: &ClusterClient, namespace: &str, name: &str, change: Value) -> Result<(), ApiError> {
    let api = client.within::<Deployment>(namespace);
    let operation = Operation::on("patch", "deployments.apps").within(namespace).named(name);
    let (params, change) = (PatchParams::default(), Patch::Merge(change));
    let patched = client.call(operation, api.patch(name, &params, &change));
    patched.await.map(drop)
}
