//! A CiliumNode that a node left behind when it was set up anew under another name: nobody owns it, and it has the
//! address of the node that lives there now. Only a fault makes one.

use super::view::{NodeSource, NodeView};
use crate::{
    crd::CILIUM_NODES,
    fault::Fault,
    state::{ClusterState, LabState},
};
use ipnet::Ipv4Net;
use meshproof_apiserver::DeleteOptions;
use serde_json::{Value, json};
use std::{net::Ipv4Addr, sync::Arc};
use tokio_util::sync::CancellationToken;

/// The third part of the pods' addresses that it says to have; no node of a lab has it.
const OCTET: u32 = 250;

/// Keeps the ghost there while the fault is in force, and takes it away afterwards.
pub(super) async fn follow(lab: Arc<LabState>, stop: CancellationToken) {
    let mut faults = lab.faults.follow();
    let mut present: Option<(Arc<ClusterState>, String)> = None;
    loop {
        faults.mark_unchanged();
        let place = lab.drawn.place(Fault::CiliumNodeGhost);
        let place = place.filter(|_| lab.faults.is_active(Fault::CiliumNodeGhost));
        match (place, &present) {
            (Some(place), None) => {
                present = lab
                    .cluster(&place.cluster)
                    .and_then(|cluster| appear(cluster, &place.node));
            }
            (None, Some((cluster, name))) => {
                // Gone is as good.
                let _ = cluster.store.delete(&CILIUM_NODES, None, name, &DeleteOptions::now());
                present = None;
            }
            _ => {}
        }
        tokio::select! {
            () = stop.cancelled() => return,
            changed = faults.changed() => if changed.is_err() { return },
        }
    }
}

fn appear(cluster: &Arc<ClusterState>, of: &str) -> Option<(Arc<ClusterState>, String)> {
    let address = cluster.node(of)?.spec.address;
    let name = format!("{of}-old");
    let pods = Ipv4Net::new(
        Ipv4Addr::from(u32::from(cluster.spec.pod_cidr.network()) + (OCTET << 8)),
        24,
    )
    .ok()?;
    let at = |last: u32| Ipv4Addr::from(u32::from(pods.network()) + last).to_string();
    let object = json!({
        "apiVersion": "cilium.io/v2",
        "kind": "CiliumNode",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "spec": {
            "addresses": [
                {"type": "InternalIP", "ip": address.to_string()},
                {"type": "CiliumInternalIP", "ip": at(1)},
            ],
            "encryption": {},
            "health": {"ipv4": at(2)},
            "ingress": {},
            "ipam": {"podCIDRs": [pods.to_string()]},
        },
    });
    let created = cluster.store.writing_as("cilium-agent").create(&CILIUM_NODES, object);
    if let Err(error) = &created {
        tracing::warn!(%error, name, "a CiliumNode cannot be written");
    }
    created.ok().map(|_| (Arc::clone(cluster), name))
}

/// The CiliumNodes of a cluster that are no node of the lab, as agents of any cluster learn of them.
pub(super) fn known(lab: &LabState, of: &ClusterState, source: NodeSource) -> Vec<NodeView> {
    let all = of.store.all(&CILIUM_NODES, None);
    let ghosts = all
        .iter()
        .filter(|object| lab.nodes().all(|(_, node)| node.name() != object.name()));
    let view = |object: &Value, name: &str| {
        let address = |at: &Value| at.as_str()?.parse().ok();
        let spec = &object["spec"];
        Some(NodeView {
            cluster: of.name().to_owned(),
            name: name.to_owned(),
            address: address(&spec["addresses"][0]["ip"])?,
            router: address(&spec["addresses"][1]["ip"])?,
            health: address(&spec["health"]["ipv4"])?,
            pod_cidr: spec["ipam"]["podCIDRs"][0].as_str()?.parse().ok()?,
            source,
        })
    };
    ghosts.filter_map(|object| view(object, object.name())).collect()
}
