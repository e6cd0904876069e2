//! With native routing every node knows a key for every pod of every other node: without one it sends in plaintext.

use super::{STATUS_NEEDS, allowed_ips::is_native, capture_point::NodeEncryption, peers::Mesh};
use crate::kit::{
    cilium::nodes::{self, Answer, MeshNode},
    recent::Age,
};
use async_trait::async_trait;
use ipnet::IpNet;
use meshproof_contract::{Check, CheckContext, CheckId, CheckText, CiliumQuery, Needs, Scope, Tally, Verdict};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

/// The keys in every ipcache.
pub struct IpcacheKeys;

/// Time between the two reads that must both see the same entry without a key.
const RETRY_AFTER: Duration = Duration::from_secs(2);
/// Findings of one node that are told one by one.
const LISTED: usize = 8;

/// An entry without a key: the node that has it, and the range.
type Keyless = (String, IpNet);

#[async_trait]
impl Check for IpcacheKeys {
    fn id(&self) -> CheckId {
        CheckId::from("encryption::ipcache_keys")
    }
    fn text(&self) -> CheckText {
        CheckText {
            title: "With native routing, every node has an encryption key for every pod of the other nodes",
            proves: "No node sends to any pod of another node in plaintext for want of a key, also not to pods that \
                     do not belong to this run.",
            how: "`cilium-dbg bpf ipcache list -o json` of every agent: each entry in the pod CIDRs of another node of \
                  the mesh must have an `encryptkey` other than 0, and so must each node's own address where both \
                  nodes report node encryption. An entry without one is a finding if it is still there in a second \
                  read. In a tunnel every packet is encrypted whatever the entry says, so there it is skipped.",
            control: "Every node must have an agent that lists at least one entry with a key for a pod of each other \
                      node; otherwise the check is inconclusive.",
            when_red: "The key comes from the pod's CiliumEndpoint and the node's CiliumNode (`encryption.key`): \
                       `kubectl --context CONTEXT -n kube-system exec AGENT_POD -c cilium-agent -- cilium-dbg bpf \
                       ipcache get ADDRESS` on the node in the finding. A restart of that agent writes its ipcache \
                       again.",
        }
    }
    fn scope(&self) -> Scope {
        Scope::Cluster
    }
    fn needs(&self) -> Needs {
        STATUS_NEEDS
    }
    fn faults(&self) -> &'static [&'static str] {
        &["ipcache-key-missing", "node-encryption-off"]
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        let mut tally = Tally::new();
        let mesh = match Mesh::of(context, &mut tally).await {
            Ok(mesh) => mesh,
            Err(verdict) => return verdict,
        };
        let facts = context.environment.facts();
        match facts
            .cluster(&mesh.cluster)
            .and_then(|c| c.cilium.as_ref())
            .map(is_native)
        {
            Some(Ok(true)) => {}
            Some(Ok(false)) => {
                return Verdict::skipped("in tunnel mode every packet between pods is encrypted, whatever its key");
            }
            Some(Err(why)) => return Verdict::inconclusive(why),
            None => return Verdict::inconclusive(format!("Cilium was not found in {}", mesh.cluster)),
        }
        let with_node_encryption = nodes_that_encrypt(context, &mesh, &mut tally).await;
        let first = read(context, &mesh, Age::STATE, &mut tally).await;
        let mut with_key = 0;
        let mut keyless = BTreeSet::new();
        for answer in &first {
            with_key += judge(answer, &mesh, &with_node_encryption, &mut keyless, &mut tally);
        }
        if !keyless.is_empty() {
            // Entries of pods that come and go are written without being read at once.
            tokio::time::sleep(RETRY_AFTER).await;
            let mut still = BTreeSet::new();
            for answer in read(context, &mesh, Age::now(), &mut Tally::new()).await {
                judge(&answer, &mesh, &with_node_encryption, &mut still, &mut Tally::new());
            }
            report(keyless.intersection(&still), &mesh, &mut tally);
        }
        if with_key > 0 {
            tally.witness(format!(
                "the nodes of {} have a key for {with_key} addresses of other nodes and their pods",
                mesh.cluster
            ));
        }
        tally.verdict()
    }
}

async fn read(context: &CheckContext, mesh: &Mesh, age: Age, tally: &mut Tally) -> Vec<Answer> {
    let cluster = std::slice::from_ref(&mesh.cluster);
    nodes::ask(context, cluster, CiliumQuery::Ipcache, age, tally).await
}

/// The addresses of nodes whose own traffic is encrypted.
async fn nodes_that_encrypt(context: &CheckContext, mesh: &Mesh, tally: &mut Tally) -> BTreeSet<IpAddr> {
    let mut clusters: Vec<_> = mesh.nodes.iter().map(|node| node.cluster.clone()).collect();
    clusters.dedup();
    let answers = nodes::ask(context, &clusters, CiliumQuery::Status, Age::OfThisRun, tally).await;
    let encrypts = |node: &&MeshNode| {
        let mut of_node = answers
            .iter()
            .filter(|a| a.cluster == node.cluster && a.node == node.name);
        of_node.any(|answer| NodeEncryption::of(&answer.output) == NodeEncryption::Enabled)
    };
    let nodes = mesh.nodes.iter().filter(encrypts);
    nodes.flat_map(|node| node.addresses.iter().copied()).collect()
}

/// Adds the entries without a key; how many have one.
fn judge(
    answer: &Answer,
    mesh: &Mesh,
    with_node_encryption: &BTreeSet<IpAddr>,
    keyless: &mut BTreeSet<Keyless>,
    tally: &mut Tally,
) -> usize {
    let own = mesh
        .nodes
        .iter()
        .find(|n| n.cluster == answer.cluster && n.name == answer.node);
    let Some(own) = own else { return 0 };
    let encrypts = own
        .addresses
        .iter()
        .any(|address| with_node_encryption.contains(address));
    let mut keys: BTreeMap<String, usize> = mesh.others(own).map(|n| (n.label().to_string(), 0)).collect();
    for (range, text) in entries(answer) {
        let Ok(range) = range.parse::<IpNet>() else { continue };
        let Some(other) = mesh
            .others(own)
            .find(|other| is_of(range, other, encrypts, with_node_encryption))
        else {
            continue;
        };
        match key(text) {
            Some(0) => {
                keyless.insert((own.label().to_string(), range));
            }
            Some(_) => *keys.entry(other.label().to_string()).or_default() += 1,
            None => tally.unknown(format!("{}: an entry without encryptkey: {text:?}", own.label())),
        }
    }
    for (other, _) in keys.iter().filter(|(_, keys)| **keys == 0) {
        tally.unknown(format!(
            "{}: its ipcache has no entry with a key for a pod of {other}",
            own.label()
        ));
    }
    keys.values().sum()
}

/// Whether what goes to a range is to be encrypted because of this node: its pods, or itself.
fn is_of(range: IpNet, node: &MeshNode, encrypts: bool, with_node_encryption: &BTreeSet<IpAddr>) -> bool {
    let is_host = range.prefix_len() == range.max_prefix_len();
    if is_host && node.has(range.addr()) {
        return encrypts && with_node_encryption.contains(&range.addr());
    }
    // Its router and the proxies behind it are the node itself; health and ingress answer like pods.
    if is_host && node.reserved.contains(&range.addr()) {
        return false;
    }
    // The range of all its pods has the node's own key, which is 0 where it opted out (semantics C4).
    is_host && node.pod_cidrs.iter().any(|cidr| cidr.contains(&range))
}

fn entries(answer: &Answer) -> impl Iterator<Item = (&String, &str)> {
    let all = answer.output.as_object().into_iter().flatten();
    all.filter_map(|(range, values)| Some((range, values[0].as_str()?)))
}

/// `encryptkey` of `identity=122312 encryptkey=255 tunnelendpoint=10.25.12.12 flags=hastunnel`.
fn key(text: &str) -> Option<u64> {
    text.split_whitespace()
        .find_map(|part| part.strip_prefix("encryptkey=")?.parse().ok())
}

fn report<'a>(keyless: impl Iterator<Item = &'a Keyless>, mesh: &Mesh, tally: &mut Tally) {
    let mut by_node: BTreeMap<&String, Vec<String>> = BTreeMap::new();
    for (node, range) in keyless {
        by_node.entry(node).or_default().push(range.addr().to_string());
    }
    for (node, ranges) in by_node {
        let more = match ranges.len().saturating_sub(LISTED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let listed = ranges
            .iter()
            .take(LISTED)
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join(", ");
        tally.finding(
            node,
            mesh.claimed.expects("a key for every pod of other nodes"),
            format!("encryptkey=0 for {listed}{more}: what is sent there leaves in plaintext"),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{encryption::tests::world::World, testing::infra};
    use serde_json::json;

    fn native() -> World {
        let mut world = World::healthy();
        for cluster in ["infra", "apps"] {
            world.configure(cluster, "routing-mode", "native");
        }
        world
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_without_a_key_is_red_and_in_a_tunnel_it_does_not_matter() {
        native().expect(&IpcacheKeys, infra(), "pass").await;
        let without = |address: &'static str| {
            native().ipcache(move |node, entries| {
                if node == "infra-1" {
                    let text = "identity=7001 encryptkey=0 tunnelendpoint=10.25.11.12 flags=hastunnel";
                    entries[format!("{address}/32")] = json!([text]);
                }
            })
        };
        let said = without("10.244.2.20").expect(&IpcacheKeys, infra(), "fail").await;
        assert!(said.contains("infra-1") && said.contains("10.244.2.20"), "{said}");
        // A pod of its own.
        without("10.244.1.20").expect(&IpcacheKeys, infra(), "pass").await;
        let empty = native().ipcache(|_, entries| *entries = json!({}));
        empty.expect(&IpcacheKeys, infra(), "inconclusive").await;
        let mut tunnel = without("10.244.2.20");
        tunnel.configure("infra", "routing-mode", "tunnel");
        tunnel.expect(&IpcacheKeys, infra(), "skipped").await;
    }

    #[test]
    fn the_key_is_read_as_cilium_prints_it() {
        let text = "identity=122312 encryptkey=255 tunnelendpoint=10.25.12.12 flags=hastunnel";
        assert_eq!(key(text), Some(255));
        assert_eq!(key("identity=2"), None);
    }
}
