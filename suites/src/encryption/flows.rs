//! The flows that represent each kind of traffic.

mod dns;

use super::{
    LISTENER, TALKER,
    flow::{Arrived, Flow, marker},
    peers::{agents, on_other_nodes},
    proxied::marked_request,
    traffic_kind::TrafficKind,
};
use crate::kit::paths::sample::{self, Pair};
use meshproof_contract::{
    Action, AgentFacts, ClusterName, Facts, Instance, Needle, NodeLabel, NodeName, Outcome, Probe, Target, Transport,
    Verdict, facts::PodNetwork, port,
};
use std::{net::IpAddr, time::Duration};

/// Several segments over TCP, and the most that an unfragmented datagram carries anywhere.
const TCP_BYTES: u32 = 4096;
const UDP_BYTES: u32 = 1000;
const DEADLINE: Duration = Duration::from_secs(2);
/// Nobody is there to answer.
const UNANSWERED_DEADLINE: Duration = Duration::from_millis(500);
/// The most requests of a client to a Service.
const MOST_REQUESTS: usize = 64;
/// A port on which no agent listens.
const CLOSED: u16 = 9;

/// New flows of a kind.
pub fn of(kind: TrafficKind, facts: &Facts, instance: &Instance) -> Result<Vec<Flow>, Verdict> {
    let (from, to) = (instance.from(), instance.to());
    let talkers: Vec<&AgentFacts> = agents(facts, from, TALKER).collect();
    let listeners: Vec<&AgentFacts> = agents(facts, to, LISTENER).collect();
    let flows: Vec<Flow> = match kind {
        TrafficKind::Pods | TrafficKind::PodsAcross => pairs(facts, &talkers, &listeners)
            .into_iter()
            .flat_map(|(a, b)| marked(a, b))
            .collect(),
        TrafficKind::Headers => pairs(facts, &talkers, &listeners)
            .into_iter()
            .flat_map(|(a, b)| bare(a, b))
            .collect(),
        TrafficKind::Service => to_service(facts, from, "listener", &talkers, &listeners)?,
        TrafficKind::GlobalService => {
            let all: Vec<&AgentFacts> = agents(facts, from, LISTENER).chain(listeners.iter().copied()).collect();
            to_service(facts, from, "listener-global", &talkers, &all)?
        }
        TrafficKind::Dns | TrafficKind::ProxiedDns => dns::questions(facts, from, &talkers)?,
        TrafficKind::ProxiedHttp => pairs(facts, &listeners, &talkers)
            .into_iter()
            .map(|(a, b)| request(a, b))
            .collect(),
    };
    if flows.is_empty() {
        return Err(Verdict::inconclusive(format!(
            "no pod of {from} has a counterpart on another node ({}), so no traffic goes between nodes",
            kind.id()
        )));
    }
    Ok(flows)
}

/// Ordered pairs on different nodes: all, or a sample in which every node sends and receives.
fn pairs<'a>(facts: &Facts, from: &[&'a AgentFacts], to: &[&'a AgentFacts]) -> Vec<Pair<'a>> {
    sample::pairs(facts, from, to, on_other_nodes).0
}

/// Requests of each client to a Service, so that all but one of 4,000 clients reach a backend on another node than
/// their own, and all clients together miss one of the clusters behind it in one of a million runs.
fn requests(clients: usize, backends: usize, clusters: usize) -> usize {
    let stays = 1.0 / backends.max(2) as f64;
    let misses = 1.0 - 1.0 / clusters.max(1) as f64;
    let enough = |n: &usize| {
        let all = (2 * clients * n) as i32;
        stays.powi(*n as i32) <= 1.0 / 4000.0 && misses.powi(all) <= 1.0e-6
    };
    (1..MOST_REQUESTS).find(enough).unwrap_or(MOST_REQUESTS)
}

/// From a pod to an address that nobody has: a marker over UDP, and a SYN.
pub fn withheld(from: &AgentFacts, to: IpAddr) -> [Flow; 2] {
    let flow = |transport: Transport, port| {
        let name = format!("{} -> {to}, {transport}", node(from));
        let echo = echo(from, Target::new(to.to_string(), port), transport, name);
        Flow {
            others: vec![to],
            probe: Probe {
                deadline: UNANSWERED_DEADLINE,
                ..echo.probe
            },
            arrived: unanswered,
            withheld: true,
            ..echo
        }
    };
    [flow(Transport::Udp, port::UDP), flow(Transport::Tcp, port::TCP)]
}

fn node(agent: &AgentFacts) -> String {
    NodeLabel::from(agent).to_string()
}

fn whole(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Answered { bytes, .. } if *bytes > 0)
}
fn answered(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Answered { .. })
}
fn identified(outcome: &Outcome) -> bool {
    outcome.served_by().is_some()
}
fn refused(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Refused { .. })
}
/// Nothing came back from what was sent; a call that the client's own node denied sent nothing.
fn unanswered(outcome: &Outcome) -> bool {
    !outcome.is_success() && !outcome.is_local_error() && !matches!(outcome, Outcome::Denied { .. })
}

fn echo(from: &AgentFacts, to: Target, transport: Transport, name: String) -> Flow {
    let marker = marker();
    let payload = match transport {
        Transport::Tcp => TCP_BYTES,
        Transport::Udp => UDP_BYTES,
    };
    Flow {
        name,
        from: from.clone(),
        to: None,
        others: Vec::new(),
        probe: Probe::once(
            Action::MarkedEcho {
                to,
                transport,
                marker,
                payload,
            },
            DEADLINE,
        ),
        needle: Some(Needle::raw(marker)),
        bytes: payload.into(),
        arrived: whole,
        withheld: false,
    }
}

fn end(agent: &AgentFacts) -> (ClusterName, NodeName) {
    (agent.id.cluster.clone(), agent.node.clone())
}

/// A marker over each transport, there and back.
fn marked(a: &AgentFacts, b: &AgentFacts) -> Vec<Flow> {
    let flow = |(transport, base)| Flow {
        to: Some(end(b)),
        others: vec![b.address],
        ..echo(
            a,
            Target::new(b.address.to_string(), b.port(base)),
            transport,
            format!("{} -> {}, {transport}", node(a), node(b)),
        )
    };
    [(Transport::Tcp, port::TCP), (Transport::Udp, port::UDP)]
        .map(flow)
        .into()
}

/// A marker over each transport, there and back, between ends of which one or both are the nodes themselves. Only pods'
/// addresses are looked for: those of nodes are in clear on everything that goes between them.
pub fn with_hosts(a: &AgentFacts, b: &AgentFacts) -> Vec<Flow> {
    let word = |agent: &AgentFacts| match agent.network {
        PodNetwork::Pod => "pod",
        _ => "host",
    };
    let named = |flow: Flow| Flow {
        name: format!("{} ({} to {})", flow.name, word(a), word(b)),
        others: flow
            .others
            .into_iter()
            .filter(|_| b.network == PodNetwork::Pod)
            .collect(),
        ..flow
    };
    marked(a, b).into_iter().map(named).collect()
}

/// A GET with a marker.
fn request(a: &AgentFacts, b: &AgentFacts) -> Flow {
    let marker = marker();
    Flow {
        name: format!("{} -> {}, HTTP", node(a), node(b)),
        from: a.clone(),
        to: Some(end(b)),
        others: vec![b.address],
        probe: Probe::once(marked_request(b, marker), DEADLINE),
        needle: Some(Needle::text(marker)),
        // The marker, and an answer that says who gave it.
        bytes: 32,
        arrived: identified,
        withheld: false,
    }
}

/// SYN, RST, ICMP, and an ICMP error with the packet that it is about.
fn bare(a: &AgentFacts, b: &AgentFacts) -> Vec<Flow> {
    let to = |port| Target::new(b.address.to_string(), port);
    let tries: [(&str, Action, Arrived); 4] = [
        (
            "TCP to an open port",
            Action::TcpConnect {
                to: to(b.port(port::TCP)),
            },
            answered,
        ),
        ("TCP to a closed port", Action::TcpConnect { to: to(CLOSED) }, refused),
        (
            "UDP to a closed port",
            Action::UdpEcho {
                to: to(CLOSED),
                payload: 16,
            },
            refused,
        ),
        (
            "ICMP",
            Action::IcmpEcho {
                to: b.address,
                payload: 56,
            },
            answered,
        ),
    ];
    let flow = |(what, action, arrived): (&str, Action, Arrived)| Flow {
        name: format!("{} -> {}, {what}", node(a), node(b)),
        from: a.clone(),
        to: Some(end(b)),
        others: vec![b.address],
        probe: Probe::once(action, DEADLINE),
        needle: None,
        // An IP header each way is the least.
        bytes: 20,
        arrived,
        withheld: false,
    };
    tries.map(flow).into()
}

fn to_service(
    facts: &Facts,
    cluster: &ClusterName,
    name: &str,
    talkers: &[&AgentFacts],
    backends: &[&AgentFacts],
) -> Result<Vec<Flow>, Verdict> {
    let service = facts
        .service(cluster, name)
        .and_then(|service| Some((service, service.address?)));
    let Some((service, address)) = service else {
        return Err(Verdict::inconclusive(format!(
            "the scenario's Service {name} has no cluster IP in {cluster}"
        )));
    };
    let others: Vec<IpAddr> = backends.iter().map(|backend| backend.address).collect();
    // A global Service may be answered by clusters that are not captured here.
    let clusters = if backends.iter().all(|backend| backend.id.cluster == *cluster) {
        1
    } else {
        facts.clusters.len()
    };
    let requests = requests(talkers.len(), backends.len(), clusters);
    let mut flows = Vec::new();
    for talker in talkers {
        for (transport, port) in [(Transport::Tcp, "tcp"), (Transport::Udp, "udp")] {
            let Some(port) = service.ports.get(port) else { continue };
            flows.extend((1..=requests).map(|number| Flow {
                others: others.clone(),
                ..echo(
                    talker,
                    Target::new(address.to_string(), *port),
                    transport,
                    format!("{} -> Service {name}, {transport}, request {number}", node(talker)),
                )
            }));
        }
    }
    Ok(flows)
}

#[cfg(test)]
mod tests {
    use super::requests;

    #[test]
    fn requests_fall_with_nodes_and_rise_with_clusters() {
        assert_eq!([2, 10, 100].map(|nodes| requests(nodes, nodes, 1)), [12, 4, 2]);
        let few = requests(2, 4, 5);
        assert!(0.8_f64.powi(4 * few as i32) <= 1.0e-6 && few <= 16, "{few}");
    }
}
