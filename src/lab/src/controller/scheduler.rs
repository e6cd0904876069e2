//! The scheduler: binds each pod to the fit node that has the fewest pods of its kind, then the fewest pods.

use super::{
    Again, Controller,
    placement::{self, Refusal},
};
use crate::{
    event::{EventType, record},
    object::{condition, is_active, set_condition},
};
use meshproof_apiserver::{
    ApiError, Object, Resource, Store,
    resource::names::{NODES, PODS},
};
use std::collections::BTreeMap;

/// How many pods a node takes, as kubelets are configured.
const PODS_PER_NODE: usize = 110;

pub(super) struct Scheduler;

impl Controller for Scheduler {
    fn name(&self) -> &'static str {
        "kube-scheduler"
    }

    fn watches(&self) -> &'static [Resource] {
        const { &[PODS, NODES] }
    }

    fn reconcile(&mut self, store: &Store) -> Result<Again, ApiError> {
        let pods = store.all(&PODS, None);
        let waiting: Vec<_> = pods.iter().filter(|pod| wants_us(pod)).collect();
        if waiting.is_empty() {
            return Ok(None);
        }
        let nodes = store.all(&NODES, None);
        let by_name: BTreeMap<&str, &Object> = nodes.iter().map(|node| (node.name(), node)).collect();
        let mut placed: Vec<(Object, Object)> = pods
            .iter()
            .filter(|pod| is_active(pod))
            .filter_map(|pod| Some((pod.clone(), (*by_name.get(pod["spec"]["nodeName"].as_str()?)?).clone())))
            .collect();
        for pod in waiting {
            match choose(pod, &nodes, &placed) {
                Ok(node) => match store.bind_pod(pod.namespace().unwrap_or_default(), pod.name(), node.name()) {
                    Ok(bound) => {
                        let message = format!(
                            "Successfully assigned {}/{} to {}",
                            pod.namespace().unwrap_or_default(),
                            pod.name(),
                            node.name()
                        );
                        record(
                            store,
                            &bound,
                            EventType::Normal,
                            "Scheduled",
                            &message,
                            "default-scheduler",
                        );
                        placed.push((bound, node.clone()));
                    }
                    Err(error) if error.is_not_found() || error.is_conflict() => {}
                    Err(error) => return Err(error),
                },
                Err(message) => refuse(store, pod, &message)?,
            }
        }
        Ok(None)
    }
}

fn wants_us(pod: &Object) -> bool {
    let spec = &pod["spec"];
    let unbound = spec["nodeName"].as_str().unwrap_or_default().is_empty();
    let gated = spec["schedulingGates"]
        .as_array()
        .is_some_and(|gates| !gates.is_empty());
    unbound && !gated && is_active(pod) && matches!(spec["schedulerName"].as_str(), None | Some("default-scheduler"))
}

fn choose<'a>(pod: &Object, nodes: &'a [Object], placed: &[(Object, Object)]) -> Result<&'a Object, String> {
    let mut refused: BTreeMap<Refusal, usize> = BTreeMap::new();
    let mut fit = Vec::new();
    for node in nodes {
        match refusal(pod, node, placed) {
            Some(why) => *refused.entry(why).or_default() += 1,
            None => fit.push(node),
        }
    }
    let best = fit.into_iter().min_by_key(|node| {
        let here = || placed.iter().filter(|(_, its_node)| its_node.name() == node.name());
        let siblings = here()
            .filter(|(other, _)| other.controller_uid() == pod.controller_uid())
            .count();
        (siblings, here().count(), node.name())
    });
    best.ok_or_else(|| {
        let reasons: Vec<_> = refused.iter().map(|(why, count)| format!("{count} {why}")).collect();
        let reasons = if reasons.is_empty() {
            "no nodes available to schedule pods".to_owned()
        } else {
            reasons.join(", ")
        };
        format!("0/{} nodes are available: {reasons}.", nodes.len())
    })
}

fn refusal(pod: &Object, node: &Object, placed: &[(Object, Object)]) -> Option<Refusal> {
    let tolerations = placement::tolerations(&pod["spec"]);
    if !placement::wants(&pod["spec"], node) {
        return Some(Refusal::Affinity);
    }
    if let Some(taint) = placement::untolerated(&tolerations, node, &["NoSchedule", "NoExecute"]) {
        let part = |name: &str| taint[name].as_str().unwrap_or_default().to_owned();
        if part("key") == "node.kubernetes.io/unschedulable" {
            return Some(Refusal::Unschedulable);
        }
        return Some(Refusal::Taint(format!("{}: {}", part("key"), part("value"))));
    }
    let cordon = serde_json::json!({"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"});
    if node["spec"]["unschedulable"] == true && !tolerations.iter().any(|t| placement::tolerates(t, &cordon)) {
        return Some(Refusal::Unschedulable);
    }
    if placement::anti_affine(pod, node, placed) {
        return Some(Refusal::AntiAffinity);
    }
    let here = placed
        .iter()
        .filter(|(_, its_node)| its_node.name() == node.name())
        .count();
    (here >= PODS_PER_NODE).then_some(Refusal::TooManyPods)
}

fn refuse(store: &Store, pod: &Object, message: &str) -> Result<(), ApiError> {
    if condition(pod, "PodScheduled").is_some_and(|c| c["message"] == message) {
        return Ok(());
    }
    store.modify_status(&PODS, pod.namespace(), pod.name(), |pod| {
        set_condition(pod, "PodScheduled", "False", "Unschedulable", message);
    })?;
    record(
        store,
        pod,
        EventType::Warning,
        "FailedScheduling",
        message,
        "default-scheduler",
    );
    Ok(())
}
