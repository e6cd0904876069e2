//! The life of nodes as the control plane sees it: a node whose Lease is not renewed becomes Unknown after a grace
//! period, its pods lose their Ready condition (and with it their place behind services) while they still show as
//! Running, and after their toleration they are evicted. Pods of nodes that are gone are removed.

use super::{Again, Controller, placement};
use crate::{
    fault::{ActiveFaults, Fault},
    node_grace::NodeGrace,
    object::{self, condition, delete_pod, is_ready, set_condition},
};
use meshproof_apiserver::{
    ApiError, DeleteOptions, Object, Resource, Store,
    resource::names::{LEASES, NODES, PODS},
};
use serde_json::{Value, json};
use std::time::Duration;

const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const NOT_READY: &str = "node.kubernetes.io/not-ready";
const DISK_PRESSURE: &str = "node.kubernetes.io/disk-pressure";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// Conditions that nobody reports any more.
const CONDITIONS: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

pub(super) struct NodeLifecycle {
    grace: Duration,
    faults: ActiveFaults,
}

/// How much later a silent node counts as lost with [`Fault::NodeDetectionLate`].
const LATE: Duration = Duration::from_secs(30);

impl NodeLifecycle {
    pub(super) fn new(grace: NodeGrace, faults: ActiveFaults) -> Self {
        Self { grace: grace.0, faults }
    }
}

impl Controller for NodeLifecycle {
    fn name(&self) -> &'static str {
        "node-lifecycle-controller"
    }

    fn watches(&self) -> &'static [Resource] {
        const { &[NODES, PODS] }
    }

    fn reconcile(&mut self, store: &Store) -> Result<Again, ApiError> {
        let nodes = store.all(&NODES, None);
        let pods = store.all(&PODS, None);
        for node in &nodes {
            let silent = self.is_silent(store, node);
            if silent {
                mark_unknown(store, node)?;
            }
            set_taints(store, node, silent)?;
            if silent {
                abandon(store, node, &pods)?;
            }
        }
        for pod in &pods {
            let bound = pod["spec"]["nodeName"].as_str().filter(|name| !name.is_empty());
            if bound.is_some_and(|name| !nodes.iter().any(|node| node.name() == name)) {
                store.delete(
                    &PODS,
                    pod.namespace(),
                    pod.name(),
                    &DeleteOptions::now().only_uid(pod.uid()),
                )?;
            }
        }
        // Silence is not an event: look every now and then (`--node-monitor-period` is five seconds).
        Ok(Some(
            (self.grace / 8).clamp(Duration::from_millis(50), Duration::from_secs(5)),
        ))
    }
}

impl NodeLifecycle {
    fn is_silent(&self, store: &Store, node: &Object) -> bool {
        let lease = store.find(&LEASES, Some("kube-node-lease"), node.name());
        let renewed = lease.and_then(|lease| object::since(&lease["spec"]["renewTime"]));
        let age = renewed.or_else(|| object::since(&node["metadata"]["creationTimestamp"]));
        let grace = if self.faults.is_active(Fault::NodeDetectionLate) {
            self.grace + LATE
        } else {
            self.grace
        };
        age.is_some_and(|age| age > grace)
    }
}

fn mark_unknown(store: &Store, node: &Object) -> Result<(), ApiError> {
    if condition(node, "Ready").is_some_and(|ready| ready["status"] == "Unknown") {
        return Ok(());
    }
    let changed = store.modify_status(&NODES, None, node.name(), |node: &mut Value| {
        for kind in CONDITIONS {
            let heartbeat = condition(node, kind)
                .map(|c| c["lastHeartbeatTime"].clone())
                .unwrap_or_default();
            set_condition(
                node,
                kind,
                "Unknown",
                "NodeStatusUnknown",
                "Kubelet stopped posting node status.",
            );
            let conditions = node["status"]["conditions"].as_array_mut().into_iter().flatten();
            for condition in conditions.filter(|condition| condition["type"] == kind) {
                condition["lastHeartbeatTime"] = heartbeat.clone();
            }
        }
    });
    changed.map(|_| ())
}

/// Taints follow what is known: unreachable or not ready, short of disk, cordoned.
fn set_taints(store: &Store, node: &Object, silent: bool) -> Result<(), ApiError> {
    let ready = !silent && condition(node, "Ready").is_some_and(|ready| ready["status"] == "True");
    let full = condition(node, "DiskPressure").is_some_and(|disk| disk["status"] == "True");
    let wanted = |taint: &Value| match taint["key"].as_str() {
        Some(UNREACHABLE) => silent,
        Some(NOT_READY) => !silent && !ready,
        Some(DISK_PRESSURE) => full,
        Some(UNSCHEDULABLE) => node["spec"]["unschedulable"] == true,
        _ => true,
    };
    let mut taints = node["spec"]["taints"].as_array().cloned().unwrap_or_default();
    taints.retain(wanted);
    let mut add = |key: &str, effect: &str, condition: bool| {
        if condition
            && !taints
                .iter()
                .any(|taint| taint["key"] == key && taint["effect"] == effect)
        {
            taints.push(json!({"key": key, "effect": effect, "timeAdded": object::now()}));
        }
    };
    for effect in ["NoSchedule", "NoExecute"] {
        add(UNREACHABLE, effect, silent);
        add(NOT_READY, effect, !silent && !ready);
    }
    add(DISK_PRESSURE, "NoSchedule", full);
    add(UNSCHEDULABLE, "NoSchedule", node["spec"]["unschedulable"] == true);
    let present = node["spec"]["taints"].as_array().map(Vec::as_slice).unwrap_or_default();
    if present == taints {
        return Ok(());
    }
    let changed = store.modify(&NODES, None, node.name(), |node| {
        if taints.is_empty() {
            node["spec"].as_object_mut().map(|spec| spec.remove("taints"));
        } else {
            node["spec"]["taints"] = json!(taints);
        }
    });
    changed.map(|_| ())
}

/// Takes the pods of a silent node out of service, and evicts those whose toleration has run out.
fn abandon(store: &Store, node: &Object, pods: &[Object]) -> Result<(), ApiError> {
    let taints = node["spec"]["taints"].as_array().into_iter().flatten();
    let taints: Vec<_> = taints.filter(|taint| taint["effect"] == "NoExecute").collect();
    for pod in pods.iter().filter(|pod| pod["spec"]["nodeName"] == node.name()) {
        if is_ready(pod) {
            store.modify_status(&PODS, pod.namespace(), pod.name(), |pod| {
                set_condition(pod, "Ready", "False", "", "");
            })?;
        }
        let tolerations = placement::tolerations(&pod["spec"]);
        let overdue = taints.iter().any(|taint| {
            let tolerated = tolerations
                .iter()
                .filter(|toleration| placement::tolerates(toleration, taint));
            let longest = tolerated
                .map(|toleration| toleration["tolerationSeconds"].as_u64().unwrap_or(u64::MAX))
                .max();
            let age = object::since(&taint["timeAdded"]).unwrap_or_default().as_secs();
            longest.is_none_or(|longest| age >= longest)
        });
        if overdue && !pod.is_terminating() {
            delete_pod(store, pod)?;
        }
    }
    Ok(())
}
