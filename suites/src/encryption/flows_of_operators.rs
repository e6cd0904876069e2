//! The operators' own flows: whether their packets are readable between nodes, where the operators say so.

use super::{
    TRAFFIC_NEEDS,
    capture::Capture,
    capture_point::NodeEncryption,
    claim::{self, Claimed, Mode},
    flow::Flow,
    judge::Reading,
};
use crate::kit::{
    cilium::nodes::MeshNode,
    flow::{Absent, Home, agent_of, backends, find, flow_of, homes, question},
    probes::PATIENT,
};
use async_trait::async_trait;
use meshproof_contract::{
    Action, AgentFacts, Check, CheckContext, CheckId, CheckText, ClusterName, Facts, Flow as Written, FlowKind, Needs,
    NodeName, Outcome, Probe, Scope, Tally, Target, Verdict, facts::PodNetwork, flow::FlowProtocol,
};
use std::{collections::BTreeMap, net::SocketAddr};

/// A flow with `encrypted`.
pub struct FlowsOfOperators;

/// Connections to each backend: a leak that not every one of them shows is met.
const TRIES: usize = 5;
/// So many backends on other nodes are tried.
const BACKENDS: usize = 16;

#[async_trait]
impl Check for FlowsOfOperators {
    fn id(&self) -> CheckId {
        CheckId::from("encryption::flows_of_operators")
    }
    fn text(&self) -> CheckText {
        CheckText {
            title: "A flow of the operators is encrypted between nodes, or not, as they say",
            proves: "What the flow's client and its destination send each other is not readable on any link between \
                     nodes, addresses included (`encrypted: true`), or is readable (`encrypted: false`).",
            how: "The probe pod with the client's identity connects five times to each backend that Cilium has on its \
                  node for the Service, at most 16 of those on other nodes, or to the address of the flow. All nodes \
                  of these clusters capture, and look for packets with the addresses of the client and the backends.",
            control: "As for suite encryption's other captures: every node must see a packet that is sent in plaintext \
                      on purpose, none may be dropped, the connections must be made, and ciphertext must be seen \
                      between the two nodes. Where every backend is on the client's node the check is inconclusive.",
            when_red: "The evidence shows the packets. On the node that sent them, `kubectl --context CONTEXT -n \
                       kube-system exec AGENT_POD -c cilium-agent -- cilium-dbg bpf ipcache get ADDRESS` shows whether \
                       the other end has an `encryptkey`, and `cilium-dbg encrypt status` whether encryption is on.",
        }
    }
    fn scope(&self) -> Scope {
        Scope::Flow(FlowKind::Encrypted)
    }
    fn needs(&self) -> Needs {
        Needs {
            claim: None,
            ..TRAFFIC_NEEDS
        }
    }
    fn faults(&self) -> &'static [&'static str] {
        &["plaintext-database"]
    }
    fn blinded_by(&self) -> &'static [&'static str] {
        &["capture-wrong-device"]
    }
    fn dimmed_by(&self) -> &'static [&'static str] {
        super::PAIR_CUT_OFF
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        let (Ok(verdict) | Err(verdict)) = observe(context).await;
        verdict
    }
}

async fn observe(context: &CheckContext) -> Result<Verdict, Verdict> {
    let facts = context.environment.facts();
    let flow = flow_of(context, &facts)?;
    let client = agent_of(&facts, &flow)?;
    let ends = ends(context, &facts, &flow, client).await?;
    let mut clusters: Vec<ClusterName> = match ends.values().flatten().next() {
        Some(_) => ends.values().flatten().map(|home| home.cluster.clone()).collect(),
        None => facts.clusters.iter().map(|cluster| cluster.name.clone()).collect(),
    };
    clusters.push(client.id.cluster.clone());
    clusters.sort_unstable();
    clusters.dedup();
    let mut tally = Tally::new();
    let Some(capture) = Capture::prepare(context, &clusters, &mut tally).await else {
        return Ok(tally.verdict());
    };
    let sent = crossing(&flow, client, &ends, &capture.nodes, &mut tally);
    if sent.is_empty() {
        tally.unknown(format!(
            "no packet of the flow leaves {}, where its client is",
            client.node
        ));
        return Ok(tally.verdict());
    }
    let encrypted = flow.expect.encrypted != Some(false);
    if encrypted && client.network != PodNetwork::Pod {
        node_encryption(&capture, &sent, &mut tally);
    }
    let window = capture.observe(context, || Ok(sent.clone())).await?;
    let claimed = Claimed {
        mode: mode(&facts, &client.id.cluster, encrypted),
        by: format!("`encrypted: {encrypted}` of the flow"),
        promised: true,
    };
    let subject = format!("{} -> {}", flow.from, flow.to);
    Reading::of(&window).conclude(context, &claimed, &subject, &mut tally);
    Ok(tally.verdict())
}

/// How a flow that must be encrypted is, by what its client's cluster claims.
fn mode(facts: &Facts, cluster: &ClusterName, encrypted: bool) -> Mode {
    match claim::of(facts, cluster) {
        _ if !encrypted => Mode::None,
        Ok(claimed) if claimed.mode == Mode::Ipsec => Mode::Ipsec,
        _ => Mode::WireGuard,
    }
}

/// Where the flow ends, each with its home where that is known.
async fn ends(
    context: &CheckContext,
    facts: &Facts,
    flow: &Written,
    client: &AgentFacts,
) -> Result<BTreeMap<SocketAddr, Option<Home>>, Verdict> {
    let destination = find(context, facts, flow).await.map_err(|absent| {
        Verdict::inconclusive(match absent {
            Absent::Missing(expected, observed) => format!("{expected}: {observed}"),
            Absent::Unknown(why) => why,
        })
    })?;
    match (flow.service(), destination.address) {
        (Some(service), _) => {
            let behind = backends(context, flow, client, &destination).await;
            let behind = behind.map_err(Verdict::inconclusive)?;
            let homes = homes(context, facts, service).await.map_err(Verdict::inconclusive)?;
            Ok(behind
                .into_iter()
                .map(|at| (at, homes.get(&at.ip()).cloned()))
                .collect())
        }
        (None, Some(address)) => Ok([(SocketAddr::new(address, flow.to.port), None)].into()),
        (None, None) => Err(Verdict::inconclusive(
            "where a host name leads is not known: `encrypted` is for flows to Services and to addresses",
        )),
    }
}

/// The connections that leave the client's node. Ends of which no node is known go to the tally.
fn crossing(
    flow: &Written,
    client: &AgentFacts,
    ends: &BTreeMap<SocketAddr, Option<Home>>,
    nodes: &[MeshNode],
    tally: &mut Tally,
) -> Vec<Flow> {
    let mut sent = Vec::new();
    for (at, home) in ends {
        let Some((cluster, node)) = place(*at, home.as_ref(), nodes) else {
            tally.unknown(format!("no node of the clusters is known to have {}", at.ip()));
            continue;
        };
        if (&cluster, &node) == (&client.id.cluster, &client.node) {
            continue;
        }
        sent.push(connection(flow, client, *at, (cluster, node)));
    }
    sent.truncate(BACKENDS);
    let tries = sent.iter().flat_map(|one| std::iter::repeat_n(one.clone(), TRIES));
    tries.collect()
}

/// The node that has an address: by its EndpointSlice, or by the ranges of the nodes' pods.
fn place(at: SocketAddr, home: Option<&Home>, nodes: &[MeshNode]) -> Option<(ClusterName, NodeName)> {
    if let Some(Home {
        cluster,
        node: Some(node),
    }) = home
    {
        return Some((cluster.clone(), node.clone()));
    }
    let has = |node: &&MeshNode| node.has(at.ip()) || node.pod_cidrs.iter().any(|cidr| cidr.contains(&at.ip()));
    let node = nodes.iter().find(has)?;
    Some((node.cluster.clone(), node.name.clone()))
}

fn connection(flow: &Written, client: &AgentFacts, at: SocketAddr, to: (ClusterName, NodeName)) -> Flow {
    let action = match flow.to.protocol {
        FlowProtocol::Dns => question(flow, Some(at)),
        _ => Action::TcpConnect {
            to: Target::new(at.ip().to_string(), at.port()),
        },
    };
    let own = (client.network == PodNetwork::Pod).then_some(client.address);
    Flow {
        name: format!("{} -> {at}", flow.from),
        from: client.clone(),
        to: Some(to),
        others: own.into_iter().chain([at.ip()]).collect(),
        probe: Probe::once(action, PATIENT),
        needle: None,
        bytes: 1,
        arrived: |outcome| outcome.is_success() || matches!(outcome, Outcome::Dns { .. }),
        withheld: false,
    }
}

/// What a node itself sends is encrypted with node encryption only, and between nodes that both have it.
fn node_encryption(capture: &Capture, sent: &[Flow], tally: &mut Tally) {
    let ends = sent.iter().flat_map(|flow| {
        let near = (&flow.from.id.cluster, &flow.from.node);
        flow.to.iter().map(|(cluster, node)| (cluster, node)).chain([near])
    });
    let without = |(cluster, node): &(&ClusterName, &NodeName)| {
        let mut points = capture.points().iter();
        let point = points.find(|point| point.node.cluster == **cluster && point.node.name == **node);
        point.is_some_and(|point| point.node_encryption != NodeEncryption::Enabled)
    };
    let mut found: Vec<_> = ends.filter(without).collect();
    found.sort_unstable();
    found.dedup();
    for (cluster, node) in found {
        tally.finding(
            format!("node {node} of {cluster}"),
            "node encryption, since the flow's client is the node itself",
            "it is off there",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        encryption::tests::{wire::Shown, world::World},
        testing::{MISSION, flow},
    };
    use serde_json::json;

    fn written(change: serde_json::Value) -> World {
        let mut world = World::complete(MISSION);
        let mut flow = json!(world.facts.flows[0]);
        for (pointer, value) in change.as_object().expect("an object") {
            *flow.pointer_mut(pointer).expect("a part of the flow") = value.clone();
        }
        world.facts.flows[0] = serde_json::from_value(flow).expect("a flow");
        world
    }

    async fn expect(world: World, word: &str) -> String {
        world.expect(&FlowsOfOperators, flow("encrypted"), word).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_flow_that_is_encrypted_passes_and_one_in_clear_is_red() {
        let said = expect(World::complete(MISSION), "pass").await;
        assert!(said.contains("5 of them on another node"), "{said}");
        let clear = World::complete(MISSION).wire(|_, _, _| Shown::Headers);
        let said = expect(clear, "fail").await;
        assert!(
            said.contains("`encrypted: true` of the flow") && said.contains("pod addresses visible"),
            "{said}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_flow_that_must_be_readable_is() {
        let plain = || written(json!({"/expect/encrypted": false}));
        expect(plain().wire(|_, _, _| Shown::Headers), "pass").await;
        expect(plain(), "fail").await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_stays_on_the_clients_node_or_is_lost_proves_nothing() {
        let here = written(json!({"/to/address": "10.244.1.21"}));
        let said = expect(here, "inconclusive").await;
        assert!(said.contains("no packet of the flow leaves infra-1"), "{said}");
        expect(World::complete(MISSION).lost(), "inconclusive").await;
        expect(
            World::complete(MISSION).report(|device| device.hits.clear()),
            "inconclusive",
        )
        .await;
        let outside = written(json!({"/to/address": "198.51.100.7"}));
        expect(outside, "inconclusive").await;
    }
}
