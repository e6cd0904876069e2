//! The ipcache of each node: the identity of every address, as the node's own agent knows it. Those of all pods of all
//! clusters, of nodes, and of the world. In native routing a packet carries no identity, so its receiver, too, asks
//! here (semantics A40).

mod distortion;

use crate::{
    fault::Fault,
    state::{ClusterState, LabState, NodeState},
};
pub(crate) use distortion::{Distortion, keyless, unannounced, unknown_identity};
use ipnet::Ipv4Net;
use meshproof_datapath::Identity;
use std::{net::Ipv4Addr, sync::Arc};
use tokio_util::sync::CancellationToken;

/// Follows sandboxes and faults, and keeps the nodes informed.
pub(crate) async fn run(lab: Arc<LabState>, stop: CancellationToken) {
    let mut pods = lab.pods_changed();
    let mut faults = lab.faults.follow();
    loop {
        pods.borrow_and_update();
        faults.mark_unchanged();
        for (cluster, node) in lab.nodes() {
            node.handle.set_identities(known(&lab, cluster, node));
        }
        tokio::select! {
            () = stop.cancelled() => return,
            changed = pods.changed() => if changed.is_err() { return },
            changed = faults.changed() => if changed.is_err() { return },
        }
    }
}

/// What one node knows.
fn known(lab: &LabState, cluster: &ClusterState, node: &NodeState) -> Vec<(Ipv4Net, Identity)> {
    let mut known: Vec<(Ipv4Net, Identity)> = vec![(Ipv4Net::default(), Identity::WORLD)];
    for (_, other) in lab.nodes() {
        let is_own = other.name() == node.name();
        let identity = if is_own { Identity::HOST } else { Identity::REMOTE_NODE };
        known.push((other.spec.address.into(), of_node(cluster, other.spec.address, is_own)));
        known.push((other.handle.config().router.into(), identity));
        if is_own || knows_remote_pods(lab, cluster, node.name()) {
            let unannounced = if is_own { None } else { unannounced(lab, other) };
            let endpoints = other.pods().into_iter().filter(|pod| pod.identity() != Identity::HOST);
            let endpoints = endpoints.filter(|pod| unannounced.as_ref() != Some(&pod.uid));
            known.extend(endpoints.map(|pod| (Ipv4Net::from(pod.address), pod.identity())));
        }
    }
    let distortion = Distortion::of(lab, cluster, node);
    known.retain(|(range, _)| !distortion.lacks(*range));
    for (range, identity) in &mut known {
        *identity = distortion.seen(*range, *identity);
    }
    known.extend(distortion.extra());
    known
}

/// The identity of a node's address, as agents of a cluster know it: the own node's is the host's whatever is there; of
/// the others those at which the cluster's own API server answers have one of their own (`pkg/ipcache/metadata.go`).
pub(crate) fn of_node(cluster: &ClusterState, address: Ipv4Addr, is_own: bool) -> Identity {
    match (is_own, cluster.spec.api_server() == Some(address)) {
        (true, _) => Identity::HOST,
        (false, true) => Identity::KUBE_APISERVER,
        (false, false) => Identity::REMOTE_NODE,
    }
}

/// Whether the node's ipcache has the pods of other nodes. Without their entries it takes them for what their pod CIDR
/// is, the world.
pub(crate) fn knows_remote_pods(lab: &LabState, cluster: &ClusterState, node: &str) -> bool {
    !lab.acts_on(Fault::IpcachePodsMissing, cluster, node)
}
