//! The agents' side of the mesh: what they learn from their own cluster's clustermesh-apiserver becomes backends of the
//! cluster's services. When no such pod is left, they keep what they knew.

use std::collections::BTreeMap;
use std::sync::Arc;

use meshproof_apiserver::resource::names::SERVICES;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::fault::MeshFault;
use super::global::{is_global, is_global_by_newer, merged};
use super::keyspace::Snapshot;
use super::pod::{MeshPod, MeshPods};
use super::slices;
use crate::fault::failover::MESH_DOWN_DROPS;
use crate::informer::Informer;
use crate::service::{RemoteBackend, ServiceKey};
use crate::state::{ClusterState, LabState};

/// Follows until stopped.
pub(crate) async fn follow(lab: Arc<LabState>, cluster: Arc<ClusterState>, pods: MeshPods, stop: CancellationToken) {
    let informer = Informer::start(&cluster.store, &[SERVICES], &stop);
    let mut services_changed = informer.changes();
    let mut pods_changed = pods.changed();
    let mut faults_changed = lab.faults.subscribe();
    let mut known: Vec<Snapshot> = Vec::new();
    informer.synced().await;
    while !stop.is_cancelled() {
        let pod = pods.choose(cluster.name());
        let mut caches = Vec::new();
        if let Some(pod) = &pod {
            caches = pod.remotes().values().map(|remote| remote.cache.subscribe()).collect();
            known = learn(pod, known);
        }
        let services = informer.all(&SERVICES);
        let concerned = |fault: MeshFault| fault.concerns_follower(&lab, cluster.name());
        let any = concerned(MeshFault::AnnotationIgnored);
        let unshared = concerned(MeshFault::SharedIgnored);
        let newer = concerned(MeshFault::LegacyAnnotationIgnored);
        let merges = |local: &meshproof_apiserver::Object, remote: &Value| {
            let global = if newer {
                is_global_by_newer(local)
            } else {
                is_global(local)
            };
            (any || global && remote["includeExternal"] == true) && (unshared || remote["shared"] == true)
        };
        let mut backends = match concerned(MeshFault::RemoteBackendsMissing) {
            true => BTreeMap::new(),
            false => merged(services.iter(), &known, merges),
        };
        if concerned(MeshFault::BackendsNeverRemoved) {
            keep(&mut backends, cluster.remote_backends.all());
        }
        let synced = match concerned(MeshFault::HeadlessNotSynced) {
            true => BTreeMap::new(),
            false => backends.clone(),
        };
        slices::sync(&cluster.store, &services, &synced);
        if lab.faults.is_active(MESH_DOWN_DROPS) {
            for known in backends.values_mut() {
                known.retain(|backend| pods.choose(&backend.cluster).is_some());
            }
            backends.retain(|_, known| !known.is_empty());
        }
        cluster.remote_backends.replace(backends);
        let cache_changed = async {
            match caches.is_empty() {
                true => std::future::pending().await,
                false => {
                    let changes = caches.iter_mut().map(|cache| Box::pin(cache.changed()));
                    let _ = futures::future::select_all(changes).await;
                }
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = cache_changed => {}
            _ = services_changed.next() => {}
            _ = pods_changed.changed() => {}
            _ = faults_changed.changed() => {}
        }
    }
}

/// A pod that has not (yet) heard of a cluster does not make agents forget what they knew of it: they wait for the
/// synchronisation of the new connection before they drop anything.
fn learn(pod: &MeshPod, known: Vec<Snapshot>) -> Vec<Snapshot> {
    let mut known = known.into_iter();
    let news = pod.remotes().values().map(|remote| {
        let old = known.next().unwrap_or_default();
        let new = remote.cache.snapshot();
        if new.is_empty() { old } else { new }
    });
    news.collect()
}

fn keep(backends: &mut BTreeMap<ServiceKey, Vec<RemoteBackend>>, before: BTreeMap<ServiceKey, Vec<RemoteBackend>>) {
    for (service, old) in before {
        let now = backends.entry(service).or_default();
        for backend in old {
            if !now.iter().any(|present| present.address == backend.address) {
                now.push(backend);
            }
        }
    }
}
