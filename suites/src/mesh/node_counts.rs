//! A cluster knows exactly the nodes that the other one has.

use super::STATUS_NEEDS;
use super::remotes::{self, reports};
use crate::next;
use async_trait::async_trait;
use meshproof_contract::{Check, CheckContext, CheckId, CheckText, CiliumQuery, Needs, Scope, Tally, Unit, Verdict};
use std::collections::BTreeSet;

/// Node counts across the mesh, in one direction.
pub struct NodeCounts;

#[async_trait]
impl Check for NodeCounts {
    fn id(&self) -> CheckId {
        CheckId::from("mesh::node_counts")
    }

    fn text(&self) -> CheckText {
        CheckText {
            title: "Every agent knows as many nodes of the other cluster as it has",
            proves: "No node of the other cluster is missing for any agent of this one, and none that is gone is still known: pods behind a missing node are out of reach, and a leftover one attracts traffic.",
            how: "`num-nodes` of the remote in `cilium-dbg status -o json` of every agent, and in KVStoreMesh's status where it runs, against the Node objects that the other cluster's API lists now. \
                  The instance in the other direction compares the other way round.",
            control: "Both numbers are read for this run, one from either side; if either cannot be read the result is inconclusive, and a count of 0 Nodes is one that could not be read.",
            when_red: "`kubectl --context CONTEXT get nodes` and `get ciliumnodes` in the other cluster (a Node without CiliumNode has no agent yet), `kubectl --context CONTEXT -n kube-system exec ds/cilium -c cilium-agent -- cilium-dbg node list` in this one.",
        }
    }

    fn scope(&self) -> Scope {
        Scope::Direction
    }
    fn needs(&self) -> Needs {
        STATUS_NEEDS
    }
    fn faults(&self) -> &'static [&'static str] {
        &["mesh-node-count-short"]
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        let facts = context.environment.facts();
        let (from, to) = (context.instance.from(), context.instance.to());
        let cilium = match remotes::members(&facts, from, to) {
            Ok((cilium, _)) => cilium,
            Err(verdict) => return verdict,
        };
        let mut tally = Tally::new();
        let nodes = match context.environment.list(to, "v1", "Node", None).await {
            Ok(nodes) if !nodes.is_empty() => nodes.len() as u64,
            Ok(_) => {
                return Verdict::inconclusive(format!(
                    "the API of {to} lists no Node at all, so there is nothing to compare with"
                ));
            }
            Err(error) => return Verdict::inconclusive(format!("the nodes of {to} could not be read: {error}")),
        };
        context.measure("nodes", to.to_string(), nodes as f64, Unit::Count);
        let expected = BTreeSet::from([remotes::mesh_name(&facts, to)]);
        let what = format!("has {nodes} nodes, as its API says");
        let differs = |said: u64| (said != nodes).then(|| format!("knows {said} nodes"));
        let agents = reports(context, from, CiliumQuery::Status, &mut tally).await;
        remotes::judge(
            context,
            from,
            &agents,
            &expected,
            &what,
            |r| differs(r.num_nodes),
            &mut tally,
        );
        if cilium.kvstoremesh {
            let replicas = reports(context, from, CiliumQuery::KvstoreMesh, &mut tally).await;
            let what = format!("{what}, for KVStoreMesh");
            remotes::judge(
                context,
                from,
                &replicas,
                &expected,
                &what,
                |r| differs(r.num_nodes),
                &mut tally,
            );
        }
        if tally.has_findings() {
            context.evidence(format!(
                "next: {}",
                next::kubectl(&facts, to, "get nodes,ciliumnodes -o wide")
            ));
            context.evidence(format!(
                "next: {}",
                next::in_agent(&facts, from, None, "cilium-dbg node list")
            ));
        }
        tally.verdict()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{Fake, infra_to_apps};
    use serde_json::json;

    #[tokio::test]
    async fn equal_counts_are_green() {
        let text = Fake::healthy().expect(&NodeCounts, infra_to_apps(), "pass").await;
        assert!(text.contains("for KVStoreMesh"), "{text}");
    }

    #[tokio::test]
    async fn one_less_or_one_more_is_red() {
        for count in [2, 4] {
            let fake = Fake::healthy().status(move |_, node, status| {
                if node == "infra-3" {
                    status["cluster-mesh"]["clusters"][0]["num-nodes"] = json!(count);
                }
            });
            let text = fake.expect(&NodeCounts, infra_to_apps(), "fail").await;
            assert!(
                text.contains(&format!("knows {count} nodes")) && text.contains("on infra-3"),
                "{text}"
            );
            let fake = Fake::healthy().kvstoremesh(move |_, status| status[0]["num-nodes"] = json!(count));
            fake.expect(&NodeCounts, infra_to_apps(), "fail").await;
        }
        let gone = Fake::healthy().without_object("apps", "Node", "apps-3");
        gone.expect(&NodeCounts, infra_to_apps(), "fail").await;
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_inconclusive_and_what_is_not_claimed_skipped() {
        Fake::healthy()
            .list_refused("Node")
            .expect(&NodeCounts, infra_to_apps(), "inconclusive")
            .await;
        Fake::healthy()
            .cilium_refused()
            .expect(&NodeCounts, infra_to_apps(), "inconclusive")
            .await;
        Fake::healthy()
            .cilium_error_on("infra-1")
            .expect(&NodeCounts, infra_to_apps(), "inconclusive")
            .await;
        Fake::healthy()
            .facts(|f| f.claims.clear())
            .expect(&NodeCounts, infra_to_apps(), "skipped")
            .await;
    }
}
