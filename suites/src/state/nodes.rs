//! Every CiliumNode is a node that lives, with addresses and a key of its own, and every agent knows all of them.

use super::{
    cilium,
    deviation::{Counts, Difference, Seen, conclude},
    look::{ClusterLook, Look},
    object::{CiliumNode, address, list, text},
};
use crate::kit::cilium::{nodes::meshed, remotes::mesh_name};
use async_trait::async_trait;
use meshproof_contract::{
    Check, CheckContext, CheckId, CheckText, CiliumQuery, ClusterName, Facts, Needs, NodeName, Scope, Tally, Verdict,
};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// CiliumNodes against Nodes, against each other, and in every agent.
pub struct Nodes;

const OBJECTS: &str = "get nodes,ciliumnodes -o wide";
const COMMAND: &str = "cilium-dbg node list";
/// Why a node is left out.
const JOINS: &str = "nodes that joined in the last five minutes";

#[async_trait]
impl Check for Nodes {
    fn id(&self) -> CheckId {
        CheckId::from("state::nodes")
    }

    fn text(&self) -> CheckText {
        CheckText {
            title: "Every CiliumNode is a living node with its own addresses and key, and every agent knows it",
            proves: "No object of a node that has gone sends traffic to nowhere, or to the node that has its address \
                     now. No two nodes share an address, a range of pods or a WireGuard key. No agent lacks a node of \
                     its own or another cluster, or has an address for it that is not its own.",
            how: "Nodes and CiliumNodes of all clusters of the mesh are listed, and each agent (16 of a larger \
                  cluster, drawn by `--sample-seed`) prints `cilium-dbg node list -o json`. Each CiliumNode must have \
                  a Node of its name that is Ready and has its addresses, each Node a CiliumNode and an agent, and \
                  each agent all nodes with their addresses. A difference is read again after `thresholds.propagation` \
                  (default 10 s).",
            control: "At least one CiliumNode must have been compared, and agents must list nodes. Lists that cannot \
                      be read make it inconclusive.",
            when_red: "`kubectl --context CONTEXT get nodes,ciliumnodes -o wide`. A CiliumNode without Node is removed \
                       by the operator after ten minutes; after that remove it: `kubectl --context CONTEXT delete \
                       ciliumnode NAME`.",
        }
    }

    fn scope(&self) -> Scope {
        Scope::Cluster
    }
    fn needs(&self) -> Needs {
        Needs::default()
    }
    fn faults(&self) -> &'static [&'static str] {
        &["cilium-node-ghost", "mesh-node-count-short"]
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        let facts = context.environment.facts();
        if let Err(verdict) = cilium(context, &facts) {
            return verdict;
        }
        conclude(context, |look, tally| compare(context, look, tally)).await
    }
}

fn compare(context: &CheckContext, look: &Look, tally: &mut Tally) -> Seen {
    let mut seen = Seen::of("nodes, in the API and in agents");
    let facts = context.environment.facts();
    let cluster = context.instance.from();
    let mut of_mesh = BTreeMap::new();
    for other in meshed(&facts, cluster) {
        match look.cluster(&other).and_then(|look| Ok(look.cilium_nodes.as_ref()?)) {
            Ok(nodes) => {
                of_mesh.insert(other, nodes.as_slice());
            }
            Err(why) => tally.unknown(why),
        }
    }
    let (Ok(own), Some(nodes)) = (look.cluster(cluster), of_mesh.get(cluster)) else {
        return seen;
    };
    alive(&facts, cluster, own, nodes, &mut seen, tally);
    unique(cluster, &of_mesh, &mut seen);
    apart(cluster, nodes, &mut seen);
    for (node, output) in own.answers(CiliumQuery::Nodes, tally) {
        known(&facts, node, output, &of_mesh, &mut seen, tally);
    }
    seen
}

fn in_api(subject: String, expected: &str, observed: String, counts: Counts) -> Difference {
    Difference {
        subject,
        expected: expected.to_owned(),
        observed,
        version: String::new(),
        counts,
    }
}

/// Nodes against CiliumNodes of one cluster.
fn alive(
    facts: &Facts,
    cluster: &ClusterName,
    look: &ClusterLook,
    cilium_nodes: &[CiliumNode],
    seen: &mut Seen,
    tally: &mut Tally,
) {
    let nodes = match &look.nodes {
        Ok(nodes) => nodes,
        Err(why) => {
            tally.unknown(why);
            return;
        }
    };
    for object in cilium_nodes {
        seen.compared += 1;
        let of_node = nodes.iter().find(|node| node.name == object.name);
        let subject = format!("CiliumNode {} of {cluster}", object.name);
        match of_node {
            None if object.kept => seen.leave_out("CiliumNodes that their operators keep (`cilium.io/do-not-gc`)"),
            None => {
                let observed = format!("no Node has this name; it has the address {}", all(&object.addresses));
                seen.in_api(
                    OBJECTS,
                    in_api(subject, "a Node of the same name", observed, Counts::Thrice),
                );
            }
            Some(node) if node.joins => seen.leave_out(JOINS),
            Some(node) => {
                if let Some(why) = &node.unready {
                    let expected = "a Node that is Ready";
                    seen.in_api(OBJECTS, in_api(subject.clone(), expected, why.clone(), Counts::Twice));
                }
                if !node.addresses.is_empty() && !object.addresses.is_subset(&node.addresses) {
                    let expected = format!("the addresses of its Node, {}", all(&node.addresses));
                    let observed = format!("InternalIP {}", all(&object.addresses));
                    seen.in_api(OBJECTS, in_api(subject, &expected, observed, Counts::Twice));
                }
            }
        }
    }
    let known: BTreeSet<&str> = cilium_nodes.iter().map(|node| node.name.as_str()).collect();
    let of_run = facts.cluster(cluster).map_or(&[][..], |found| &found.nodes);
    // Virtual nodes and the like are no part of the mesh, and those that came later may have no agent yet.
    for node in of_run.iter().filter(|node| !known.contains(node.name.as_str())) {
        let object = nodes.iter().find(|object| object.name == node.name.as_str());
        if object.is_some_and(|object| object.joins) {
            seen.leave_out(JOINS);
        } else if let Some(object) = object {
            let observed = match &object.unready {
                Some(why) => format!("none; the Node is {why}"),
                None => "none: no agent has ever run there".to_owned(),
            };
            let subject = format!("Node {} of {cluster}", node.name);
            seen.in_api(
                OBJECTS,
                in_api(subject, "a CiliumNode of the same name", observed, Counts::Twice),
            );
        }
    }
}

fn all<T: ToString>(values: &BTreeSet<T>) -> String {
    values.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Ranges of pods' addresses of one cluster that overlap; those of two are for mesh::cluster_identities.
fn apart(cluster: &ClusterName, nodes: &[CiliumNode], seen: &mut Seen) {
    for (number, node) in nodes.iter().enumerate() {
        for other in &nodes[..number] {
            let ranges = node
                .pod_ranges
                .iter()
                .flat_map(|a| other.pod_ranges.iter().map(move |b| (a, b)));
            for (a, b) in ranges.filter(|(a, b)| a.contains(*b) || b.contains(*a)) {
                let subject = format!("pod range {a} of CiliumNode {} of {cluster}", node.name);
                let observed = format!("CiliumNode {} has {b}", other.name);
                seen.in_api(
                    OBJECTS,
                    in_api(subject, "one node that has it", observed, Counts::Twice),
                );
            }
        }
    }
}

/// Addresses and keys that two nodes have, one of them of this cluster.
fn unique(cluster: &ClusterName, of_mesh: &BTreeMap<ClusterName, &[CiliumNode]>, seen: &mut Seen) {
    let mut owners: BTreeMap<String, Vec<(&ClusterName, &CiliumNode)>> = BTreeMap::new();
    for (of, node) in of_mesh
        .iter()
        .flat_map(|(of, nodes)| nodes.iter().map(move |node| (of, node)))
    {
        let addresses: BTreeSet<_> = node.addresses.union(&node.reserved).collect();
        for address in addresses {
            owners.entry(format!("address {address}")).or_default().push((of, node));
        }
        if let Some(key) = &node.key {
            owners
                .entry(format!("WireGuard key {key}"))
                .or_default()
                .push((of, node));
        }
    }
    for (what, owners) in owners.iter().filter(|(_, owners)| owners.len() > 1) {
        if owners.iter().any(|(of, _)| *of == cluster) {
            let names: Vec<String> = owners
                .iter()
                .map(|(of, node)| format!("{} of {of}", node.name))
                .collect();
            let observed = format!("CiliumNodes {} have it", names.join(" and "));
            seen.in_api(
                OBJECTS,
                in_api(what.clone(), "one node that has it", observed, Counts::Twice),
            );
        }
    }
}

/// What one agent lists, against all nodes of the mesh.
fn known(
    facts: &Facts,
    agent: &NodeName,
    output: &Value,
    of_mesh: &BTreeMap<ClusterName, &[CiliumNode]>,
    seen: &mut Seen,
    tally: &mut Tally,
) {
    let listed: BTreeSet<String> = list(output).map(|node| text(&node["name"])).collect();
    if listed.is_empty() {
        tally.unknown(format!("the agent on {agent} lists no node"));
        return;
    }
    for (of, nodes) in of_mesh {
        // Nodes of a cluster that nobody named stand without it (`pkg/node/types`).
        let mesh_name = mesh_name(facts, of);
        let prefix = if mesh_name == "default" {
            String::new()
        } else {
            format!("{mesh_name}/")
        };
        let is_of = |name: &str| name.strip_prefix(&prefix).is_some_and(|rest| !rest.contains('/'));
        let there: BTreeSet<String> = nodes.iter().map(|node| format!("{prefix}{}", node.name)).collect();
        seen.compared += there.len();
        let mut add = |name: &str, expected: &str, observed: &str, counts| {
            let difference = in_api(format!("node {name}"), expected, observed.to_owned(), counts);
            seen.on(agent, COMMAND, difference);
        };
        for name in there.difference(&listed) {
            add(
                name,
                "in the agent's list, as it has a CiliumNode",
                "missing",
                Counts::Twice,
            );
        }
        for (name, node) in nodes.iter().map(|node| (format!("{prefix}{}", node.name), node)) {
            let of_agent = list(output).find(|listed| listed["name"] == name.as_str());
            let primary = of_agent.and_then(|listed| {
                let families = ["ipv4", "ipv6"].map(|family| &listed["primary-address"][family]["ip"]);
                families.into_iter().find_map(address)
            });
            if let Some(primary) = primary.filter(|primary| !node.addresses.contains(primary)) {
                let expected = format!("address {}, as its CiliumNode has", all(&node.addresses));
                add(&name, &expected, &format!("address {primary}"), Counts::Twice);
            }
        }
        for name in listed.difference(&there).filter(|name| is_of(name)) {
            add(
                name,
                "not in the agent's list, as it has no CiliumNode",
                "still listed",
                Counts::Thrice,
            );
        }
    }
}
