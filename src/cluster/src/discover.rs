//! Reads the clusters before anything is deployed: versions, nodes, Cilium, and what its configuration claims. What may
//! not be read is left out with a warning.

pub(crate) mod cilium;
mod claims;
pub(crate) mod dns;
mod foreign_nodes;
mod global_services;
mod proxy;

pub use global_services::{GlobalService, global_services};

use crate::{
    ApiError, Contexts, ProgressSink, api::Cause, client::ClusterClient, environment::query::CiliumPods,
    ready::is_node_ready, schedulable::SchedulableNodes,
};
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::Node;
use kube::{ResourceExt, api::ListParams};
use meshproof_contract::{
    Claim, ClusterFacts, ClusterName, Flow, ForeignNode, Generation, GitFacts, NodeFacts, NodeName, OutsideFacts,
    Thresholds,
};
use std::{collections::BTreeMap, sync::Arc};

/// The clusters as found, and what the operators state about them: checks read both in the facts.
#[derive(Clone, Debug, Default)]
pub struct Discovery {
    /// The clusters in the order of their roles; DNS is filled in after the deployment, from the pods' `resolv.conf`.
    pub clusters: Vec<ClusterFacts>,
    /// What the live configuration claims; the operators' own claims replace those of their clusters.
    pub claims: Vec<Claim>,
    /// What the operators' repository says of Cilium.
    pub git: Option<GitFacts>,
    /// The service levels that the operators promise.
    pub thresholds: Thresholds,
    /// Hosts outside the clusters that the operators name.
    pub outside: Vec<OutsideFacts>,
    /// Flows that the operators have written down.
    pub flows: Vec<Flow>,
    /// How random policies are made.
    pub generation: Generation,
    /// Nodes that are not Cilium's, and left out of the clusters' nodes.
    pub foreign_nodes: Vec<ForeignNode>,
    /// Cilium's own pods.
    pub(crate) cilium: BTreeMap<ClusterName, Arc<CiliumPods>>,
    /// Nodes that replicas may be scheduled on.
    pub(crate) schedulable: BTreeMap<ClusterName, SchedulableNodes>,
}

/// Reads all clusters at once.
pub async fn discover(contexts: &Contexts, progress: &ProgressSink) -> Result<Discovery, ApiError> {
    progress.waiting("nodes and Cilium configuration of each cluster");
    let found = try_join_all(contexts.clients().iter().map(|client| one(client, progress))).await?;
    let mut discovery = Discovery::default();
    for one in found {
        let name = one.facts.name.clone();
        discovery
            .cilium
            .extend(one.cilium_pods.map(|pods| (name.clone(), Arc::new(pods))));
        discovery
            .schedulable
            .extend(one.schedulable.map(|schedulable| (name, schedulable)));
        discovery.clusters.push(one.facts);
        discovery.foreign_nodes.extend(one.foreign);
        discovery.claims.extend(one.claims);
    }
    claims::agree(&discovery.clusters, &mut discovery.claims);
    Ok(discovery)
}

struct Found {
    facts: ClusterFacts,
    claims: Vec<Claim>,
    cilium_pods: Option<CiliumPods>,
    schedulable: Option<SchedulableNodes>,
    foreign: Vec<ForeignNode>,
}

async fn one(client: &ClusterClient, progress: &ProgressSink) -> Result<Found, ApiError> {
    let params = ListParams::default();
    let nodes = client.list_global::<Node>(&params);
    let (version, nodes, cilium) = tokio::join!(client.version(), nodes, cilium::find(client, progress));
    let nodes = allowed(nodes, progress, "the number of agents is taken from the DaemonSets")?.unwrap_or_default();
    let cilium = cilium?;
    let claims = match &cilium {
        Some(found) => claims::from_config(client.name(), found),
        None => Vec::new(),
    };
    let (nodes, foreign) = without_foreign(client, nodes, progress).await;
    let schedulable = SchedulableNodes::of(&nodes);
    let mut nodes: Vec<_> = nodes.iter().map(node).collect();
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    let (cilium, cilium_pods) = cilium.map(|found| (found.facts, found.pods)).unzip();
    let facts = ClusterFacts {
        name: client.name().clone(),
        context: client.endpoint().context.clone(),
        version: version?,
        nodes,
        dns: None,
        cilium,
    };
    Ok(Found {
        facts,
        claims,
        cilium_pods,
        schedulable,
        foreign,
    })
}

/// The nodes without those that are not Cilium's, which are told once; those are found by their own description, and
/// a CiliumNode shows that a node is Cilium's nevertheless.
async fn without_foreign(
    client: &ClusterClient,
    nodes: Vec<Node>,
    progress: &ProgressSink,
) -> (Vec<Node>, Vec<ForeignNode>) {
    let may_be = |node: &Node| foreign_nodes::what(node).or_else(|| foreign_nodes::without_kubelet(node));
    if nodes.iter().all(|node| may_be(node).is_none()) {
        return (nodes, Vec::new());
    }
    let listed = foreign_nodes::of_cilium(client).await;
    let (has_list, known) = (listed.is_some(), listed.unwrap_or_default());
    // That a node says nothing of itself counts only beside the list of Cilium's nodes.
    let what = |node: &Node| {
        if has_list {
            may_be(node)
        } else {
            foreign_nodes::what(node)
        }
    };
    let (mut own, mut foreign) = (Vec::new(), Vec::new());
    for node in nodes {
        match what(&node).filter(|_| !known.contains(&node.name_any())) {
            Some(what) => foreign.push(ForeignNode {
                cluster: client.name().clone(),
                node: NodeName::new(node.name_any()),
                what,
            }),
            None => own.push(node),
        }
    }
    for ForeignNode { cluster, node, what } in &foreign {
        progress.warning(format!(
            "{cluster}: node {node} is left out: it is {what}, and Cilium has no part in it"
        ));
    }
    (own, foreign)
}

fn node(node: &Node) -> NodeFacts {
    let (spec, status) = (node.spec.as_ref(), node.status.as_ref());
    let addresses = status.and_then(|s| s.addresses.as_ref()).into_iter().flatten();
    let mut pod_cidrs = spec.and_then(|s| s.pod_cidrs.clone()).unwrap_or_default();
    if pod_cidrs.is_empty() {
        pod_cidrs.extend(spec.and_then(|s| s.pod_cidr.clone()));
    }
    NodeFacts {
        name: NodeName::new(node.name_any()),
        addresses: addresses
            .filter(|a| a.type_ == "InternalIP")
            .filter_map(|a| a.address.parse().ok())
            .collect(),
        pod_cidrs,
        ready: is_node_ready(node),
        kernel: status
            .and_then(|s| s.node_info.as_ref())
            .map(|i| i.kernel_version.clone())
            .unwrap_or_default(),
    }
}

/// None with a warning where reading is forbidden; any other failure stays one.
pub(crate) fn allowed<T>(
    result: Result<T, ApiError>,
    progress: &ProgressSink,
    consequence: &str,
) -> Result<Option<T>, ApiError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_forbidden() => {
            let Cause::Forbidden(reason) = &error.cause else {
                return Ok(None);
            };
            progress.warning(format!(
                "{}: not allowed to {}, so {consequence} ({reason}); `meshproof rbac` prints the ClusterRole that \
                 grants it",
                error.endpoint.cluster, error.operation
            ));
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_node_as_kubernetes_shows_it() {
        let read = |value| node(&serde_json::from_value(value).expect("a node"));
        let facts = read(json!({
            "metadata": {"name": "apps-1"},
            "spec": {"podCIDR": "10.246.1.0/24", "podCIDRs": ["10.246.1.0/24"]},
            "status": {
                "addresses": [
                    {"type": "InternalIP", "address": "10.25.12.14"},
                    {"type": "Hostname", "address": "apps-1"},
                ],
                "conditions": [{"type": "MemoryPressure", "status": "False"}, {"type": "Ready", "status": "True"}],
            },
        }));
        assert_eq!(
            facts.addresses,
            ["10.25.12.14".parse::<std::net::IpAddr>().expect("address")]
        );
        assert_eq!((facts.ready, facts.pod_cidrs.len()), (true, 1));
        let bare = read(
            json!({"metadata": {"name": "n"}, "status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}}),
        );
        assert!(!bare.ready && bare.pod_cidrs.is_empty());
    }
}
