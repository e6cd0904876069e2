//! DaemonSets: one pod on every node that is fit for it. The scheduler binds; the node is named in the pod's affinity.

use super::{Again, Controller, create_pod::create_pod, placement};
use crate::object::{
    Rounding, delete_pod, is_active, is_available, is_ready, number, pod_of, pods_of, share, template_hash,
};
use meshproof_apiserver::{
    ApiError, Object, Resource, Store,
    resource::names::{DAEMON_SETS, NODES, PODS},
};
use serde_json::{Value, json};

const HASH: &str = "controller-revision-hash";
/// What every daemon pod tolerates (`AddOrUpdateDaemonPodTolerations`).
const TOLERATED: [(&str, &str); 6] = [
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];

pub(super) struct DaemonSets;

impl Controller for DaemonSets {
    fn name(&self) -> &'static str {
        "daemonset-controller"
    }

    fn watches(&self) -> &'static [Resource] {
        const { &[DAEMON_SETS, PODS, NODES] }
    }

    fn reconcile(&mut self, store: &Store) -> Result<Again, ApiError> {
        let nodes = store.all(&NODES, None);
        for set in store.all(&DAEMON_SETS, None) {
            if !set.is_terminating() {
                reconcile(store, &set, &nodes)?;
            }
        }
        Ok(None)
    }
}

fn reconcile(store: &Store, set: &Object, nodes: &[Object]) -> Result<(), ApiError> {
    let hash = template_hash(&set["spec"]["template"]);
    let spec = spec_of(set);
    let fit: Vec<_> = nodes.iter().filter(|node| is_fit(&spec, node)).collect();
    let pods = pods_of(store, set);
    for pod in &pods {
        let misplaced = node_of(pod).is_some_and(|name| !fit.iter().any(|node| node.name() == name));
        let finished = matches!(pod["status"]["phase"].as_str(), Some("Failed" | "Succeeded"));
        if !pod.is_terminating() && (misplaced || finished) {
            delete_pod(store, pod)?;
        }
    }
    for node in &fit {
        if !pods.iter().any(|pod| node_of(pod) == Some(node.name())) {
            create_pod(store, set, daemon_pod(set, &spec, &hash, node), "daemonset-controller")?;
        }
    }
    if set["spec"]["updateStrategy"]["type"] != "OnDelete" {
        update_some(store, set, &pods, &hash, fit.len())?;
    }
    report(store, set, &fit, &hash)
}

fn spec_of(set: &Object) -> Value {
    let mut spec = set["spec"]["template"]["spec"].clone();
    let mut tolerations = placement::tolerations(&spec);
    let host = (spec["hostNetwork"] == true).then_some(("node.kubernetes.io/network-unavailable", "NoSchedule"));
    for (key, effect) in TOLERATED.into_iter().chain(host) {
        let toleration = json!({"key": key, "operator": "Exists", "effect": effect});
        if !tolerations.contains(&toleration) {
            tolerations.push(toleration);
        }
    }
    spec["tolerations"] = json!(tolerations);
    spec
}

fn is_fit(spec: &Value, node: &Object) -> bool {
    let tolerations = placement::tolerations(spec);
    placement::wants(spec, node) && placement::untolerated(&tolerations, node, &["NoSchedule", "NoExecute"]).is_none()
}

/// The node that the pod is bound to, or is meant for.
fn node_of(pod: &Object) -> Option<&str> {
    let terms = &pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    let meant = || terms["nodeSelectorTerms"][0]["matchFields"][0]["values"][0].as_str();
    pod["spec"]["nodeName"]
        .as_str()
        .filter(|name| !name.is_empty())
        .or_else(meant)
}

fn daemon_pod(set: &Object, spec: &Value, hash: &str, node: &Object) -> Value {
    let mut pod = pod_of(set, &set["spec"]["template"], None);
    pod["metadata"]["labels"][HASH] = json!(hash);
    pod["metadata"]["labels"]["pod-template-generation"] = json!(set.generation().to_string());
    pod["spec"].clone_from(spec);
    let field = json!({"key": "metadata.name", "operator": "In", "values": [node.name()]});
    pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"] =
        json!({"nodeSelectorTerms": [{"matchFields": [field]}]});
    pod
}

/// Deletes pods of older templates, at most so many at once that `maxUnavailable` holds.
fn update_some(store: &Store, set: &Object, pods: &[Object], hash: &str, wanted: usize) -> Result<(), ApiError> {
    let strategy = &set["spec"]["updateStrategy"]["rollingUpdate"];
    let allowed = share(&strategy["maxUnavailable"], "1", wanted as i64, Rounding::Up).max(1);
    let available = pods.iter().filter(|pod| is_active(pod) && is_ready(pod)).count() as i64;
    let mut spare = allowed - (wanted as i64 - available);
    let old = pods
        .iter()
        .filter(|pod| is_active(pod) && pod.label(HASH) != Some(hash));
    let (ready, broken): (Vec<_>, Vec<_>) = old.partition(|pod| is_ready(pod));
    for pod in broken {
        delete_pod(store, pod)?;
    }
    for pod in ready {
        if spare <= 0 {
            break;
        }
        spare -= 1;
        delete_pod(store, pod)?;
    }
    Ok(())
}

fn report(store: &Store, set: &Object, fit: &[&Object], hash: &str) -> Result<(), ApiError> {
    let min_ready = number(&set["spec"]["minReadySeconds"], 0).unsigned_abs();
    let pods: Vec<_> = pods_of(store, set).into_iter().filter(is_active).collect();
    let bound = |pod: &&Object| pod["spec"]["nodeName"].as_str().is_some_and(|name| !name.is_empty());
    let count = |test: &dyn Fn(&Object) -> bool| pods.iter().filter(bound).filter(|pod| test(pod)).count();
    let available = count(&|pod| is_available(pod, min_ready));
    let mut status = json!({
        "currentNumberScheduled": count(&|_| true), "desiredNumberScheduled": fit.len(), "numberMisscheduled": 0,
        "numberReady": count(&|pod| is_ready(pod)), "observedGeneration": set.generation(),
    });
    let optional = [
        ("updatedNumberScheduled", count(&|pod| pod.label(HASH) == Some(hash))),
        ("numberAvailable", available),
        ("numberUnavailable", fit.len().saturating_sub(available)),
    ];
    for (field, count) in optional.into_iter().filter(|(_, count)| *count > 0) {
        status[field] = json!(count);
    }
    if set["status"] == status {
        return Ok(());
    }
    let changed = store.modify_status(&DAEMON_SETS, set.namespace(), set.name(), |set| {
        set["status"].clone_from(&status);
    });
    changed.map(|_| ())
}
