//! StatefulSets: pods with ordinals, made and replaced in order. Volume claims are not known: the lab has no volumes.

use super::{Again, Controller};
use crate::object::{delete_pod, is_active, is_ready, number, pod_of, pods_of, template_hash};
use meshproof_apiserver::{
    ApiError, Object, Resource, Store,
    resource::names::{PODS, STATEFUL_SETS},
};
use serde_json::json;

const HASH: &str = "controller-revision-hash";

pub(super) struct StatefulSets;

impl Controller for StatefulSets {
    fn name(&self) -> &'static str {
        "statefulset-controller"
    }

    fn watches(&self) -> &'static [Resource] {
        const { &[STATEFUL_SETS, PODS] }
    }

    fn reconcile(&mut self, store: &Store) -> Result<Again, ApiError> {
        for set in store.all(&STATEFUL_SETS, None) {
            if !set.is_terminating() {
                let revision = format!("{}-{}", set.name(), template_hash(&set["spec"]["template"]));
                step(store, &set, &revision)?;
                report(store, &set, &revision)?;
            }
        }
        Ok(None)
    }
}

fn ordinal(set: &Object, pod: &Object) -> Option<i64> {
    pod.name().strip_prefix(set.name())?.strip_prefix('-')?.parse().ok()
}

fn step(store: &Store, set: &Object, revision: &str) -> Result<(), ApiError> {
    let parallel = set["spec"]["podManagementPolicy"] == "Parallel";
    let wanted = number(&set["spec"]["replicas"], 1);
    let pods = pods_of(store, set);
    let at = |n: i64| pods.iter().find(|pod| ordinal(set, pod) == Some(n));
    for n in 0..wanted {
        match at(n) {
            None => {
                store.create(&PODS, pod(set, n, revision))?;
            }
            Some(pod) if !is_active(pod) && !pod.is_terminating() => delete_pod(store, pod)?,
            Some(_) => {}
        }
        if !parallel && !at(n).is_some_and(|pod| is_active(pod) && is_ready(pod)) {
            return Ok(());
        }
    }
    let surplus = pods.iter().filter(|pod| ordinal(set, pod).is_some_and(|n| n >= wanted));
    let mut surplus: Vec<_> = surplus.collect();
    surplus.sort_by_key(|pod| std::cmp::Reverse(ordinal(set, pod)));
    for pod in surplus {
        if !pod.is_terminating() {
            delete_pod(store, pod)?;
        }
        if !parallel {
            return Ok(());
        }
    }
    if set["spec"]["updateStrategy"]["type"] == "OnDelete" {
        return Ok(());
    }
    let partition = number(&set["spec"]["updateStrategy"]["rollingUpdate"]["partition"], 0);
    for n in (partition..wanted).rev() {
        match at(n) {
            Some(pod) if pod.is_terminating() || pod.label(HASH) == Some(revision) && !is_ready(pod) => return Ok(()),
            Some(pod) if pod.label(HASH) != Some(revision) => return delete_pod(store, pod),
            _ => {}
        }
    }
    Ok(())
}

fn pod(set: &Object, n: i64, revision: &str) -> serde_json::Value {
    let name = format!("{}-{n}", set.name());
    let mut pod = pod_of(set, &set["spec"]["template"], Some(&name));
    pod["metadata"]["labels"][HASH] = json!(revision);
    pod["metadata"]["labels"]["statefulset.kubernetes.io/pod-name"] = json!(name);
    pod["metadata"]["labels"]["apps.kubernetes.io/pod-index"] = json!(n.to_string());
    pod["spec"]["hostname"] = json!(name);
    if !set["spec"]["serviceName"].is_null() {
        pod["spec"]["subdomain"] = set["spec"]["serviceName"].clone();
    }
    pod
}

fn report(store: &Store, set: &Object, revision: &str) -> Result<(), ApiError> {
    let pods: Vec<_> = pods_of(store, set).into_iter().filter(is_active).collect();
    let ready = pods.iter().filter(|pod| is_ready(pod)).count();
    let updated = pods.iter().filter(|pod| pod.label(HASH) == Some(revision)).count();
    let done = updated == pods.len();
    let before = set["status"]["currentRevision"].as_str().unwrap_or(revision);
    let mut status = json!({
        "observedGeneration": set.generation(), "replicas": pods.len(), "availableReplicas": ready,
        "currentRevision": if done { revision } else { before }, "updateRevision": revision, "collisionCount": 0,
    });
    let current = if done { pods.len() } else { pods.len() - updated };
    for (field, count) in [
        ("readyReplicas", ready),
        ("updatedReplicas", updated),
        ("currentReplicas", current),
    ] {
        if count > 0 {
            status[field] = json!(count);
        }
    }
    if set["status"] == status {
        return Ok(());
    }
    let changed = store.modify_status(&STATEFUL_SETS, set.namespace(), set.name(), |set| {
        set["status"].clone_from(&status);
    });
    changed.map(|_| ())
}
