//! Every component has as many ready pods as it should, where it should.

use super::{
    inventory::{AGENT, COMPONENTS, Component, Inventory, Workload, condition, text},
    looks::{Look, Seen, conclude},
};
use crate::kit::{object::pod, recent::Age};
use async_trait::async_trait;
use meshproof_contract::{Check, CheckContext, CheckId, CheckText, NodeFacts, Scope, Verdict};
use serde_json::Value;

/// Components and their pods.
pub struct Workloads;

#[async_trait]
impl Check for Workloads {
    fn id(&self) -> CheckId {
        CheckId::from("components::workloads")
    }

    fn text(&self) -> CheckText {
        CheckText {
            title: "Every component runs with as many ready pods as it should, on every node that should have one",
            proves: "No component is missing, scaled to zero, stuck in a rollout or without a pod on a node: agents, \
                     operator, Envoy, Hubble relay and UI, clustermesh-apiserver, SPIRE, cluster DNS, Flux, \
                     cert-manager, as far as the cluster has them or its configuration asks for them.",
            how: "The API's Deployments, DaemonSets, StatefulSets, Services and pods are read. An operator and an \
                  agent must exist where ConfigMap cilium-config does; any other component where a \
                  setting or a Service \
                  leads to it. Each must want at least one pod and have all of them ready, of its newest template; \
                  every node must have a ready pod of agents and of Envoy. What is wrong is read again after 10 s.",
            control: "At least one component must be found with ready pods; otherwise the check is inconclusive.",
            when_red: "Scaled to zero: `kubectl --context CONTEXT -n kube-system scale deploy/NAME --replicas=1`, and \
                       look for who did it in `kubectl --context CONTEXT -n kube-system get deploy NAME -o yaml \
                       --show-managed-fields`. Pods that are not ready: `kubectl --context CONTEXT -n kube-system \
                       describe pod POD` and its logs. Without the operator, identities and addresses are not cleaned \
                       up and new nodes get no pod CIDR; without relay, `hubble observe` sees no cluster.",
        }
    }

    fn scope(&self) -> Scope {
        Scope::Cluster
    }
    fn faults(&self) -> &'static [&'static str] {
        &[
            "hubble-relay-scaled-to-zero",
            "operator-scaled-to-zero",
            "relay-rollout-stuck",
            "spire-server-scaled-to-zero",
        ]
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        conclude(context, self).await
    }
}

#[async_trait]
impl Look for Workloads {
    async fn look(&self, context: &CheckContext, age: Age) -> Seen {
        let mut seen = Seen::default();
        let Some(inventory) = Inventory::read(context, age, &mut seen).await else {
            return seen;
        };
        let facts = context.environment.facts();
        let cluster = facts.cluster(context.instance.from());
        for component in COMPONENTS {
            if let Some(why) = inventory.missing(component, cluster) {
                let subject = format!("{} of {}", component.name, context.instance.from());
                seen.deviates(
                    subject,
                    format!("a Deployment, DaemonSet or StatefulSet of it: {why}"),
                    "there is none",
                    "get deployments,daemonsets,statefulsets -A",
                );
            }
        }
        for (component, workload) in inventory.components() {
            judge(component, workload, &inventory, &mut seen);
            if component.on_every_node {
                for node in cluster.map_or(&[][..], |cluster| &cluster.nodes) {
                    on_node(component, workload, node, &inventory, &mut seen);
                }
            }
        }
        seen
    }
}

/// What a workload wants and has, by its status.
struct Numbers {
    wanted: u64,
    ready: u64,
    /// Of the newest template; none if the status does not say.
    updated: Option<u64>,
}

fn numbers(workload: &Workload) -> Numbers {
    let (spec, status) = (&workload.object["spec"], &workload.object["status"]);
    let of = |field: &str| status[field].as_u64();
    match workload.kind {
        "DaemonSet" => Numbers {
            wanted: of("desiredNumberScheduled").unwrap_or(0),
            ready: of("numberReady").unwrap_or(0),
            updated: Some(of("updatedNumberScheduled").unwrap_or(0)),
        },
        _ => Numbers {
            wanted: spec["replicas"].as_u64().unwrap_or(1),
            ready: of("readyReplicas").unwrap_or(0),
            updated: Some(of("updatedReplicas").unwrap_or(0)),
        },
    }
}

fn judge(component: &Component, workload: &Workload, inventory: &Inventory, seen: &mut Seen) {
    let numbers = numbers(workload);
    let mut deviates =
        |expected: String, observed: String| seen.deviates(workload.title(), expected, observed, workload.describe());
    let Numbers { wanted, ready, .. } = numbers;
    if wanted == 0 {
        let what = if workload.kind == "DaemonSet" {
            "its node selector fits no node".to_owned()
        } else {
            format!("scaled to 0{}", scaled_by(&workload.object))
        };
        deviates("at least one pod".to_owned(), what);
        return;
    }
    if ready < wanted {
        let why = reasons(workload, inventory);
        deviates(
            format!("{wanted} ready pods"),
            format!("{ready} are ready{}{why}", stuck(&workload.object)),
        );
        return;
    }
    let is_rolling = workload.object["spec"]["updateStrategy"]["type"] != "OnDelete";
    match numbers.updated.filter(|updated| *updated < wanted && is_rolling) {
        Some(updated) => deviates(
            format!("{wanted} pods of its newest template"),
            format!(
                "{updated} are; the rollout has not ended{}{}",
                stuck(&workload.object),
                reasons(workload, inventory)
            ),
        ),
        None => seen.witness(format!(
            "{} {}: {ready} of {wanted} pods are ready",
            component.name,
            workload.label()
        )),
    }
}

/// Who set the number of replicas, and when, as the API remembers it.
fn scaled_by(object: &Value) -> String {
    let managers = object["metadata"]["managedFields"].as_array().into_iter().flatten();
    let owners = managers.filter(|entry| !entry["fieldsV1"]["f:spec"]["f:replicas"].is_null());
    match owners.max_by_key(|entry| text(&entry["time"])) {
        Some(entry) => format!(" by {} at {}", text(&entry["manager"]), text(&entry["time"])),
        None => String::new(),
    }
}

/// Why the rollout does not go on, in the controller's words.
fn stuck(object: &Value) -> String {
    let failed = condition(object, "ReplicaFailure").filter(|one| one["status"] == "True");
    let late = condition(object, "Progressing").filter(|one| one["status"] == "False");
    match failed.or(late) {
        Some(condition) => format!("; {}: {}", text(&condition["reason"]), text(&condition["message"])),
        None if object["spec"]["paused"] == true => "; its rollout is paused".to_owned(),
        None => String::new(),
    }
}

/// Why pods of a workload are not ready: two of them, with where they are.
fn reasons(workload: &Workload, inventory: &Inventory) -> String {
    let unready = inventory.pods_of(workload).filter(|one| !pod::is_ready(one));
    let named = unready.take(2).map(|one| {
        let name = text(&one["metadata"]["name"]);
        let node = one["spec"]["nodeName"].as_str();
        let place = node.map_or(String::new(), |node| format!(" on {node}"));
        format!("; pod {name}{place}: {}", why(one))
    });
    named.collect()
}

/// Why a pod is not ready.
fn why(pod: &Value) -> String {
    let statuses = pod["status"]["containerStatuses"].as_array().into_iter().flatten();
    for status in statuses {
        let waiting = &status["state"]["waiting"];
        if let Some(reason) = waiting["reason"].as_str() {
            return format!("{}: {reason} {}", text(&status["name"]), text(&waiting["message"]))
                .trim_end()
                .to_owned();
        }
    }
    let unscheduled = condition(pod, "PodScheduled").filter(|one| one["status"] == "False");
    match unscheduled.or_else(|| pod::ready(pod)) {
        Some(condition) if !text(&condition["message"]).is_empty() => text(&condition["message"]).to_owned(),
        _ => format!("not ready ({})", text(&pod["status"]["phase"])),
    }
}

fn on_node(component: &Component, workload: &Workload, node: &NodeFacts, inventory: &Inventory, seen: &mut Seen) {
    let name = node.name.as_str();
    let mut there = inventory
        .of(component)
        .flat_map(|workload| inventory.pods_of(workload))
        .filter(|one| one["spec"]["nodeName"] == name);
    if there.next().is_none() {
        let gone = if *component == AGENT {
            "none: pods of this node get no network from Cilium"
        } else {
            "none"
        };
        seen.deviates(
            format!("{} on {name}", component.name),
            format!("a pod of {}", workload.label()),
            gone,
            workload.describe(),
        );
    }
}
