//! The agents' side of the mesh: what they learn from their own cluster's clustermesh-apiserver becomes backends of the
//! cluster's services. When no such pod is left, they keep what they knew.

use super::{
    absence::{Absence, patience},
    global::{is_global, is_global_by_newer, merged},
    keyspace::Snapshot,
    pod::{MeshPod, MeshPods},
    slices,
    source::{OperatorStarts, Source},
};
use crate::{
    fault::Fault,
    informer::Informer,
    service::{RemoteBackend, RemoteBackends, ServiceKey},
    state::{ClusterState, LabState},
};
use meshproof_apiserver::{Object, resource::names::SERVICES};
use serde_json::Value;
use std::{collections::BTreeMap, sync::Arc};
use tokio_util::sync::CancellationToken;

/// Follows until stopped.
pub(crate) async fn follow(lab: Arc<LabState>, cluster: Arc<ClusterState>, pods: MeshPods, stop: CancellationToken) {
    let informer = Informer::start(&cluster.store, &[SERVICES], &stop);
    let mut services_changed = informer.changes();
    let mut pods_changed = pods.changed();
    let mut faults_changed = lab.faults.follow();
    let mut known: Vec<Snapshot> = Vec::new();
    let mut absence = Absence::default();
    let mut source = Source::default();
    let mut operator_starts = OperatorStarts::of(&cluster).subscribe();
    let remote = RemoteBackends::of(&cluster);
    informer.synced().await;
    while !stop.is_cancelled() {
        let pod = pods.choose(cluster.name());
        source.observe(
            pod.as_ref().map(|pod| pod.name.as_str()),
            *operator_starts.borrow_and_update(),
        );
        let mut caches = Vec::new();
        if let Some(pod) = &pod {
            caches = pod.remotes().values().map(|remote| remote.cache.subscribe()).collect();
            known = learn(pod, known);
        }
        let services = informer.all(&SERVICES);
        let acts = |fault| lab.acts_in(fault, cluster.name());
        let any = acts(Fault::GlobalAnnotationIgnored);
        let unshared = acts(Fault::GlobalSharedIgnored);
        let newer = acts(Fault::GlobalLegacyAnnotationIgnored);
        let merges = |local: &meshproof_apiserver::Object, remote: &Value| {
            let global = if newer {
                is_global_by_newer(local)
            } else {
                is_global(local)
            };
            (any || global && remote["includeExternal"] == true) && (unshared || remote["shared"] == true)
        };
        let forgotten = source.is_forgotten(&lab.faults);
        let mut backends = if acts(Fault::GlobalRemoteBackendsMissing) || forgotten {
            BTreeMap::new()
        } else {
            merged(services.iter(), &known, merges)
        };
        if acts(Fault::GlobalMergedOneWay) {
            leave_one_out(&lab, &services, &mut backends);
        }
        if acts(Fault::GlobalBackendsNeverRemoved) {
            keep(&mut backends, remote.all());
        }
        let synced = if acts(Fault::HeadlessSyncMissing) {
            BTreeMap::new()
        } else {
            backends.clone()
        };
        slices::sync(&cluster.store, &services, &synced);
        let patience = patience(&lab.faults);
        absence.observe(backends.values().flatten(), |cluster| pods.choose(cluster).is_some());
        if let Some(patience) = patience {
            for known in backends.values_mut() {
                known.retain(|backend| !absence.is_over(&backend.cluster, patience));
            }
            backends.retain(|_, known| !known.is_empty());
        }
        remote.replace(backends);
        let cache_changed = async {
            if caches.is_empty() {
                std::future::pending().await
            } else {
                let changes = caches.iter_mut().map(|cache| Box::pin(cache.changed()));
                let _ = futures::future::select_all(changes).await;
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = cache_changed => {}
            _ = services_changed.next() => {}
            _ = pods_changed.changed() => {}
            _ = faults_changed.changed() => {}
            () = absence.ends(patience) => {}
            () = source.settles() => {}
            Ok(()) = operator_starts.changed() => {}
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

/// Takes away what the other clusters add to one of the services: one that balances among all of its backends.
fn leave_one_out(lab: &LabState, services: &[Object], backends: &mut BTreeMap<ServiceKey, Vec<RemoteBackend>>) {
    let name = |key: &ServiceKey| format!("{}/{}", key.namespace, key.name);
    let affinity = ["service.cilium.io/affinity", "io.cilium/service-affinity"];
    let balances = |service: &&Object| {
        service["spec"]["clusterIP"] != "None" && affinity.iter().all(|name| service.annotation(name).is_none())
    };
    let keys = services.iter().filter(balances).map(|service| {
        let namespace = service.namespace().unwrap_or_default();
        ServiceKey::new(namespace, service.name())
    });
    let names: Vec<String> = keys
        .filter(|key| backends.contains_key(key))
        .map(|key| name(&key))
        .collect();
    if let Some(victim) = lab.drawn.victim(Fault::GlobalMergedOneWay, &names) {
        backends.retain(|key, _| name(key) != victim);
    }
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
