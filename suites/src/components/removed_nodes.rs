//! No node was taken out of the cluster without another one in its place.

use super::{
    inventory::{text, time},
    looks::{Look, Seen, conclude},
};
use crate::kit::recent::{self, Age};
use async_trait::async_trait;
use jiff::Timestamp;
use meshproof_contract::{Check, CheckContext, CheckId, CheckText, Scope, Verdict};
use serde_json::Value;
use std::collections::BTreeMap;

/// Nodes that went.
pub struct RemovedNodes;

/// Where events about nodes are, which have no namespace.
const NAMESPACE: &str = "default";
/// What the node controller says of a Node that is gone (`pkg/controller/nodelifecycle` of Kubernetes).
const REMOVED: &str = "RemovingNode";
/// Who takes nodes away on purpose.
const SCALERS: [&str; 2] = ["autoscaler", "karpenter"];

#[async_trait]
impl Check for RemovedNodes {
    fn id(&self) -> CheckId {
        CheckId::from("components::removed_nodes")
    }

    fn text(&self) -> CheckText {
        CheckText {
            title: "No node was removed in the last hour without another one in its place",
            proves: "The nodes that the other checks look at are all that there should be: a Node that somebody \
                     deleted takes its CiliumNode, its pods and its agent with it, and nothing else misses it while \
                     its machine runs on.",
            how: "The events of the node controller (reason RemovingNode), which the API server keeps for an hour by \
                  default, against the Nodes that exist. Left out are nodes that came back, as many as have joined \
                  since, and those that an autoscaler took away.",
            control: "Nodes and events must be readable, and there must be a Node; otherwise the check is \
                      inconclusive.",
            when_red: "`kubectl --context CONTEXT get events --field-selector reason=RemovingNode` shows when it went. \
                       If its machine should be in the cluster, restart its kubelet: it registers the Node again. If \
                       it was removed on purpose, this passes within the hour.",
        }
    }

    fn scope(&self) -> Scope {
        Scope::Cluster
    }
    fn faults(&self) -> &'static [&'static str] {
        &["node-deleted"]
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        conclude(context, self).await
    }
}

#[async_trait]
impl Look for RemovedNodes {
    async fn look(&self, context: &CheckContext, age: Age) -> Seen {
        let mut seen = Seen::default();
        let cluster = context.instance.from();
        let nodes = recent::list(context, cluster, ("v1", "Node"), age).await;
        let environment = &context.environment;
        let events = environment.list(cluster, "v1", "Event", Some(NAMESPACE)).await;
        let (Some(nodes), Some(events)) = (seen.read("Nodes", cluster, nodes), seen.read("events", cluster, events))
        else {
            return seen;
        };
        let mut gone = removed(&events);
        gone.retain(|name, _| !nodes.iter().any(|node| node["metadata"]["name"] == name.as_str()));
        gone.retain(|name, _| {
            let is_meant = events.iter().any(|event| is_about(event, name) && is_by_scaler(event));
            if is_meant {
                seen.note(format!("node {name} was taken away by an autoscaler"));
            }
            !is_meant
        });
        // Each that joined since stands for one that went before it.
        let joined = nodes
            .iter()
            .filter_map(|node| time(&node["metadata"]["creationTimestamp"]));
        let mut joined: Vec<Timestamp> = joined.collect();
        joined.sort_unstable();
        for (name, at) in gone {
            match joined.iter().position(|joined| *joined > at) {
                Some(other) => {
                    joined.remove(other);
                    seen.note(format!(
                        "node {name} was removed at {at}, and another one has joined since"
                    ));
                }
                None => seen.deviates(
                    format!("node {name} of {cluster}"),
                    "there, or another one in its place",
                    format!("its Node was removed at {at}"),
                    format!("get events -n {NAMESPACE} --field-selector reason={REMOVED}"),
                ),
            }
        }
        if !nodes.is_empty() {
            seen.witness(format!("{} nodes of {cluster}, as many as an hour ago", nodes.len()));
        }
        seen
    }
}

/// The nodes that went, and when the last time.
fn removed(events: &[Value]) -> BTreeMap<String, Timestamp> {
    let mut gone = BTreeMap::new();
    for event in events.iter().filter(|event| event["reason"] == REMOVED) {
        let at = [&event["lastTimestamp"], &event["eventTime"], &event["firstTimestamp"]];
        if let Some(at) = at.into_iter().find_map(time) {
            let last = gone
                .entry(text(&event["involvedObject"]["name"]).to_owned())
                .or_insert(at);
            *last = at.max(*last);
        }
    }
    gone
}

fn is_about(event: &Value, node: &str) -> bool {
    event["involvedObject"]["name"] == node
}

fn is_by_scaler(event: &Value) -> bool {
    let by = [&event["source"]["component"], &event["reportingComponent"]];
    by.into_iter()
        .any(|who| SCALERS.iter().any(|scaler| text(who).contains(scaler)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        components::tests::world::healthy,
        testing::{Fake, MISSION, infra},
    };
    use serde_json::json;

    fn event(name: &str, node: &str, reason: &str, component: &str) -> Value {
        json!({"kind": "Event", "metadata": {"namespace": NAMESPACE, "name": name}, "reason": reason,
            "involvedObject": {"kind": "Node", "name": node}, "source": {"component": component},
            "lastTimestamp": "2026-11-30T10:00:00Z"})
    }

    fn without(node: &str) -> Fake {
        healthy(MISSION).object("infra", event("a", node, REMOVED, "node-controller"))
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_went_is_red_until_it_is_back_or_replaced() {
        healthy(MISSION).expect(&RemovedNodes, infra(), "pass").await;
        let text = without("infra-4").expect(&RemovedNodes, infra(), "fail").await;
        assert!(
            text.contains("node infra-4 of infra") && text.contains("removed at 2026-11-30T10:00:00Z"),
            "{text}"
        );
        without("infra-2").expect(&RemovedNodes, infra(), "pass").await;
        let since = json!({"metadata": {"creationTimestamp": "2026-11-30T10:05:00Z"}});
        without("infra-4")
            .patched("infra", "Node", "infra-3", &since)
            .expect(&RemovedNodes, infra(), "pass")
            .await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_an_autoscaler_takes_is_meant() {
        without("infra-4")
            .object("infra", event("b", "infra-4", "ScaleDown", "cluster-autoscaler"))
            .expect(&RemovedNodes, infra(), "pass")
            .await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_read_is_inconclusive() {
        for kind in ["Node", "Event"] {
            healthy(MISSION)
                .list_refused(kind)
                .expect(&RemovedNodes, infra(), "inconclusive")
                .await;
        }
    }
}
