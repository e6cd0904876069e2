//! Follows a cluster's services and programs its nodes: one task a cluster.

use super::{
    frontends::frontends,
    on_node::on_node,
    remote_backends::RemoteBackends,
    stale_backends::{self, OtherClusters, StaleBackends},
};
use crate::{
    fault::Fault,
    informer::Informer,
    state::{ClusterState, LabState},
};
use meshproof_apiserver::resource::names::{ENDPOINT_SLICES, PODS, SERVICES};
use meshproof_datapath::{Direction, Effect, Fault as DatapathFault, Impairment, Protocol, Service};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// Keeps the data path of every node of the cluster at what Services, EndpointSlices and the mesh say.
pub(crate) async fn run(lab: Arc<LabState>, cluster: Arc<ClusterState>, stop: CancellationToken) {
    let informer = Informer::start(&cluster.store, &[SERVICES, ENDPOINT_SLICES, PODS], &stop);
    let mut changes = informer.changes();
    let mut remote = RemoteBackends::of(&cluster).subscribe();
    let mut faults = lab.faults.follow();
    let mut stale = StaleBackends::default();
    let mut programmed: BTreeMap<String, Vec<Service>> = BTreeMap::new();
    informer.synced().await;
    loop {
        let extra = remote.borrow_and_update().clone();
        faults.mark_unchanged();
        let services = frontends(
            &informer.all(&SERVICES),
            &informer.all(&ENDPOINT_SLICES),
            &extra,
            &in_force(&lab, cluster.name()),
            lab.topology.settings().algorithm,
        );
        let (services, again) = stale.apply(
            services,
            cluster.spec.pod_cidr,
            &lab.faults,
            others(&lab, &cluster),
            Instant::now(),
        );
        let before = stale_backends::backends(&cluster.services.borrow());
        let changed = cluster.services.send_if_modified(|present| {
            let changed = *present != services;
            if changed {
                present.clone_from(&services);
            }
            changed
        });
        for node in cluster.nodes() {
            let own = on_node(&lab, &cluster, node, services.clone());
            if programmed.get(node.name()) != Some(&own) {
                node.handle.set_services(own.clone());
                programmed.insert(node.name().to_owned(), own);
            }
        }
        if changed {
            let after = stale_backends::backends(&services);
            if lab.faults.is_active(Fault::ConnectionsResetOnChange) && before != after {
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

/// The faults in force that act in this cluster.
fn in_force(lab: &LabState, cluster: &str) -> BTreeSet<Fault> {
    let mut faults = lab.faults.all();
    faults.retain(|fault| lab.acts_in(*fault, cluster));
    faults
}

/// Whether every other cluster has a node that is there.
fn others(lab: &LabState, cluster: &ClusterState) -> OtherClusters {
    let is_away = |other: &Arc<ClusterState>| other.nodes().iter().all(|node| !*node.online().borrow());
    if lab.others(cluster.name()).any(is_away) {
        OtherClusters::OneIsDown
    } else {
        OtherClusters::Up
    }
}

/// How long connections meet resets after a change.
const RESETS: Duration = Duration::from_millis(200);

/// Resets the connections of these pods for a moment.
fn reset(lab: &Arc<LabState>, pods: impl Iterator<Item = Ipv4Addr>, stop: &CancellationToken) {
    let fault = |address| DatapathFault::Endpoint {
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
