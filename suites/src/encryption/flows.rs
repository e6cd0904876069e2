//! The classes of traffic, and the flows that represent each of them.

use super::peers::agents;
use super::proxied::{Via, marked_request};
use super::window::{Arrived, Flow, marker};
use super::{LISTENER, TALKER};
use meshproof_contract::{
    Action, AgentFacts, ClusterName, DnsReplica, Facts, Instance, Needle, NodeName, Outcome, Probe, RecordType, Scope,
    Search, Target, Transport, Verdict, port,
};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// A class of traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Class {
    Pods,
    PodsAcross,
    Service,
    GlobalService,
    Dns,
    Headers,
    ProxiedDns,
    ProxiedHttp,
}

/// Several segments over TCP, and the most that an unfragmented datagram carries anywhere.
const TCP_BYTES: u32 = 4096;
const UDP_BYTES: u32 = 1000;
const DEADLINE: Duration = Duration::from_secs(2);
/// Nobody is there to answer.
const UNANSWERED_DEADLINE: Duration = Duration::from_millis(500);
/// Requests of each client to a service: with two nodes all but one of 4,000 such dozens reach another node.
const REQUESTS: usize = 12;
/// A port on which no agent listens.
const CLOSED: u16 = 9;
/// Up to so many nodes every ordered pair is used; beyond, each node sends to its next two and receives from two.
const ALL_PAIRS: usize = 12;

impl Class {
    /// The check's id.
    pub const fn id(self) -> &'static str {
        match self {
            Class::Pods => "encryption::pod_traffic",
            Class::PodsAcross => "encryption::pod_traffic_other_cluster",
            Class::Service => "encryption::service_traffic",
            Class::GlobalService => "encryption::global_service_traffic",
            Class::Dns => "encryption::dns_traffic",
            Class::Headers => "encryption::headers",
            Class::ProxiedDns => "encryption::proxied_dns_traffic",
            Class::ProxiedHttp => "encryption::proxied_http_traffic",
        }
    }
    pub(super) const fn title(self) -> &'static str {
        match self {
            Class::Pods => "What pods send to pods of other nodes is not readable between the nodes",
            Class::PodsAcross => "What pods send to pods of the other cluster is not readable between the nodes",
            Class::Service => "What pods send to a Service is not readable between the nodes",
            Class::GlobalService => "What pods send to a global Service is not readable between the clusters",
            Class::Dns => "The names that pods ask cluster DNS for are not readable between the nodes",
            Class::Headers => "Not even the headers of packets between pods are readable between the nodes",
            Class::ProxiedDns => "Names asked through Cilium's DNS proxy are not readable between the nodes",
            Class::ProxiedHttp => "Requests that pass through Cilium's HTTP proxy are not readable between the nodes",
        }
    }
    pub(super) const fn proves(self) -> &'static str {
        match self {
            Class::Pods => {
                "TCP and UDP between pods of a cluster are encrypted on every pair of nodes, in both directions."
            }
            Class::PodsAcross => {
                "TCP and UDP between pods of the two clusters are encrypted on every pair of nodes, in both directions."
            }
            Class::Service => "Translation to a backend does not lead around the encryption.",
            Class::GlobalService => {
                "Translation to a backend of the other cluster does not lead around the encryption."
            }
            Class::Dns => "Whoever listens between nodes does not learn what pods look for.",
            Class::Headers => {
                "SYN, RST and ICMP, which carry no marker, are encrypted too: nobody between the nodes learns which pods speak with each other."
            }
            Class::ProxiedDns | Class::ProxiedHttp => {
                "What a policy hands to a proxy leaves its node from the proxy and no longer from the pod; it is encrypted like all the rest."
            }
        }
    }
    pub(super) const fn how(self) -> &'static str {
        match self {
            Class::Pods | Class::PodsAcross => {
                "An agent on every node captures on all devices that `cilium-dbg status` names, while a pod on every node exchanges random 128-bit markers with a pod on every other one, over TCP (4 KiB) and UDP (1,000 B), each flow its own marker and the answer carrying it back. The markers are searched as raw bytes in every packet, whatever its addresses; and no packet may show these pods' addresses outside of encryption, tunnels looked into. Beyond twelve nodes a covering set of pairs is used."
            }
            Class::Service | Class::GlobalService => {
                "As encryption::pod_traffic, but the markers go to the Service's cluster IP, 12 times over TCP and 12 times over UDP from every node, and the answers tell which node served them."
            }
            Class::Dns => {
                "As encryption::pod_traffic, but the marker is a name of 32 hexadecimal digits, asked over UDP and TCP by a pod on every node of every replica of cluster DNS on another node, and of the Service; any answer will do."
            }
            Class::ProxiedDns => {
                "As encryption::dns_traffic, under a policy that closes nothing and hands the pods' questions to the DNS proxy; the flows are sent once every pod was refused a name that exists and that the policy does not have."
            }
            Class::ProxiedHttp => {
                "As encryption::pod_traffic, but the marker is a header of a GET to a pod on every other node of the cluster, under a policy that closes nothing and hands these requests to the HTTP proxy; they are sent once every pod got a 403 for a PUT. Where only the live configuration says that there is such a proxy, and none answers, the check is skipped."
            }
            Class::Headers => {
                "As encryption::pod_traffic, but a pod on every node opens connections to a port with a listener and to one without, and pings, a pod on every other node of the cluster; looked for are packets that show these pods' addresses. Pings that an agent may not send are left out, and the evidence says so."
            }
        }
    }
    pub(super) const fn faults(self) -> &'static [&'static str] {
        match self {
            Class::Pods => &[
                "plaintext-node-pair",
                "plaintext-udp",
                "plaintext-one-way",
                "encryption-off",
                "wireguard-peer-missing",
            ],
            Class::PodsAcross => &["plaintext-mesh", "plaintext-udp"],
            Class::Service => &["plaintext-service", "plaintext-udp"],
            Class::GlobalService => &["plaintext-service", "plaintext-mesh"],
            Class::Dns => &["plaintext-dns"],
            Class::Headers => &["plaintext-headers", "plaintext-icmp"],
            Class::ProxiedDns | Class::ProxiedHttp => &["plaintext-proxied"],
        }
    }
    pub(super) const fn scope(self) -> Scope {
        match self {
            Class::PodsAcross | Class::GlobalService => Scope::Direction,
            _ => Scope::Cluster,
        }
    }
    pub(super) fn subject(self, instance: &Instance) -> String {
        match self {
            Class::Pods => format!("pods of {instance}"),
            Class::PodsAcross => format!("pods, {instance}"),
            Class::Service => format!("a Service of {instance}"),
            Class::GlobalService => format!("a global Service, {instance}"),
            Class::Dns => format!("cluster DNS of {instance}"),
            Class::Headers => format!("pods of {instance}, headers only"),
            Class::ProxiedDns => format!("cluster DNS of {instance}, through the DNS proxy"),
            Class::ProxiedHttp => format!("pods of {instance}, through the HTTP proxy"),
        }
    }
    /// The proxy that the class goes through.
    pub(super) const fn via(self) -> Option<Via> {
        match self {
            Class::ProxiedDns => Some(Via::Dns),
            Class::ProxiedHttp => Some(Via::Http),
            _ => None,
        }
    }
}

/// Fresh flows of a class.
pub fn of(class: Class, facts: &Facts, instance: &Instance) -> Result<Vec<Flow>, Verdict> {
    let (from, to) = (instance.from(), instance.to());
    let talkers: Vec<&AgentFacts> = agents(facts, from, TALKER).collect();
    let listeners: Vec<&AgentFacts> = agents(facts, to, LISTENER).collect();
    let flows: Vec<Flow> = match class {
        Class::Pods | Class::PodsAcross => pairs(&talkers, &listeners)
            .into_iter()
            .flat_map(|(a, b)| marked(a, b))
            .collect(),
        Class::Headers => pairs(&talkers, &listeners)
            .into_iter()
            .flat_map(|(a, b)| bare(a, b))
            .collect(),
        Class::Service => to_service(facts, from, "listener", &talkers, &listeners)?,
        Class::GlobalService => {
            let all: Vec<&AgentFacts> = agents(facts, from, LISTENER).chain(listeners.iter().copied()).collect();
            to_service(facts, from, "listener-global", &talkers, &all)?
        }
        Class::Dns | Class::ProxiedDns => to_dns(facts, from, &talkers)?,
        Class::ProxiedHttp => pairs(&listeners, &talkers)
            .into_iter()
            .map(|(a, b)| request(a, b))
            .collect(),
    };
    match flows.is_empty() {
        false => Ok(flows),
        true => Err(Verdict::inconclusive(format!(
            "no pod of {from} has a counterpart on another node ({}), so nothing goes between nodes",
            class.id()
        ))),
    }
}

/// Ordered pairs on different nodes: all, or so many that every node sends and receives.
fn pairs<'a>(from: &[&'a AgentFacts], to: &[&'a AgentFacts]) -> Vec<(&'a AgentFacts, &'a AgentFacts)> {
    let differ = |(a, b): &(&AgentFacts, &AgentFacts)| a.id.cluster != b.id.cluster || a.node != b.node;
    if from.len().max(to.len()) <= ALL_PAIRS {
        return from
            .iter()
            .flat_map(|a| to.iter().map(|b| (*a, *b)))
            .filter(differ)
            .collect();
    }
    let most = from.len().max(to.len());
    (0..most)
        .flat_map(|n| [1, most / 2].map(|step| (from[n % from.len()], to[(n + step) % to.len()])))
        .filter(differ)
        .collect()
}

/// From a pod towards an address that nobody has: a marker over UDP, and a SYN.
pub fn withheld(from: &AgentFacts, to: IpAddr) -> [Flow; 2] {
    let flow = |transport: Transport, port| {
        let what = format!("{} -> {to}, {transport}", node(from));
        let echo = echo(from, Target::new(to.to_string(), port), transport, what);
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
    crate::kit::cilium::nodes::place(&agent.id.cluster, &agent.node)
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
fn unanswered(outcome: &Outcome) -> bool {
    !outcome.is_success() && !outcome.is_local_error()
}
fn told(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Dns { .. })
}

fn echo(from: &AgentFacts, to: Target, transport: Transport, what: String) -> Flow {
    let marker = marker();
    let payload = match transport {
        Transport::Tcp => TCP_BYTES,
        Transport::Udp => UDP_BYTES,
    };
    Flow {
        what,
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

/// A GET with a marker.
fn request(a: &AgentFacts, b: &AgentFacts) -> Flow {
    let marker = marker();
    Flow {
        what: format!("{} -> {}, HTTP", node(a), node(b)),
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

/// SYN, RST and ICMP.
fn bare(a: &AgentFacts, b: &AgentFacts) -> Vec<Flow> {
    let to = |port| Target::new(b.address.to_string(), port);
    let tries: [(&str, Action, Arrived); 3] = [
        (
            "TCP to an open port",
            Action::TcpConnect {
                to: to(b.port(port::TCP)),
            },
            answered,
        ),
        ("TCP to a closed port", Action::TcpConnect { to: to(CLOSED) }, refused),
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
        what: format!("{} -> {}, {what}", node(a), node(b)),
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
            "Service {name} of the scenario has no address in {cluster}"
        )));
    };
    let others: Vec<IpAddr> = backends.iter().map(|backend| backend.address).collect();
    let mut flows = Vec::new();
    for talker in talkers {
        for (transport, port) in [(Transport::Tcp, "tcp"), (Transport::Udp, "udp")] {
            let Some(port) = service.ports.get(port) else { continue };
            flows.extend((1..=REQUESTS).map(|number| Flow {
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

fn to_dns(facts: &Facts, cluster: &ClusterName, talkers: &[&AgentFacts]) -> Result<Vec<Flow>, Verdict> {
    let Some(dns) = facts.cluster(cluster).and_then(|c| c.dns.as_ref()) else {
        return Err(Verdict::inconclusive(format!("no cluster DNS was found in {cluster}")));
    };
    // What goes to a node's own address is encrypted only with node encryption.
    let nodes = facts.cluster(cluster).into_iter().flat_map(|c| &c.nodes);
    let nodes: Vec<IpAddr> = nodes.flat_map(|node| node.addresses.iter().copied()).collect();
    let (of_nodes, pods): (Vec<&DnsReplica>, Vec<&DnsReplica>) = dns
        .replicas
        .iter()
        .partition(|replica| nodes.contains(&replica.address));
    let mut flows = Vec::new();
    for talker in talkers {
        for transport in [Transport::Udp, Transport::Tcp] {
            let elsewhere = |replica: &&&DnsReplica| replica.node.as_ref().is_some_and(|node| *node != talker.node);
            let question = |server: SocketAddr, of: String, to: Option<NodeName>, others: Vec<IpAddr>| {
                let marker = marker();
                Flow {
                    what: format!("{} -> {of}, {transport}", node(talker)),
                    from: (*talker).clone(),
                    to: to.map(|node| (cluster.clone(), node)),
                    others,
                    probe: Probe::once(
                        Action::Dns {
                            name: format!("{marker}.{}.svc.{}.", talker.namespace, dns.domain),
                            record: RecordType::A,
                            server: Some(server),
                            transport,
                            search: Search::Absolute,
                        },
                        DEADLINE,
                    ),
                    needle: Some(Needle::text(marker)),
                    bytes: 32,
                    arrived: told,
                    withheld: false,
                }
            };
            flows.extend(pods.iter().filter(elsewhere).map(|replica| {
                let server = SocketAddr::new(replica.address, replica.port);
                question(
                    server,
                    format!("DNS replica on {}", replica.node.as_ref().map_or("?", |n| n.as_str())),
                    replica.node.clone(),
                    vec![replica.address],
                )
            }));
            if of_nodes.is_empty() {
                let replicas: Vec<IpAddr> = pods.iter().map(|replica| replica.address).collect();
                flows.push(question(
                    SocketAddr::new(dns.address, 53),
                    "DNS service".to_owned(),
                    None,
                    replicas,
                ));
            }
        }
    }
    Ok(flows)
}
