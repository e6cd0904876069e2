//! Nodes are fit for what runs on them.

use super::{
    inventory::{cilium, condition, text},
    looks::{Look, Seen, conclude},
};
use crate::kit::{
    recent::{self, Age},
    version::{Minor, is_rhel8, least_kernel},
};
use async_trait::async_trait;
use meshproof_contract::{Check, CheckContext, CheckId, CheckText, Scope, Verdict};
use serde_json::Value;

/// Nodes.
pub struct Nodes;

/// A kubelet may be so many minor versions older than the API server, and never newer (Kubernetes' version skew
/// policy, since 1.28).
const OLDER: u32 = 3;
/// The taint that Cilium's operator takes away when the agent is ready.
const NOT_READY: &str = "node.cilium.io/agent-not-ready";
/// Conditions that should not be True.
const PRESSURES: [&str; 4] = ["MemoryPressure", "DiskPressure", "PIDPressure", "NetworkUnavailable"];

#[async_trait]
impl Check for Nodes {
    fn id(&self) -> CheckId {
        CheckId::from("components::nodes")
    }

    fn text(&self) -> CheckText {
        CheckText {
            title: "Nodes are Ready without pressure, with a kernel and a kubelet that fit Cilium and the API server",
            proves: "No node is short of memory, disk or process ids, evicts pods or waits for its network, and none \
                     is left behind by an upgrade.",
            how: "The Node objects are read: conditions Ready, MemoryPressure, DiskPressure, PIDPressure and \
                  NetworkUnavailable; the taint that keeps pods away until the agent is ready; the kernel against what \
                  this version of Cilium needs (5.10 since 1.18, 5.4 since 1.16, or RHEL 8's); the kubelet, which may \
                  be three minor versions older than the API server and not newer. What is wrong is read again after \
                  10 s.",
            control: "At least one node must be found fit in everything; otherwise the check is inconclusive.",
            when_red: "`kubectl --context CONTEXT describe node NODE` shows conditions, taints and recent events. A \
                       taint of Cilium that stays although its agent is ready: the operator does not work.",
        }
    }

    fn scope(&self) -> Scope {
        Scope::Cluster
    }
    fn faults(&self) -> &'static [&'static str] {
        &["node-disk-pressure", "node-kernel-old", "node-kubelet-old"]
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        conclude(context, self).await
    }
}

#[async_trait]
impl Look for Nodes {
    async fn look(&self, context: &CheckContext, age: Age) -> Seen {
        let mut seen = Seen::default();
        let (facts, cluster) = (context.environment.facts(), context.instance.from());
        let nodes = recent::list(context, cluster, ("v1", "Node"), age).await;
        let Some(nodes) = seen.read("Nodes", cluster, nodes) else {
            return seen;
        };
        let of_cilium = cilium(context, cluster).and_then(|cilium| Minor::read(&cilium.version));
        let server = facts.cluster(cluster).and_then(|found| Minor::read(&found.version));
        let mut fit = 0;
        for node in nodes.iter() {
            let name = text(&node["metadata"]["name"]);
            if facts
                .foreign_nodes
                .iter()
                .any(|one| one.cluster == *cluster && one.node.as_str() == name)
            {
                continue;
            }
            let unfit = [
                state(node),
                of_cilium.and_then(|cilium| kernel(node, cilium)),
                server.and_then(|server| kubelet(node, server)),
            ];
            let mut is_fit = true;
            for (expected, observed) in unfit.into_iter().flatten() {
                is_fit = false;
                seen.deviates(
                    format!("node {name}"),
                    expected,
                    observed,
                    format!("describe node {name}"),
                );
            }
            fit += usize::from(is_fit);
            if node["spec"]["unschedulable"] == true {
                seen.note(format!("node {name} is cordoned: no new pods"));
            }
        }
        if fit > 0 {
            seen.witness(format!(
                "{fit} of {} nodes are Ready, without pressure, and of fitting versions",
                nodes.len()
            ));
        }
        seen
    }
}

/// What is expected of it and what is.
type Unfit = (String, String);

fn state(node: &Value) -> Option<Unfit> {
    let of = |kind: &str| condition(node, kind).map(|one| text(&one["status"]));
    let words = |kind: &str| {
        let one = condition(node, kind).unwrap_or(&Value::Null);
        format!("{} ({})", text(&one["message"]), text(&one["reason"]))
    };
    if of("Ready").is_some_and(|ready| ready != "True") {
        return Some(("Ready".to_owned(), words("Ready")));
    }
    if let Some(kind) = PRESSURES.into_iter().find(|kind| of(kind) == Some("True")) {
        return Some((format!("{kind} False"), format!("{kind} True: {}", words(kind))));
    }
    let mut taints = node["spec"]["taints"].as_array().into_iter().flatten();
    taints.any(|taint| taint["key"] == NOT_READY).then(|| {
        let observed = format!("taint {NOT_READY}: pods wait for the agent");
        ("no taint of an agent that is not ready".to_owned(), observed)
    })
}

fn kernel(node: &Value, cilium: Minor) -> Option<Unfit> {
    let kernel = text(&node["status"]["nodeInfo"]["kernelVersion"]);
    let least = least_kernel(cilium);
    let is_old = Minor::read(kernel).is_some_and(|kernel| kernel < least) && !is_rhel8(kernel);
    is_old.then(|| {
        (
            format!("a kernel of {least} or later, which Cilium {cilium} needs"),
            format!("kernel {kernel}"),
        )
    })
}

fn kubelet(node: &Value, server: Minor) -> Option<Unfit> {
    let written = text(&node["status"]["nodeInfo"]["kubeletVersion"]);
    let kubelet = Minor::read(written)?;
    let oldest = Minor::new(server.major, server.minor.saturating_sub(OLDER));
    (kubelet > server || kubelet < oldest).then(|| {
        (
            format!("a kubelet of {oldest} to {server}, the API server's"),
            format!("kubelet {written}"),
        )
    })
}
