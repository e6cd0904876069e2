//! Gives every node the identity of every address: those of all pods of all clusters, of nodes, and of the world.

use crate::state::LabState;
use ipnet::Ipv4Net;
use meshproof_datapath::Identity;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Follows sandboxes and keeps the nodes informed.
pub(crate) async fn run(lab: Arc<LabState>, stop: CancellationToken) {
    let mut pods = lab.pods_changed();
    loop {
        pods.borrow_and_update();
        let mut known: Vec<(Ipv4Net, Identity)> = vec![(Ipv4Net::default(), Identity::WORLD)];
        for (_, node) in lab.nodes() {
            known.push((node.spec.address.into(), Identity::REMOTE_NODE));
            known.push((node.handle.config().router.into(), Identity::REMOTE_NODE));
            let endpoints = node.pods().into_iter().filter(|pod| pod.identity() != Identity::HOST);
            known.extend(endpoints.map(|pod| (Ipv4Net::from(pod.address), pod.identity())));
        }
        for (_, node) in lab.nodes() {
            let mut own = known.clone();
            for (prefix, identity) in &mut own {
                if *prefix == Ipv4Net::from(node.spec.address) || *prefix == Ipv4Net::from(node.handle.config().router)
                {
                    *identity = Identity::HOST;
                }
            }
            node.handle.set_identities(own);
        }
        tokio::select! {
            () = stop.cancelled() => return,
            changed = pods.changed() => if changed.is_err() { return },
        }
    }
}
