//! Disruptions that a killed run left in force: found by their annotations, and undone.

use super::{
    cilium::{self, MESH_APISERVER, REPLICAS},
    node::{self, CORDONED},
};
use crate::{ApiError, client::ClusterClient, discover::cilium::MESH_LABEL};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Node};
use kube::{ResourceExt, api::ListParams};
use meshproof_contract::{NodeName, text::counted};

/// Undoes the disruptions of runs that were killed; what was done, for people. What may not be read was not disrupted.
pub(crate) async fn undo_abandoned(client: &ClusterClient) -> Result<Vec<String>, ApiError> {
    let mut done = Vec::new();
    let nodes = client.list_global::<Node>(&ListParams::default()).await;
    for node in nodes.or_else(ApiError::none_if_forbidden)? {
        if node.annotations().contains_key(CORDONED) {
            node::uncordon(client, &NodeName::new(node.name_any())).await?;
            done.push(format!("uncordoned Node {}", node.name_any()));
        }
    }
    let labelled = ListParams::default().labels(MESH_LABEL);
    let deployments = client.list::<Deployment>(None, &labelled).await;
    for deployment in deployments.or_else(ApiError::none_if_forbidden)? {
        let namespace = deployment.namespace().unwrap_or_default();
        if deployment.annotations().contains_key(REPLICAS)
            && let Some(replicas) = cilium::scale_back(client, &namespace).await?
        {
            let replicas = counted(replicas as usize, "replica");
            done.push(format!(
                "scaled Deployment {namespace}/{MESH_APISERVER} back to {replicas}"
            ));
        }
    }
    Ok(done)
}
