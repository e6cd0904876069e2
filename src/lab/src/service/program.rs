//! Follows a cluster's services and tells its nodes: one task a cluster.

use std::sync::Arc;

use meshproof_apiserver::resource::names::{ENDPOINT_SLICES, SERVICES};
use tokio_util::sync::CancellationToken;

use super::{fault, frontends};
use crate::informer::Informer;
use crate::state::{ClusterState, LabState};

/// Keeps the data path of every node of the cluster at what Services, EndpointSlices and the mesh say.
pub(crate) async fn run(lab: Arc<LabState>, cluster: Arc<ClusterState>, stop: CancellationToken) {
    let informer = Informer::start(&cluster.store, &[SERVICES, ENDPOINT_SLICES], &stop);
    let mut changes = informer.changes();
    let mut remote = cluster.remote_backends.subscribe();
    let mut faults = lab.faults.subscribe();
    informer.synced().await;
    loop {
        let extra = remote.borrow_and_update().clone();
        faults.mark_unchanged();
        let services = frontends(
            &informer.all(&SERVICES),
            &informer.all(&ENDPOINT_SLICES),
            &extra,
            &fault::in_force(&lab, cluster.name()),
        );
        let changed = cluster.services.send_if_modified(|present| {
            let changed = *present != services;
            if changed {
                present.clone_from(&services);
            }
            changed
        });
        if changed {
            for node in cluster.nodes() {
                node.handle.set_services(services.clone());
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            more = changes.next() => if !more { return },
            more = remote.changed() => if more.is_err() { return },
            more = faults.changed() => if more.is_err() { return },
        }
    }
}
