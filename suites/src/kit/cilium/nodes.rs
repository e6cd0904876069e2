//! The nodes of the clusters as Cilium announces them: addresses, keys, and which addresses do not belong to pods.

use crate::kit::recent::{self, Age};
use ipnet::IpNet;
use meshproof_contract::{CheckContext, CiliumQuery, ClusterName, Facts, NodeLabel, NodeName, Tally};
use serde_json::Value;
use std::{collections::BTreeSet, net::IpAddr};

/// A node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeshNode {
    /// Its cluster.
    pub cluster: ClusterName,
    /// Its name.
    pub name: NodeName,
    /// Its own addresses on the network between the nodes.
    pub addresses: Vec<IpAddr>,
    /// Addresses out of the pods' ranges that are the node's: router (`CiliumInternalIP`), health endpoint, ingress.
    /// Traffic of theirs is the host's, which is encrypted only with node encryption.
    pub reserved: Vec<IpAddr>,
    /// The ranges of its pods; empty when the CNI does not say.
    pub pod_cidrs: Vec<IpNet>,
    /// WireGuard's public key, as announced in the annotation [`PUBLIC_KEY`].
    pub announced_key: Option<String>,
}

/// The annotation of a CiliumNode that carries its WireGuard key (`pkg/annotation` in Cilium 1.16 to 1.19), and its
/// name before.
pub const PUBLIC_KEY: [&str; 2] = ["network.cilium.io/wg-pub-key", "io.cilium.network.wg-pub-key"];

impl MeshNode {
    /// How findings call it.
    pub fn label(&self) -> NodeLabel {
        NodeLabel::pod(&self.cluster, &self.name)
    }
    /// Whether the address is one of the node's own on the network between nodes.
    pub fn has(&self, address: IpAddr) -> bool {
        self.addresses.contains(&address)
    }
}

/// The nodes of these clusters, from the Nodes and CiliumNodes of each, at most ten seconds old. What cannot be read
/// goes to the tally.
pub async fn nodes(context: &CheckContext, clusters: &[ClusterName], tally: &mut Tally) -> Vec<MeshNode> {
    let facts = context.environment.facts();
    let lists = clusters
        .iter()
        .map(|cluster| async move { (cluster, recent::cilium_nodes(context, cluster, Age::STATE).await) });
    let mut nodes = Vec::new();
    for (cluster, list) in futures::future::join_all(lists).await {
        match list {
            Ok(objects) => nodes.extend(of(&facts, cluster, &objects, tally)),
            Err(error) => tally.unknown(format!("the CiliumNodes of {cluster} could not be read: {error}")),
        }
    }
    nodes
}

fn of(facts: &Facts, cluster: &ClusterName, objects: &[Value], tally: &mut Tally) -> Vec<MeshNode> {
    let known = facts.cluster(cluster).into_iter().flat_map(|c| &c.nodes);
    let mut nodes = Vec::new();
    for node in known {
        let Some(object) = objects.iter().find(|o| o["metadata"]["name"] == node.name.as_str()) else {
            tally.unknown(format!(
                "node {} has no CiliumNode",
                NodeLabel::pod(cluster, &node.name)
            ));
            continue;
        };
        let of_kind = |kind: &str| addresses(object, kind);
        let mut own = node.addresses.clone();
        own.extend(of_kind("InternalIP"));
        own.sort_unstable();
        own.dedup();
        let spec = &object["spec"];
        let single = ["/health/ipv4", "/health/ipv6", "/ingress/ipv4", "/ingress/ipv6"];
        let single = single
            .iter()
            .filter_map(|path| spec.pointer(path)?.as_str()?.parse().ok());
        let mut pod_cidrs: Vec<IpNet> = node.pod_cidrs.iter().filter_map(|cidr| cidr.parse().ok()).collect();
        let announced = spec["ipam"]["podCIDRs"].as_array().into_iter().flatten();
        pod_cidrs.extend(announced.filter_map(|cidr| cidr.as_str()?.parse::<IpNet>().ok()));
        pod_cidrs.sort_unstable();
        pod_cidrs.dedup();
        nodes.push(MeshNode {
            cluster: cluster.clone(),
            name: node.name.clone(),
            addresses: own,
            reserved: of_kind("CiliumInternalIP").into_iter().chain(single).collect(),
            pod_cidrs,
            announced_key: PUBLIC_KEY
                .iter()
                .find_map(|name| object["metadata"]["annotations"][name].as_str())
                .map(str::to_owned),
        });
    }
    nodes
}

fn addresses(object: &Value, kind: &str) -> Vec<IpAddr> {
    let all = object["spec"]["addresses"].as_array().into_iter().flatten();
    all.filter(|address| address["type"] == kind)
        .filter_map(|address| address["ip"].as_str()?.parse().ok())
        .collect()
}

/// The addresses of all nodes that these clusters announce now, by their CiliumNodes; none where one's cannot be read.
pub async fn announced(context: &CheckContext, clusters: &[ClusterName]) -> Option<BTreeSet<IpAddr>> {
    let mut all = BTreeSet::new();
    for cluster in clusters {
        let listed = recent::cilium_nodes(context, cluster, Age::now()).await;
        let objects = listed.ok().filter(|objects| !objects.is_empty())?;
        let of_kind = |object: &Value| [addresses(object, "InternalIP"), addresses(object, "ExternalIP")].concat();
        all.extend(objects.iter().flat_map(of_kind));
    }
    Some(all)
}

/// What the agent on one node answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The agent's cluster.
    pub cluster: ClusterName,
    /// Its node.
    pub node: NodeName,
    /// What it printed.
    pub output: Value,
}

/// Asks the agent on every node of these clusters, or takes what was answered not too long ago. A node without an
/// answer goes to the tally.
pub async fn ask(
    context: &CheckContext,
    clusters: &[ClusterName],
    query: CiliumQuery,
    age: Age,
    tally: &mut Tally,
) -> Vec<Answer> {
    let facts = context.environment.facts();
    let asking = clusters
        .iter()
        .map(|cluster| async move { (cluster, recent::cilium(context, cluster, query, age).await) });
    let mut all = Vec::new();
    for (cluster, answers) in futures::future::join_all(asking).await {
        let answers = match answers {
            Ok(answers) => answers,
            Err(error) => {
                tally.unknown(format!("the Cilium agents of {cluster} could not be asked: {error}"));
                continue;
            }
        };
        for node in facts.cluster(cluster).into_iter().flat_map(|c| &c.nodes) {
            let of_node = answers.iter().find(|answer| answer.node == node.name);
            match of_node.map(|answer| &answer.output) {
                Some(Ok(output)) => all.push(Answer {
                    cluster: cluster.clone(),
                    node: node.name.clone(),
                    output: output.clone(),
                }),
                Some(Err(error)) => tally.unknown(format!("{}: {error}", NodeLabel::pod(cluster, &node.name))),
                None => tally.unknown(format!(
                    "no Cilium agent answered on node {}",
                    NodeLabel::pod(cluster, &node.name)
                )),
            }
        }
    }
    all
}

/// The clusters that a cluster's nodes must reach encrypted: itself and those of the run that it is one mesh with.
pub fn meshed(facts: &Facts, cluster: &ClusterName) -> Vec<ClusterName> {
    let all = facts.clusters.iter().map(|c| &c.name);
    all.filter(|other| *other == cluster || crate::kit::cilium::remotes::joined(facts, cluster, other))
        .cloned()
        .collect()
}
