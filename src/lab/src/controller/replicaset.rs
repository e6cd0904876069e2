//! ReplicaSets: as many active pods as they want.

use super::{Again, Controller, create_pod::create_pod};
use crate::object::{delete_pod, is_active, is_available, is_ready, number, pod_of, pods_of};
use meshproof_apiserver::{
    ApiError, Object, Resource, Store,
    resource::names::{PODS, REPLICA_SETS},
};
use serde_json::{Value, json};

pub(super) struct ReplicaSets;

impl Controller for ReplicaSets {
    fn name(&self) -> &'static str {
        "replicaset-controller"
    }

    fn watches(&self) -> &'static [Resource] {
        const { &[REPLICA_SETS, PODS] }
    }

    fn reconcile(&mut self, store: &Store) -> Result<Again, ApiError> {
        let mut again = None;
        for set in store.all(&REPLICA_SETS, None) {
            let min_ready = number(&set["spec"]["minReadySeconds"], 0).unsigned_abs();
            let pods = pods_of(store, &set);
            if !set.is_terminating() {
                scale(store, &set, &pods)?;
            }
            let active: Vec<_> = pods_of(store, &set).into_iter().filter(is_active).collect();
            let ready = active.iter().filter(|pod| is_ready(pod)).count();
            let available = active.iter().filter(|pod| is_available(pod, min_ready)).count();
            if available < ready {
                again = Some(std::time::Duration::from_secs(1));
            }
            report(store, &set, active.len(), ready, available)?;
        }
        Ok(again)
    }
}

fn scale(store: &Store, set: &Object, pods: &[Object]) -> Result<(), ApiError> {
    let mut active: Vec<_> = pods.iter().filter(|pod| is_active(pod)).collect();
    let wanted = usize::try_from(number(&set["spec"]["replicas"], 1)).unwrap_or_default();
    for _ in active.len()..wanted {
        let pod = pod_of(set, &set["spec"]["template"], None);
        create_pod(store, set, pod, "replicaset-controller")?;
    }
    if active.len() > wanted {
        // First those that do the least harm: unscheduled, not ready, then the youngest.
        active.sort_by_key(|pod| {
            let scheduled = pod["spec"]["nodeName"].is_string();
            let created = pod["metadata"]["creationTimestamp"].as_str().unwrap_or_default();
            (scheduled, is_ready(pod), std::cmp::Reverse(created.to_owned()))
        });
        for pod in &active[..active.len() - wanted] {
            delete_pod(store, pod)?;
        }
    }
    Ok(())
}

fn report(store: &Store, set: &Object, replicas: usize, ready: usize, available: usize) -> Result<(), ApiError> {
    let mut status = json!({"replicas": replicas, "observedGeneration": set.generation()});
    for (field, count) in [
        ("fullyLabeledReplicas", replicas),
        ("readyReplicas", ready),
        ("availableReplicas", available),
    ] {
        if count > 0 {
            status[field] = json!(count);
        }
    }
    if set["status"] == status {
        return Ok(());
    }
    let changed = store.modify_status(&REPLICA_SETS, set.namespace(), set.name(), |set: &mut Value| {
        set["status"].clone_from(&status);
    });
    changed.map(|_| ())
}
