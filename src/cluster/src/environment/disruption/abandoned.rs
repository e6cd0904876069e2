//! Disruptions that a killed run left in force: found by their annotations, and undone.

use super::{
    NodePower,
    cilium::{self, MESH_APISERVER, REPLICAS},
    node::{self, CORDONED, CUT},
};
use crate::{ApiError, ProgressSink, client::ClusterClient, discover::cilium::MESH_LABEL, ready::node_condition};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Node};
use kube::{ResourceExt, api::ListParams};
use meshproof_contract::{NodeName, text::counted};

/// Undoes the disruptions of runs that were killed; what was done, for people. What may not be read was not disrupted.
/// Warns of what only the operators can undo.
pub(crate) async fn undo_abandoned(
    client: &ClusterClient,
    power: Option<&dyn NodePower>,
    progress: &ProgressSink,
) -> Result<Vec<String>, ApiError> {
    let mut done = Vec::new();
    let nodes = client.list_global::<Node>(&ListParams::default()).await;
    for node in nodes.or_else(ApiError::none_if_forbidden)? {
        let name = NodeName::new(node.name_any());
        if node.annotations().contains_key(CORDONED) {
            node::uncordon(client, &name).await?;
            done.push(format!("uncordoned Node {name}"));
        }
        if let Some(run) = node.annotations().get(CUT) {
            match bring_back(client, &node, power).await {
                Ok(how) => {
                    node::erase_cut(client, &name).await?;
                    done.push(format!("{how} Node {name}"));
                }
                Err(why) => progress.warning(format!(
                    "{}: Node {name} is still cut off, by run {run}: {why}",
                    client.name()
                )),
            }
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

/// Brings a node back that a run cut off, unless it is back already; what was done, or why it could not be.
async fn bring_back(
    client: &ClusterClient,
    node: &Node,
    power: Option<&dyn NodePower>,
) -> Result<&'static str, String> {
    if node_condition(node) == Some("True") {
        return Ok("found again");
    }
    let unset = "bring it back, or set nodePower in meshproof.yaml and run `meshproof clean`";
    let power = power.ok_or(unset)?;
    power.restore(client.name(), &NodeName::new(node.name_any())).await?;
    Ok("brought back")
}
