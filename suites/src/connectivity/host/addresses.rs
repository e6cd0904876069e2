//! Which addresses a node may speak from.

use crate::kit::{
    matrix::{Cell, Deviation, Path},
    recent::{self, Age},
};
use meshproof_contract::{CheckContext, ClusterName, NodeName};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

const SOURCE: &str = "the pod sees an address of the asking node as the source";

/// The addresses of a cluster's nodes: InternalIPs, and those that Cilium gave them, from which a node speaks to pods
/// in most modes.
pub(super) struct NodeAddresses {
    known: BTreeMap<NodeName, BTreeSet<IpAddr>>,
    /// Whether Cilium's own could be read: without them a strange source cannot be judged.
    complete: Result<(), String>,
}

impl NodeAddresses {
    /// What is known now.
    pub(super) async fn read(context: &CheckContext, cluster: &ClusterName) -> Self {
        let facts = context.environment.facts();
        let mut known: BTreeMap<NodeName, BTreeSet<IpAddr>> = BTreeMap::new();
        let Some(facts) = facts.cluster(cluster) else {
            return Self {
                known,
                complete: Ok(()),
            };
        };
        for node in &facts.nodes {
            known.entry(node.name.clone()).or_default().extend(&node.addresses);
        }
        if facts.cilium.is_none() {
            return Self {
                known,
                complete: Ok(()),
            };
        }
        // Addresses of nodes do not change while checks run.
        let listed = recent::cilium_nodes(context, cluster, Age::OfThisRun).await;
        let complete = listed.as_ref().map(|_| ()).map_err(ToString::to_string);
        for node in listed.iter().flat_map(|nodes| nodes.iter()) {
            let name = node["metadata"]["name"].as_str().unwrap_or_default();
            let addresses = node["spec"]["addresses"].as_array().into_iter().flatten();
            let addresses = addresses.filter_map(|a| a["ip"].as_str()?.parse::<IpAddr>().ok());
            known.entry(NodeName::from(name)).or_default().extend(addresses);
        }
        Self { known, complete }
    }

    /// Whether the source that a pod saw is one of the asking node's.
    pub(super) fn judge(&self, path: &Path, source: Option<IpAddr>, cell: Cell) -> Cell {
        let Some(source) = source.map(|s| s.to_canonical()) else {
            return Cell::Unknown("the server did not report which source address it saw".to_owned());
        };
        if source == path.from.address || self.known.get(&path.from.node).is_some_and(|own| own.contains(&source)) {
            return cell;
        }
        if let Err(why) = &self.complete {
            return Cell::Unknown(format!(
                "source {source} may be one that Cilium gave the node, and CiliumNodes could not be read: {why}"
            ));
        }
        let owner = self.known.iter().find(|(_, own)| own.contains(&source));
        let owner = owner
            .map(|(node, _)| format!(", an address of node {node}"))
            .unwrap_or_default();
        Cell::Mismatch(
            Deviation::new(SOURCE, "the source address does not belong to the asking node")
                .with_detail(format!("the pod saw {source}{owner}")),
        )
    }
}
