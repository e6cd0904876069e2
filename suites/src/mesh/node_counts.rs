//! A cluster knows exactly the nodes that the other one has.

use super::{STATUS_NEEDS, agent_state::RETRY_AFTER};
use crate::kit::{
    cilium::remotes::{self, reports},
    next_steps,
    recent::Age,
};
use async_trait::async_trait;
use meshproof_contract::{
    Check, CheckContext, CheckId, CheckText, CiliumQuery, ClusterName, Needs, NodeLabel, NodeName, Scope, Tally, Unit,
    Verdict,
};
use serde_json::Value;
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
            title: "Every agent knows all nodes of the other cluster, and no other nodes of it",
            proves: "No agent is missing a node of the other cluster, whose pods would be unreachable, and none still \
                     knows a deleted node, to which traffic would be lost.",
            how: "`num-nodes` of the remote in `cilium-dbg status -o json` of every agent, and in KVStoreMesh's \
                  status, must equal the number of Nodes in the other cluster's API. The names in `cilium-dbg node \
                  list -o json` must match too (a difference seen twice, 10 s apart, is red).",
            control: "Both numbers are read in this trial, one from each cluster. If either cannot be read, or the \
                      API lists no Node, the check is inconclusive.",
            when_red: "`kubectl --context OTHER_CONTEXT get nodes,ciliumnodes` (a Node without CiliumNode has no \
                       agent yet), and `kubectl --context CONTEXT -n kube-system exec AGENT_POD -c cilium-agent -- \
                       cilium-dbg node list`.",
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
        let names = match names(context, to).await {
            Ok(names) => names,
            Err(why) => return Verdict::inconclusive(why),
        };
        let nodes = names.len() as u64;
        context.measure("nodes", to.to_string(), nodes as f64, Unit::Count);
        let expected = BTreeSet::from([remotes::mesh_name(&facts, to)]);
        let what = format!("has {nodes} nodes, as its API lists");
        let differs = |reported: u64| (reported != nodes).then(|| format!("reports {reported} nodes"));
        let agents = reports(context, from, CiliumQuery::Status, Age::STATE, &mut tally).await;
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
            let replicas = reports(context, from, CiliumQuery::KvstoreMesh, Age::STATE, &mut tally).await;
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
        let first = misnamed(context, &names).await;
        if !first.is_empty() {
            tokio::time::sleep(RETRY_AFTER).await;
            let second = match self::names(context, to).await {
                Ok(names) => misnamed(context, &names).await,
                Err(_) => BTreeSet::new(),
            };
            for (node, problem) in first.intersection(&second) {
                tally.finding(
                    format!("Cilium agent on {}", NodeLabel::pod(from, node)),
                    format!("the names of the nodes of {to}"),
                    problem,
                );
            }
        }
        if tally.has_findings() {
            context.suggest(next_steps::kubectl(&facts, to, "get nodes,ciliumnodes -o wide"));
            context.suggest(next_steps::in_agent(&facts, from, None, "cilium-dbg node list"));
        }
        tally.verdict()
    }
}

/// The names of a cluster's nodes, as its API lists them now.
async fn names(context: &CheckContext, cluster: &ClusterName) -> Result<BTreeSet<String>, String> {
    let nodes = context.environment.list(cluster, "v1", "Node", None).await;
    let nodes = nodes.map_err(|error| format!("cannot read the nodes of {cluster}: {error}"))?;
    if nodes.is_empty() {
        return Err(format!(
            "the API of {cluster} lists no Node, so there is nothing to compare with"
        ));
    }
    let facts = context.environment.facts();
    // Virtual nodes and the like are no part of the mesh.
    let foreign = facts.foreign_nodes.iter().filter(|foreign| &foreign.cluster == cluster);
    let foreign: BTreeSet<&str> = foreign.map(|foreign| foreign.node.as_str()).collect();
    let name = |node: &Value| Some(node["metadata"]["name"].as_str()?.to_owned());
    let names = nodes
        .iter()
        .filter_map(name)
        .filter(|name| !foreign.contains(name.as_str()));
    Ok(names.collect())
}

/// The agents that know other nodes of the far cluster than these, with how they differ. An agent that does not report
/// names is left out: its count is judged all the same.
async fn misnamed(context: &CheckContext, expected: &BTreeSet<String>) -> BTreeSet<(NodeName, String)> {
    let facts = context.environment.facts();
    let (from, to) = (context.instance.from(), context.instance.to());
    let prefix = format!("{}/", remotes::mesh_name(&facts, to));
    let answers = context
        .environment
        .cilium(from, CiliumQuery::Nodes)
        .await
        .unwrap_or_default();
    let mut differ = BTreeSet::new();
    for answer in answers {
        let Some(listed) = answer.output.ok().and_then(|output| output.as_array().cloned()) else {
            continue;
        };
        let known: BTreeSet<String> = listed
            .iter()
            .filter_map(|node| Some(node["name"].as_str()?.strip_prefix(&prefix)?.to_owned()))
            .collect();
        let list = |names: Vec<&String>| names.into_iter().cloned().collect::<Vec<_>>().join(", ");
        let missing = list(expected.difference(&known).collect());
        let extra = list(known.difference(expected).collect());
        let problem = match (missing.as_str(), extra.as_str()) {
            ("", "") => continue,
            (missing, "") => format!("does not know {missing}"),
            ("", extra) => format!("knows {extra}, which does not exist"),
            (missing, extra) => format!("does not know {missing}, and knows {extra}, which does not exist"),
        };
        differ.insert((answer.node, problem));
    }
    differ
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Fake, infra_to_apps};
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
                text.contains(&format!("reports {count} nodes")) && text.contains("on infra-3"),
                "{text}"
            );
            let fake = Fake::healthy().kvstoremesh(move |_, status| status[0]["num-nodes"] = json!(count));
            fake.expect(&NodeCounts, infra_to_apps(), "fail").await;
        }
        let gone = Fake::healthy().without_object("apps", "Node", "apps-3");
        gone.expect(&NodeCounts, infra_to_apps(), "fail").await;
    }

    #[tokio::test(start_paused = true)]
    async fn one_missing_and_one_that_is_gone_are_red_although_the_count_is_right() {
        let fake = Fake::healthy().nodes(|_, node, list| {
            if node == "infra-2" {
                list[2]["name"] = json!("apps/apps-9");
            }
        });
        let text = fake.expect(&NodeCounts, infra_to_apps(), "fail").await;
        assert!(
            text.contains("Cilium agent on infra-2") && text.contains("does not know apps-3, and knows apps-9"),
            "{text}"
        );
        let unreported = Fake::healthy().nodes(|_, _, list| *list = json!(null));
        unreported.expect(&NodeCounts, infra_to_apps(), "pass").await;
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
