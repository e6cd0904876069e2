//! Every agent's data path knows the identity of every pod of the mesh, and nobody else's.

mod ipcache;

use super::{
    cilium,
    deviation::{Counts, Difference, Seen, conclude},
    look::Look,
    object::{CiliumNode, list, text},
};
use crate::kit::cilium::nodes::meshed;
use async_trait::async_trait;
use ipcache::{Entry, Ipcache};
use ipnet::IpNet;
use meshproof_contract::{
    Check, CheckContext, CheckId, CheckText, CiliumQuery, ClusterName, Needs, NodeName, Scope, Tally, Verdict,
};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// The ipcache of every agent against the pods of all clusters.
pub struct Addresses;

const COMMAND: &str = "cilium-dbg bpf ipcache list";
const IDENTITIES: &str = "cilium-dbg identity list";
/// Reserved identities (`pkg/identity`).
const HOST: u64 = 1;
const HEALTH: u64 = 4;

#[async_trait]
impl Check for Addresses {
    fn id(&self) -> CheckId {
        CheckId::from("state::addresses")
    }

    fn text(&self) -> CheckText {
        CheckText {
            title: "Every node knows identity and node of every pod of all clusters, and of no pod that has gone",
            proves: "Policies judge every pod of the mesh, on every node, as the pod that it is, and nodes as nodes. \
                     No node takes a pod for the world or for another one, or sends what is for it to another node. No \
                     address that was left over passes its identity on to the next pod that gets it.",
            how: "`cilium-dbg bpf ipcache list -o json` and `identity list -o json` of every agent (16 of a larger \
                  cluster, drawn by `--sample-seed`) against the pods and CiliumEndpoints of all clusters of the mesh: \
                  each address with its identity and key and, where traffic leaves by a tunnel, its node; the \
                  addresses of nodes, routers and health endpoints with those reserved for them; and no other address \
                  with a pod's identity in the pod ranges of CiliumNodes. A difference must be there again \
                  `thresholds.propagation` (default 10 s) later, one that is left over twice.",
            control: "At least one address must have been compared. An agent that does not answer, or lists that \
                      cannot be read, make it inconclusive.",
            when_red: "`kubectl --context CONTEXT -n kube-system exec AGENT_POD -c cilium-agent -- cilium-dbg bpf \
                       ipcache list` and `cilium-dbg ip list` there. Restart that agent. When all agents lack pods of \
                       the other cluster, look at `cilium-dbg troubleshoot clustermesh` and at \
                       `mesh::kvstoremesh_ready`.",
        }
    }

    fn scope(&self) -> Scope {
        Scope::Cluster
    }
    fn needs(&self) -> Needs {
        Needs::default()
    }
    fn faults(&self) -> &'static [&'static str] {
        &[
            "identity-unknown-on-node",
            "ipcache-entry-missing",
            "ipcache-entry-stale",
            "ipcache-entry-wrong",
            "mesh-endpoint-stale",
        ]
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        let facts = context.environment.facts();
        if let Err(verdict) = cilium(context, &facts) {
            return verdict;
        }
        conclude(context, |look, tally| compare(context, look, tally)).await
    }
}

/// A pod, as all agents should know it.
struct Known {
    whose: String,
    identity: u64,
    uid: String,
    /// Cluster and name of its node.
    home: (ClusterName, String),
    /// The addresses of that.
    hosts: BTreeSet<IpAddr>,
    /// The key by which what is for it is encrypted.
    key: Option<u64>,
}

/// An address that is a node's, as all agents should know it.
struct OfNode {
    whose: String,
    /// Cluster and name of the node.
    home: (ClusterName, String),
    /// Its health endpoint's, which is a pod of its own.
    is_health: bool,
}

/// An identity that a pod has.
struct Meaning {
    of: String,
    labels: BTreeSet<String>,
}

/// What the APIs of all clusters of a mesh say of addresses.
#[derive(Default)]
struct Truth {
    /// Addresses that every agent must know.
    pods: BTreeMap<IpAddr, Known>,
    /// Their identities.
    identities: BTreeMap<u64, Meaning>,
    /// Addresses of nodes that every agent must know.
    nodes: BTreeMap<IpAddr, OfNode>,
    /// Addresses that some object has, and that therefore are not left over.
    owned: BTreeSet<IpAddr>,
    /// Where pods have their addresses.
    ranges: Vec<(ClusterName, IpNet)>,
}

fn compare(context: &CheckContext, look: &Look, tally: &mut Tally) -> Seen {
    let mut seen = Seen::of("addresses and identities of pods in agents");
    let facts = context.environment.facts();
    let cluster = context.instance.from();
    let mut truth = Truth::default();
    for other in meshed(&facts, cluster) {
        if let Err(why) = gather(context, look, &other, &mut truth, &mut seen) {
            tally.unknown(why);
            return seen;
        }
    }
    let config = facts.cluster(cluster).and_then(|found| found.cilium.as_ref());
    let setting = |key: &str| config.and_then(|cilium| cilium.setting(key));
    if setting("enable-ipv6") != Some("true") {
        truth.nodes.retain(|address, _| address.is_ipv4());
    }
    let viewer = Viewer {
        cluster,
        tunnels: setting("routing-mode") == Some("tunnel"),
        encrypts: setting("enable-wireguard") == Some("true"),
    };
    let agents = match look.cluster(cluster) {
        Ok(agents) => agents,
        Err(why) => {
            tally.unknown(why);
            return seen;
        }
    };
    for (node, output) in agents.answers(CiliumQuery::Ipcache, tally) {
        match Ipcache::read(output) {
            Ok(ipcache) => viewer.compare(node, &ipcache, &truth, &mut seen),
            Err(why) => tally.unknown(format!("{node}: {why}")),
        }
    }
    for (node, output) in agents.answers(CiliumQuery::Identities, tally) {
        if list(output).next().is_none() {
            tally.unknown(format!("{node}: its agent lists no identity"));
        } else {
            meanings(node, output, &truth, &mut seen);
        }
    }
    seen
}

/// What one agent takes identities for.
fn meanings(node: &NodeName, output: &Value, truth: &Truth, seen: &mut Seen) {
    let labels = |known: &Value| list(&known["labels"]).map(text).collect::<BTreeSet<String>>();
    let known: BTreeMap<u64, BTreeSet<String>> = list(output)
        .filter_map(|known| Some((known["id"].as_u64()?, labels(known))))
        .collect();
    for (identity, meaning) in &truth.identities {
        seen.compared += 1;
        let observed = match known.get(identity) {
            None => "unknown: no policy matches it",
            Some(labels) if *labels != meaning.labels && !meaning.labels.is_empty() => "other labels",
            Some(_) => continue,
        };
        seen.on(
            node,
            IDENTITIES,
            Difference {
                subject: meaning.of.clone(),
                expected: "known, with the labels that the CiliumEndpoint has".to_owned(),
                observed: observed.to_owned(),
                version: String::new(),
                counts: Counts::Twice,
            },
        );
    }
}

/// Adds what the API of one cluster says.
fn gather(
    context: &CheckContext,
    look: &Look,
    cluster: &ClusterName,
    truth: &mut Truth,
    seen: &mut Seen,
) -> Result<(), String> {
    let facts = context.environment.facts();
    let found = facts.cluster(cluster);
    let look = look.cluster(cluster)?;
    let (pods, endpoints, nodes) = (
        look.pods.as_ref()?,
        look.endpoints.as_ref()?,
        look.cilium_nodes.as_ref()?,
    );
    let homes: BTreeMap<&str, &CiliumNode> = nodes.iter().map(|node| (node.name.as_str(), node)).collect();
    for node in nodes {
        let of_node = |kind: &str, is_health: bool| OfNode {
            whose: format!("{kind} of node {} of {cluster}", node.name),
            home: (cluster.clone(), node.name.clone()),
            is_health,
        };
        let host = node
            .addresses
            .iter()
            .map(|address| (*address, of_node("address", false)));
        let router = node.routers.iter().map(|address| (*address, of_node("router", false)));
        let health = node
            .health
            .iter()
            .map(|address| (*address, of_node("health endpoint", true)));
        // A CiliumNode without a Node is state::nodes' finding.
        let lives = look
            .nodes
            .as_ref()
            .is_ok_and(|nodes| nodes.iter().any(|one| one.name == node.name));
        truth.nodes.extend(host.chain(router).chain(health).filter(|_| lives));
        truth.owned.extend(node.addresses.iter().chain(&node.reserved));
        truth
            .ranges
            .extend(node.pod_ranges.iter().map(|range| (cluster.clone(), *range)));
    }
    truth
        .owned
        .extend(endpoints.iter().flat_map(|endpoint| &endpoint.addresses));
    truth.owned.extend(pods.iter().flat_map(|pod| &pod.addresses));
    let cilium = found.and_then(|found| found.cilium.as_ref());
    // Since 1.19 a cluster may share only namespaces that are annotated.
    let shares_all = cilium.and_then(|cilium| cilium.flag("clustermesh-default-global-namespace")) != Some(false);
    if cluster != context.instance.from() && !shares_all {
        seen.leave_out("clusters that share only some of their namespaces");
        return Ok(());
    }
    let endpoints: BTreeMap<_, _> = endpoints.iter().map(|endpoint| (&endpoint.name, endpoint)).collect();
    for pod in pods.iter().filter(|pod| pod.runs) {
        // Without it nobody can know, which is state::endpoints' finding.
        let Some((endpoint, identity)) = endpoints.get(&pod.name).and_then(|e| Some((e, e.identity?))) else {
            seen.leave_out("running pods without CiliumEndpoint or identity");
            continue;
        };
        let (namespace, name) = &pod.name;
        let node = pod.node.as_ref().map_or("", NodeName::as_str);
        truth.identities.entry(identity).or_insert_with(|| Meaning {
            of: format!("identity {identity} of pods of namespace {namespace} of {cluster}"),
            labels: endpoint.labels.clone(),
        });
        for address in endpoint.addresses.intersection(&pod.addresses) {
            let known = Known {
                whose: format!("{address}, pod {namespace}/{name} of {cluster}"),
                identity,
                uid: pod.uid.clone(),
                home: (cluster.clone(), node.to_owned()),
                hosts: homes.get(node).map(|home| home.addresses.clone()).unwrap_or_default(),
                key: endpoint.key,
            };
            truth.pods.insert(*address, known);
        }
    }
    Ok(())
}

/// Whose agents are compared.
struct Viewer<'a> {
    cluster: &'a ClusterName,
    /// Whether what is for other nodes leaves by a tunnel.
    tunnels: bool,
    /// Whether WireGuard encrypts what is for pods of other nodes.
    encrypts: bool,
}

impl Viewer<'_> {
    fn compare(&self, node: &NodeName, ipcache: &Ipcache, truth: &Truth, seen: &mut Seen) {
        for (address, known) in &truth.pods {
            seen.compared += 1;
            let (expected, observed) = match ipcache.entry(*address) {
                None => (known.expected(), "not in the ipcache: taken for the world".to_owned()),
                Some(entry) if entry.identity != known.identity => {
                    (known.expected(), format!("identity {}", entry.identity))
                }
                Some(entry) => match (self.misled(node, known, entry), self.unencrypted(known, entry)) {
                    (Some(observed), _) => (format!("tunnel endpoint of node {}", known.home.1), observed),
                    (None, Some(expected)) => (expected, format!("encryption key {}", entry.key)),
                    (None, None) => continue,
                },
            };
            let difference = Difference {
                subject: known.whose.clone(),
                expected,
                observed,
                version: known.uid.clone(),
                counts: Counts::Twice,
            };
            seen.on(node, COMMAND, difference);
        }
        for (address, of_node) in &truth.nodes {
            seen.compared += 1;
            let is_own = self.is_home(node, &of_node.home);
            let (expected, fits): (_, fn(u64) -> bool) = match (of_node.is_health, is_own) {
                (true, _) => ("identity 4 (health)", |identity| identity == HEALTH),
                (false, true) => ("identity 1 (host)", |identity| identity == HOST),
                (false, false) => ("identity 6 or 7 (remote-node)", is_remote_node),
            };
            let observed = match ipcache.entry(*address) {
                Some(entry) if fits(entry.identity) => continue,
                Some(entry) => format!("identity {}", entry.identity),
                None => "not in the ipcache: taken for the world".to_owned(),
            };
            let difference = Difference {
                subject: format!("{address}, {}", of_node.whose),
                expected: expected.to_owned(),
                observed,
                version: String::new(),
                counts: Counts::Twice,
            };
            seen.on(node, COMMAND, difference);
        }
        left_over(node, ipcache, truth, seen);
    }

    fn is_home(&self, node: &NodeName, (cluster, name): &(ClusterName, String)) -> bool {
        cluster == self.cluster && name == node.as_str()
    }

    /// The key that should be there, in words, if another one is.
    fn unencrypted(&self, known: &Known, entry: Entry) -> Option<String> {
        let key = known.key.filter(|key| self.encrypts && *key != entry.key)?;
        Some(format!("encryption key {key}, as its CiliumEndpoint has"))
    }

    /// To which other node than the pod's own its packets go, in words.
    fn misled(&self, node: &NodeName, known: &Known, entry: Entry) -> Option<String> {
        if known.hosts.is_empty() {
            return None;
        }
        match entry.tunnel {
            Some(tunnel) if !known.hosts.contains(&tunnel) => Some(format!("tunnel endpoint {tunnel}")),
            None if self.tunnels && !self.is_home(node, &known.home) => Some("no tunnel endpoint".to_owned()),
            _ => None,
        }
    }
}

impl Known {
    fn expected(&self) -> String {
        format!("identity {}, as its CiliumEndpoint has", self.identity)
    }
}

/// `pkg/identity`: remote-node, also with the API server on it, and where nodes have labels (scope 2).
fn is_remote_node(identity: u64) -> bool {
    matches!(identity, 6 | 7) || identity >> 24 == 2
}

/// Addresses that no pod has.
fn left_over(node: &NodeName, ipcache: &Ipcache, truth: &Truth, seen: &mut Seen) {
    for (address, identity) in ipcache.pods() {
        let range = truth.ranges.iter().find(|(_, range)| range.contains(&address));
        let Some((cluster, _)) = range.filter(|_| !truth.owned.contains(&address)) else {
            continue;
        };
        seen.on(
            node,
            COMMAND,
            Difference {
                subject: format!("{address} of {cluster}"),
                expected: "not in the ipcache, since no pod has it".to_owned(),
                observed: format!("left over with identity {identity}"),
                version: String::new(),
                counts: Counts::Thrice,
            },
        );
    }
}
