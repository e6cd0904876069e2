//! WireGuard's peers as every node's agent reports them, and the traffic that their counters and handshakes must show.

use super::{
    CAPTURE, LISTENER, SCENARIO, TALKER,
    claim::{self, Claimed},
    flow::marker,
};
use crate::kit::{
    cilium::nodes::{self, MeshNode},
    paths::sample::{self, Pair},
    probes::DEADLINE,
    recent::Age,
};
use futures::future::join_all;
use meshproof_contract::{
    Action, AgentFacts, AgentId, CheckContext, CiliumQuery, ClusterName, Facts, Outcome, Probe, Tally, Target,
    Transport, Verdict,
    cilium::{Debuginfo, WireGuardInterface, WireGuardPeer},
    port,
};
use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

/// Payload of each exchange between two nodes, in bytes.
pub const PAYLOAD: u32 = 4096;

/// WireGuard on one node.
#[derive(Clone, Debug)]
pub struct Device {
    /// The node.
    pub node: MeshNode,
    /// Its interface with the peers.
    pub interface: WireGuardInterface,
}

impl Device {
    /// What this node has about another one, found by the address of its endpoint.
    pub fn peer(&self, node: &MeshNode) -> Option<&WireGuardPeer> {
        self.interface
            .peers
            .iter()
            .find(|peer| endpoint(peer).is_some_and(|address| node.has(address)))
    }
}

/// The address of a peer's endpoint.
pub fn endpoint(peer: &WireGuardPeer) -> Option<IpAddr> {
    peer.endpoint.parse::<SocketAddr>().ok().map(|endpoint| endpoint.ip())
}

/// What the checks of peers verify.
pub struct Mesh {
    /// What is claimed.
    pub claimed: Claimed,
    /// The nodes of the cluster and of the others in its mesh.
    pub nodes: Vec<MeshNode>,
    /// The cluster whose agents are asked.
    pub cluster: ClusterName,
}

impl Mesh {
    /// The nodes that a cluster's WireGuard must know. What cannot be read goes to the tally.
    pub async fn of(context: &CheckContext, tally: &mut Tally) -> Result<Self, Verdict> {
        let facts = context.environment.facts();
        let cluster = context.instance.from().clone();
        let claimed = claim::wireguard(&facts, &cluster)?;
        let nodes = nodes::nodes(context, &nodes::meshed(&facts, &cluster), tally).await;
        Ok(Self {
            claimed,
            nodes,
            cluster,
        })
    }

    /// The other nodes than this.
    pub fn others<'a>(&'a self, node: &'a MeshNode) -> impl Iterator<Item = &'a MeshNode> {
        self.nodes
            .iter()
            .filter(move |other| other.cluster != node.cluster || other.name != node.name)
    }

    /// WireGuard on every node of the cluster, as its agent shows it, at most so old. An agent without a device is a
    /// finding: it is claimed.
    pub async fn devices(&self, context: &CheckContext, age: Age, tally: &mut Tally) -> Vec<Device> {
        let answers = nodes::ask(
            context,
            std::slice::from_ref(&self.cluster),
            CiliumQuery::Debuginfo,
            age,
            tally,
        )
        .await;
        let mut devices = Vec::new();
        for answer in answers {
            let Some(node) = self
                .nodes
                .iter()
                .find(|n| n.cluster == answer.cluster && n.name == answer.node)
            else {
                continue;
            };
            let info: Debuginfo = match serde_json::from_value(answer.output) {
                Ok(info) => info,
                Err(error) => {
                    tally.unknown(format!(
                        "{}: cannot parse the output of `cilium-dbg debuginfo`: {error}",
                        node.label()
                    ));
                    continue;
                }
            };
            let Some(encryption) = info.encryption else {
                tally.unknown(format!(
                    "{}: `cilium-dbg debuginfo` does not report encryption",
                    node.label()
                ));
                continue;
            };
            match encryption
                .wireguard
                .and_then(|wireguard| wireguard.interfaces.into_iter().next())
            {
                Some(interface) => devices.push(Device {
                    node: node.clone(),
                    interface,
                }),
                None => tally.finding(
                    node.label().to_string(),
                    self.claimed.expects("a WireGuard device"),
                    "`cilium-dbg debuginfo --output json` shows no WireGuard interface",
                ),
            }
        }
        devices
    }
}

/// Agents of the scenario.
pub fn agents<'a>(
    facts: &'a Facts,
    cluster: &'a ClusterName,
    workload: &'a str,
) -> impl Iterator<Item = &'a AgentFacts> {
    let of = move |a: &&AgentFacts| &a.id.cluster == cluster && a.scenario == SCENARIO && a.workload == workload;
    facts.agents.iter().filter(of)
}

/// The scenario's agents that should run in a cluster and do not.
pub fn missing(facts: &Facts, cluster: &ClusterName) -> Vec<String> {
    let ours = [TALKER, LISTENER, CAPTURE];
    let missing = facts.missing_agents.iter();
    let missing = missing.filter(|m| &m.cluster == cluster && ours.contains(&m.workload.as_str()));
    missing
        .map(|m| {
            let node = m.node.as_ref().map(|n| format!(" on {n}")).unwrap_or_default();
            format!("agent `{}`{node} in {cluster} is not running: {}", m.workload, m.state)
        })
        .collect()
}

/// Whether the pods of two agents run on different nodes.
pub fn on_other_nodes(one: &AgentFacts, other: &AgentFacts) -> bool {
    one.id.cluster != other.id.cluster || one.node != other.node
}

/// An exchange between pods of two nodes: [`PAYLOAD`] bytes there and back over TCP.
pub struct Exchange {
    /// Who asked.
    pub from: AgentFacts,
    /// Who was asked.
    pub to: AgentFacts,
    /// Whether every byte came back, or why not.
    pub outcome: Result<(), String>,
}

/// Sends traffic from a pod on every node of `cluster` to a pod on every other node of each of `clusters`, or of a
/// sample of them, which is noted.
pub async fn exchange(context: &CheckContext, cluster: &ClusterName, clusters: &[ClusterName]) -> Vec<Exchange> {
    let facts = context.environment.facts();
    let talkers: Vec<&AgentFacts> = agents(&facts, cluster, TALKER).collect();
    let mut batches: BTreeMap<&AgentId, Vec<Pair<'_>>> = BTreeMap::new();
    for other in clusters {
        let listeners: Vec<&AgentFacts> = agents(&facts, other, LISTENER).collect();
        let (pairs, sample) = sample::pairs(&facts, &talkers, &listeners, on_other_nodes);
        if let Some(sample) = sample {
            context.note(format!("{cluster} to {other}: {sample}"));
        }
        for pair in pairs {
            batches.entry(&pair.0.id).or_default().push(pair);
        }
    }
    let sent = batches.into_iter().map(|(agent, pairs)| async move {
        let probe = |(_, to): &Pair<'_>| {
            let action = Action::MarkedEcho {
                to: Target::new(to.address.to_string(), to.port(port::TCP)),
                transport: Transport::Tcp,
                marker: marker(),
                payload: PAYLOAD,
            };
            Probe::once(action, 2 * DEADLINE)
        };
        let answer = context
            .environment
            .probe(agent, pairs.iter().map(probe).collect())
            .await;
        (pairs, answer)
    });
    let mut exchanges = Vec::new();
    for (pairs, answer) in join_all(sent).await {
        for (at, (from, to)) in pairs.into_iter().enumerate() {
            let outcome = match &answer {
                Ok(outcomes) => match outcomes.get(at) {
                    Some(Outcome::Answered { bytes, .. }) if *bytes >= u64::from(PAYLOAD) => Ok(()),
                    Some(other) => Err(other.to_string()),
                    None => Err("the agent returned fewer outcomes than it was sent probes".to_owned()),
                },
                Err(error) => Err(error.to_string()),
            };
            exchanges.push(Exchange {
                from: from.clone(),
                to: to.clone(),
                outcome,
            });
        }
    }
    exchanges
}
