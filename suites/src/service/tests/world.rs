//! The test world with the scenario's Services in it, answered by its backends in turns.

use crate::testing::{Ask, Fake, MISSION, Shape, dns_records, service_net};
use meshproof_contract::{
    Action, AgentFacts, AgentId, DnsAnswer, Facts, Identity, Outcome, ServiceFacts, facts::PodNetwork, port,
};
use serde_json::json;
use std::{collections::BTreeMap, net::IpAddr};

pub const SERVICES: [&str; 13] = [
    "svc-plain",
    "svc-unnamed",
    "svc-sticky",
    "svc-global",
    "svc-ports",
    "svc-legacy",
    "svc-local",
    "svc-remote",
    "svc-mover-local",
    "svc-mover-remote",
    "svc-drained",
    "svc-headless",
    "server",
];

/// The Service whose port has no name.
const UNNAMED: &str = "svc-unnamed";

/// Follows a Service's name where its port `alt` is asked.
pub const ALT: &str = "/alt";

/// Which pods (of those of infra, then of those of apps) take turns at a service for a client, by its cluster.
pub type Turns = fn(service: &str, client: &str, number: u32) -> usize;

/// The healthy world.
pub fn healthy() -> Fake {
    answered_by(right)
}

/// As the annotations say; pods 0 and 1 are of infra, 2 and 3 of apps.
pub fn right(service: &str, client: &str, number: u32) -> usize {
    let (own, other) = if client == "infra" { (0, 2) } else { (2, 0) };
    let turn = number as usize % 2;
    match service.trim_end_matches(ALT) {
        "svc-sticky" => own,
        // Each port is remembered by itself.
        "svc-sticky/tcp" => other,
        "svc-global" | "svc-ports" | "svc-legacy" | UNNAMED => number as usize % 4,
        "svc-remote" => other + turn,
        _ => own + turn,
    }
}

pub fn agent(cluster: &str, node: u8, workload: &str, last: u8) -> AgentFacts {
    let net = 244 + 2 * (service_net(cluster) - 96);
    AgentFacts {
        id: AgentId {
            cluster: cluster.into(),
            pod: format!("service-{workload}-{cluster}-{node}"),
        },
        scenario: "service".to_owned(),
        workload: workload.to_owned(),
        namespace: "meshproof".to_owned(),
        node: format!("{cluster}-{node}").as_str().into(),
        address: IpAddr::from([10, net, node, last]),
        network: PodNetwork::Pod,
    }
}

pub fn backends() -> Vec<AgentFacts> {
    backends_of(MISSION)
}

fn backends_of(shape: Shape) -> Vec<AgentFacts> {
    let of = |site: crate::testing::Site| (1..=2).map(move |node| agent(site.name, node, "backend", 60));
    shape.sites().into_iter().flat_map(of).collect()
}

pub fn address(cluster: &str, service: &str) -> IpAddr {
    let index = SERVICES.iter().position(|s| *s == service).expect("a service") as u8;
    IpAddr::from([10, service_net(cluster), 7, index])
}

fn answer(probe: &Ask<'_>, turns: Turns) -> Option<Outcome> {
    let client = probe.from.id.cluster.as_str();
    let host = match probe.action {
        Action::Http { to, .. } | Action::TcpEcho { to, .. } | Action::UdpEcho { to, .. } => to.host.clone(),
        Action::Dns { name, .. } if name.starts_with("svc-headless.") => {
            let all = backends().into_iter().map(|pod| DnsAnswer::Address(pod.address));
            return Some(dns_records(all.collect()));
        }
        _ => return None,
    };
    let named = host.split('.').next().filter(|name| name.starts_with("svc-"));
    let service = match named {
        Some(name) => name.to_owned(),
        None => SERVICES
            .iter()
            .find(|service| address(client, service).to_string() == host)
            .map(|s| (*s).to_owned())?,
    };
    let port = match probe.action {
        Action::Http { to, .. } if to.port == 8088 => ALT,
        Action::TcpEcho { .. } if service == "svc-sticky" => "/tcp",
        _ => "",
    };
    let pods = backends();
    let pod = pods.get(turns(&format!("{service}{port}"), client, probe.number))?;
    let mut outcome = probe.answered_as(identity(pod));
    if let Outcome::Answered { address: at, .. } = &mut outcome {
        *at = Some(address(client, &service));
    }
    Some(outcome)
}

/// What a probe to a `hostPort` at a node's address meets; none if it goes elsewhere.
pub fn exposed_answer(probe: &Ask<'_>) -> Option<Outcome> {
    let (Action::Http { to, .. } | Action::UdpEcho { to, .. }) = probe.action else {
        return None;
    };
    let ports = port::HTTP + port::HOST_PORT_OFFSET..=port::UDP + port::HOST_PORT_OFFSET;
    ports.contains(&to.port).then(|| exposed_at(probe, &to.host)).flatten()
}

/// The answer of the pod with `hostPort`s on the node of that address.
pub fn exposed_at(probe: &Ask<'_>, address: &str) -> Option<Outcome> {
    let nodes = probe.facts().clusters.iter().flat_map(|cluster| &cluster.nodes);
    let is_there = |own: &IpAddr| own.to_string() == address;
    let mut here = nodes.filter(|node| node.addresses.iter().any(is_there));
    let node = here.next()?;
    let mut agents = probe.facts().agents.iter();
    let pod = agents.find(|agent| agent.workload == "exposed" && agent.node == node.name)?;
    Some(probe.answered_as(identity(pod)))
}

fn identity(pod: &AgentFacts) -> Identity {
    Identity {
        cluster: pod.id.cluster.to_string(),
        node: pod.node.to_string(),
        namespace: pod.namespace.clone(),
        pod: pod.id.pod.clone(),
    }
}

/// Every Service is answered as `turns` says.
pub fn answered_by(turns: Turns) -> Fake {
    let fake = Fake::healthy().facts(|facts| deploy(facts, MISSION));
    fake.rule(move |probe| answer(probe, turns))
}

/// The healthy world but for what the rule decides.
pub fn healthy_but(rule: impl Fn(&Ask<'_>) -> Option<Outcome> + Send + Sync + 'static) -> Fake {
    let fake = Fake::healthy().facts(|facts| deploy(facts, MISSION));
    fake.rule(rule).rule(|probe| answer(probe, right))
}

/// Adds the scenario's agents and Services.
pub fn deploy(facts: &mut Facts, shape: Shape) {
    for site in shape.sites() {
        let cluster = site.name;
        facts
            .agents
            .extend(site.nodes().map(|node| agent(cluster, node, "asker", 50)));
        facts
            .agents
            .extend(site.nodes().map(|node| agent(cluster, node, "exposed", 90)));
        let hosts = site.nodes().map(|node| AgentFacts {
            address: facts.cluster(&cluster.into()).expect("a cluster").nodes[usize::from(node) - 1].addresses[0],
            network: PodNetwork::Host,
            ..agent(cluster, node, "host", 0)
        });
        let hosts: Vec<AgentFacts> = hosts.collect();
        facts.agents.extend(hosts);
        for name in SERVICES {
            facts.services.push(ServiceFacts {
                cluster: cluster.into(),
                scenario: "service".to_owned(),
                namespace: "meshproof".to_owned(),
                name: name.to_owned(),
                address: (name != "svc-headless").then(|| address(cluster, name)),
                ports: if name == UNNAMED {
                    BTreeMap::from([(String::new(), 80)])
                } else {
                    [("http", 80), ("alt", 8088), ("tcp", 81), ("udp", 82)]
                        .map(|(name, port)| (name.to_owned(), port))
                        .into()
                },
                workload: "backend".to_owned(),
            });
        }
    }
    facts.agents.extend(backends_of(shape));
}

/// The world in which the first pod of infra is ready or not, by the API.
pub fn first_pod(fake: Fake, status: &str) -> Fake {
    let pod = &backends()[0];
    fake.object(
        "infra",
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": pod.id.pod, "namespace": pod.namespace},
            "status": {"conditions": [{
                "type": "Ready", "status": status, "lastTransitionTime": "2026-01-01T00:00:00Z",
            }]},
        }),
    )
}
