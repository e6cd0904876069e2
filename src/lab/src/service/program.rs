//! Follows a cluster's services and tells its nodes: one task a cluster.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use meshproof_apiserver::resource::names::{ENDPOINT_SLICES, SERVICES};
use meshproof_datapath::{Direction, Effect, Fault, Impairment, Protocol};
use tokio_util::sync::CancellationToken;

use super::memory::{self, Memory, Mesh};
use super::{fault, frontends};
use crate::informer::Informer;
use crate::state::{ClusterState, LabState};

/// Keeps the data path of every node of the cluster at what Services, EndpointSlices and the mesh say.
pub(crate) async fn run(lab: Arc<LabState>, cluster: Arc<ClusterState>, stop: CancellationToken) {
    let informer = Informer::start(&cluster.store, &[SERVICES, ENDPOINT_SLICES], &stop);
    let mut changes = informer.changes();
    let mut remote = cluster.remote_backends.subscribe();
    let mut faults = lab.faults.subscribe();
    let mut memory = Memory::default();
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
        let (services, again) = memory.bend(
            services,
            cluster.spec.pod_cidr,
            &lab.faults,
            mesh(&lab, &cluster),
            Instant::now(),
        );
        let before = memory::backends(&cluster.services.borrow());
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
            let after = memory::backends(&services);
            if lab.faults.is_active(memory::RESET_ON_CHANGE) && before != after {
                reset(&lab, before.intersection(&after).copied(), &stop);
            }
        }
        let later = async {
            match again {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = later => {}
            more = changes.next() => if !more { return },
            more = remote.changed() => if more.is_err() { return },
            more = faults.changed() => if more.is_err() { return },
        }
    }
}

/// Whether every other cluster has a node that is there.
fn mesh(lab: &LabState, cluster: &ClusterState) -> Mesh {
    let is_away = |other: &Arc<ClusterState>| other.nodes().iter().all(|node| !*node.online().borrow());
    match lab.others(cluster.name()).any(is_away) {
        true => Mesh::Broken,
        false => Mesh::Whole,
    }
}

/// How long connections meet resets after a change.
const RESETS: Duration = Duration::from_millis(200);

/// Resets the connections of these pods for a moment.
fn reset(lab: &Arc<LabState>, pods: impl Iterator<Item = Ipv4Addr>, stop: &CancellationToken) {
    let fault = |address| Fault::Endpoint {
        address,
        direction: Direction::Ingress,
        impairment: Impairment::of(Protocol::Tcp, Effect::Reset),
    };
    let ids: Vec<_> = pods.map(|pod| lab.fabric.inject(fault(pod))).collect();
    let (lab, stop) = (Arc::clone(lab), stop.clone());
    tokio::spawn(async move {
        let _ = tokio::time::timeout(RESETS, stop.cancelled()).await;
        for id in ids {
            lab.fabric.heal(id);
        }
    });
}
