//! What faults act on in a lab: the nodes and pods that a [`Scope`] stands for, found in the lab's state in the order
//! that was drawn for the fault. A lab with one node or one cluster lacks some of them, and the fault is refused with
//! what is missing.

use crate::{
    fault::{Fault, Scope},
    flux, ipcache, others, platform,
    profile::RoutingMode,
    state::{ClusterState, LabState, NodeState, PodNetwork, PodState},
};
use meshproof_apiserver::resource::names::ENDPOINT_SLICES;
use meshproof_datapath::Nodes;
use std::{net::Ipv4Addr, sync::Arc, time::Duration};

/// What is missing for a fault, in words.
pub(super) type Missing = String;

/// Where the chart installs SPIRE.
pub(super) const SPIRE: &str = "cilium-spire";

/// Namespaces whose pods were there before those that faults act on.
const PRESENT: [&str; 6] = [
    "kube-system",
    SPIRE,
    flux::NAMESPACE,
    others::NAMESPACE,
    platform::CLIENTS,
    platform::NAMESPACE,
];

/// The nodes on the two sides of a scope between nodes; of a scope of one node that node on both.
pub(super) fn sides(lab: &Site<'_>, scope: Scope) -> Result<(Nodes, Nodes), Missing> {
    match scope {
        Scope::NodePair => pair(lab).map(|(a, b)| (one(a), one(b))),
        Scope::MeshPair => Ok((one(last_of(lab, first(lab)?)?), one(last_of(lab, last(lab)?)?))),
        Scope::Mesh => Ok((nodes(first(lab)?), nodes(last(lab)?))),
        Scope::FirstNode => first_node(lab).map(|node| (one(node), one(node))),
        other => Err(format!("a fault of scope {other:?} has no two sides")),
    }
}

/// A lab as one fault meets it: clusters and nodes in the order that was drawn for it.
pub(super) struct Site<'a> {
    lab: &'a LabState,
    fault: Fault,
    clusters: Vec<&'a Arc<ClusterState>>,
}

impl<'a> Site<'a> {
    /// The lab as the fault meets it.
    pub(super) fn of(lab: &'a LabState, fault: Fault) -> Self {
        let clusters = lab.drawn_clusters(fault);
        Self { lab, fault, clusters }
    }

    /// The share that the fault has at its size.
    pub(super) fn share(&self) -> f64 {
        self.lab.faults.share(self.fault)
    }

    /// The time that the fault has at its size.
    pub(super) fn time(&self) -> Duration {
        self.lab.faults.time(self.fault)
    }

    /// Whether pods' packets travel as they are.
    pub(super) fn routes_natively(&self) -> bool {
        self.lab.topology.settings().routing == RoutingMode::Native
    }

    /// Whether nodes encrypt what they themselves send each other.
    pub(super) fn encrypts_nodes(&self) -> bool {
        self.lab.topology.settings().node_encryption
    }

    /// Every node of every cluster.
    pub(super) fn nodes(&self) -> impl Iterator<Item = (&'a Arc<ClusterState>, &'a Arc<NodeState>)> {
        self.lab.nodes()
    }

    fn nodes_of(&self, cluster: &'a ClusterState) -> Vec<&'a Arc<NodeState>> {
        self.lab.drawn_nodes(self.fault, cluster)
    }
}

/// The first cluster.
pub(super) fn first<'a>(lab: &Site<'a>) -> Result<&'a ClusterState, Missing> {
    let first = lab.clusters.first().map(|cluster| &***cluster);
    first.ok_or_else(|| "the lab has no cluster".to_owned())
}

/// The last cluster, if there are two.
pub(super) fn last<'a>(lab: &Site<'a>) -> Result<&'a ClusterState, Missing> {
    let last = lab.clusters.last().filter(|_| lab.clusters.len() > 1);
    last.map(|cluster| &***cluster)
        .ok_or_else(|| "the lab has only one cluster".to_owned())
}

/// The cluster that was drawn when the fault was injected.
pub(super) fn drawn<'a>(lab: &Site<'a>) -> Result<&'a ClusterState, Missing> {
    let place = lab.lab.drawn.place(lab.fault);
    let cluster = place.and_then(|place| lab.lab.cluster(&place.cluster));
    cluster
        .map(AsRef::as_ref)
        .ok_or_else(|| "no cluster was drawn".to_owned())
}

/// The node that was drawn when the fault was injected.
pub(super) fn drawn_node<'a>(lab: &Site<'a>) -> Result<&'a NodeState, Missing> {
    let place = lab.lab.drawn.place(lab.fault);
    let node = place.and_then(|place| {
        let mut nodes = lab.lab.nodes();
        nodes.find(|(cluster, node)| cluster.name() == place.cluster && node.name() == place.node)
    });
    node.map(|(_, node)| node.as_ref())
        .ok_or_else(|| "no node was drawn".to_owned())
}

/// All nodes of a cluster.
pub(super) fn nodes(cluster: &ClusterState) -> Nodes {
    cluster.nodes().iter().map(|node| node.handle.name().clone()).collect()
}

/// The first two nodes of the first cluster.
pub(super) fn pair<'a>(lab: &Site<'a>) -> Result<(&'a NodeState, &'a NodeState), Missing> {
    match lab.nodes_of(first(lab)?).as_slice() {
        [a, b, ..] => Ok((a, b)),
        _ => Err(format!("cluster {} has fewer than two nodes", first(lab)?.name())),
    }
}

/// The first node of the first cluster.
pub(super) fn first_node<'a>(lab: &Site<'a>) -> Result<&'a NodeState, Missing> {
    let cluster = first(lab)?;
    let node = lab.nodes_of(cluster).into_iter().next();
    node.map(AsRef::as_ref).ok_or_else(|| without_nodes(cluster))
}

/// The last node of the last cluster, be it the only one.
pub(super) fn last_node<'a>(lab: &Site<'a>) -> Result<&'a Arc<NodeState>, Missing> {
    let last = lab.clusters.last().ok_or("the lab has no cluster")?;
    last_of(lab, last)
}

fn last_of<'a>(lab: &Site<'a>, cluster: &'a ClusterState) -> Result<&'a Arc<NodeState>, Missing> {
    let last = lab.nodes_of(cluster).into_iter().next_back();
    last.ok_or_else(|| without_nodes(cluster))
}

fn without_nodes(cluster: &ClusterState) -> Missing {
    format!("cluster {} has no node", cluster.name())
}

/// This node alone.
pub(super) fn one(node: &NodeState) -> Nodes {
    Nodes::one(node.handle.name().clone())
}

/// The node that lacks the key of a pod, with the pod's address; none while there is no such pod.
pub(super) fn keyless(lab: &Site<'_>) -> Option<(Nodes, Ipv4Addr)> {
    let mut all = lab.nodes();
    all.find_map(|(cluster, node)| Some((one(node), ipcache::keyless(lab.lab, cluster, node)?)))
}

/// The pods of applications on a node, with a network of their own.
pub(super) fn applications(node: &NodeState) -> Vec<PodState> {
    let own =
        |pod: &PodState| matches!(pod.network, PodNetwork::Own { .. }) && !PRESENT.contains(&pod.namespace.as_str());
    node.pods().into_iter().filter(own).collect()
}

/// An application's pod on the first node that answers for a service, and the other applications' pods there; none
/// while applications have no pod there.
pub(super) fn backend(lab: &Site<'_>) -> Result<Option<(Ipv4Addr, Vec<Ipv4Addr>)>, Missing> {
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
