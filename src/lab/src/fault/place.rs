//! Where faults act in a lab: the nodes and pods that the catalogue speaks of, found in its state.
//!
//! "The pair" is the first two nodes of the first cluster, "the mesh" lies between the first cluster and the last. A
//! lab with one node or one cluster lacks some places, and the fault says so.

use std::net::Ipv4Addr;

use meshproof_apiserver::resource::names::ENDPOINT_SLICES;
use meshproof_datapath::Nodes;

use crate::state::{ClusterState, LabState, NodeState, PodNetwork, PodState};

/// Why a place does not exist.
pub(super) type Missing = String;

/// Namespaces whose pods are the cluster's own.
const SYSTEM: [&str; 1] = ["kube-system"];

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

/// The two nodes of the pair.
pub(super) fn pair(lab: &LabState) -> Result<(Nodes, Nodes), Missing> {
    match first(lab)?.nodes() {
        [a, b, ..] => Ok((one(a), one(b))),
        _ => Err("the first cluster has fewer than two nodes".to_owned()),
    }
}

/// One node of the first cluster and one of the last.
pub(super) fn mesh_pair(lab: &LabState) -> Result<(Nodes, Nodes), Missing> {
    let node = |cluster: &ClusterState| {
        cluster
            .nodes()
            .last()
            .map(|node| one(node))
            .ok_or("a cluster has no nodes")
    };
    Ok((node(first(lab)?)?, node(last(lab)?)?))
}

/// Both sides of the mesh.
pub(super) fn mesh(lab: &LabState) -> Result<(Nodes, Nodes), Missing> {
    Ok((nodes(first(lab)?), nodes(last(lab)?)))
}

/// The first node of the first cluster.
pub(super) fn first_node(lab: &LabState) -> Result<&NodeState, Missing> {
    let node = first(lab)?.nodes().first();
    node.map(AsRef::as_ref)
        .ok_or_else(|| "the first cluster has no node".to_owned())
}

fn one(node: &NodeState) -> Nodes {
    Nodes::one(node.handle.name().clone())
}

/// The pods of applications on a node, with a network of their own.
pub(super) fn applications(node: &NodeState) -> Vec<PodState> {
    let own =
        |pod: &PodState| matches!(pod.network, PodNetwork::Own { .. }) && !SYSTEM.contains(&pod.namespace.as_str());
    node.pods().into_iter().filter(own).collect()
}

/// An application's pod on the first node that answers for a service, and the other applications' pods there; none while
/// applications have no pod there.
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
