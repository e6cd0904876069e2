//! What faults act on in a lab: the nodes and pods that a [`Scope`] stands for, found in the lab's state. A lab with
//! one node or one cluster lacks some of them, and the fault is refused with what is missing.

use crate::{
    fault::Scope,
    others,
    state::{ClusterState, LabState, NodeState, PodNetwork, PodState},
};
use meshproof_apiserver::resource::names::ENDPOINT_SLICES;
use meshproof_datapath::Nodes;
use std::{net::Ipv4Addr, sync::Arc};

/// What is missing for a fault, in words.
pub(super) type Missing = String;

/// Namespaces whose pods were there before those that faults act on.
const PRESENT: [&str; 2] = ["kube-system", others::NAMESPACE];

/// The nodes on the two sides of a scope between nodes; of a scope of one node that node on both.
pub(super) fn sides(lab: &LabState, scope: Scope) -> Result<(Nodes, Nodes), Missing> {
    match scope {
        Scope::NodePair => pair(lab).map(|(a, b)| (one(a), one(b))),
        Scope::MeshPair => Ok((one(last_of(first(lab)?)?), one(last_of(last(lab)?)?))),
        Scope::Mesh => Ok((nodes(first(lab)?), nodes(last(lab)?))),
        Scope::FirstNode => first_node(lab).map(|node| (one(node), one(node))),
        other => Err(format!("a fault of scope {other:?} has no two sides")),
    }
}

/// The first cluster.
pub(super) fn first(lab: &LabState) -> Result<&ClusterState, Missing> {
    lab.clusters
        .first()
        .map(AsRef::as_ref)
        .ok_or_else(|| "the lab has no cluster".to_owned())
}

/// The last cluster, if there are two.
pub(super) fn last(lab: &LabState) -> Result<&ClusterState, Missing> {
    let last = lab.clusters.last().filter(|_| lab.clusters.len() > 1);
    last.map(AsRef::as_ref)
        .ok_or_else(|| "the lab has only one cluster".to_owned())
}

/// All nodes of a cluster.
pub(super) fn nodes(cluster: &ClusterState) -> Nodes {
    cluster.nodes().iter().map(|node| node.handle.name().clone()).collect()
}

/// The first two nodes of the first cluster.
pub(super) fn pair(lab: &LabState) -> Result<(&NodeState, &NodeState), Missing> {
    match first(lab)?.nodes() {
        [a, b, ..] => Ok((a, b)),
        _ => Err("the first cluster has fewer than two nodes".to_owned()),
    }
}

/// The first node of the first cluster.
pub(super) fn first_node(lab: &LabState) -> Result<&NodeState, Missing> {
    let node = first(lab)?.nodes().first();
    node.map(AsRef::as_ref)
        .ok_or_else(|| "the first cluster has no node".to_owned())
}

/// The last node of the last cluster, be it the only one.
pub(super) fn last_node(lab: &LabState) -> Result<&Arc<NodeState>, Missing> {
    let last = lab.clusters.last().ok_or("the lab has no cluster")?;
    last_of(last)
}

fn last_of(cluster: &ClusterState) -> Result<&Arc<NodeState>, Missing> {
    cluster
        .nodes()
        .last()
        .ok_or_else(|| format!("cluster {} has no node", cluster.name()))
}

/// This node alone.
pub(super) fn one(node: &NodeState) -> Nodes {
    Nodes::one(node.handle.name().clone())
}

/// The pods of applications on a node, with a network of their own.
pub(super) fn applications(node: &NodeState) -> Vec<PodState> {
    let own =
        |pod: &PodState| matches!(pod.network, PodNetwork::Own { .. }) && !PRESENT.contains(&pod.namespace.as_str());
    node.pods().into_iter().filter(own).collect()
}

/// An application's pod on the first node that answers for a service, and the other applications' pods there; none
/// while applications have no pod there.
pub(super) fn backend(lab: &LabState) -> Result<Option<(Ipv4Addr, Vec<Ipv4Addr>)>, Missing> {
    let node = first_node(lab)?;
    let slices = first(lab)?.store.all(&ENDPOINT_SLICES, None);
    let served = |pod: &PodState| {
        slices
            .iter()
            .filter(|slice| slice.namespace() == Some(&pod.namespace))
            .any(|slice| {
                let endpoints = slice["endpoints"].as_array().into_iter().flatten();
                endpoints
                    .into_iter()
                    .any(|endpoint| endpoint["targetRef"]["uid"] == pod.uid.as_str())
            })
    };
    let pods = applications(node);
    let Some(backend) = pods.iter().find(|pod| served(pod)).or(pods.first()) else {
        return Ok(None);
    };
    let others = pods.iter().filter(|pod| pod.uid != backend.uid).map(|pod| pod.address);
    Ok(Some((backend.address, others.collect())))
}
