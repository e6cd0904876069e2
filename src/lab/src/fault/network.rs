//! Faults of the network: what is dropped, delayed, bent or sent elsewhere, and where.

use std::time::Duration;

use meshproof_datapath::{Checksum, Direction, Effect as Does, Fault, Impairment, MtuSignal, Nodes, Protocol, Traffic};

use super::place::{self, Missing};
use super::{Effect, FaultName, FaultSpec};
use crate::state::LabState;

type Injection = Result<Vec<Fault>, Missing>;
/// Name, summary, and what it puts into the data path.
type Entry = (&'static str, &'static str, fn(&LabState) -> Injection);

const SUITES: &[&str] = &["connectivity"];
/// A share of lost packets that a careful operator would want to hear of.
const LOSS: Does = Does::Loss(0.05);
const LATENCY: Does = Does::Delay(Duration::from_millis(200));
/// Below what pods are told, above what IPv6 would need.
const SMALL_MTU: u16 = 1290;
const BLACKHOLE: Does = Does::Mtu {
    bytes: SMALL_MTU,
    signal: MtuSignal::Silent,
};
const CORRUPT: Does = Does::Corrupt {
    share: 0.5,
    checksum: Checksum::Recomputed,
};

/// The catalogue's entries.
pub(super) fn faults() -> Vec<FaultSpec> {
    let entries: [Entry; 30] = [
        (
            "node-pair-blackhole",
            "nothing passes between two nodes of one cluster",
            |lab| {
                let (a, b) = place::pair(lab)?;
                Ok(both_ways(a, b, |from, to| underlay(from, to, Does::Drop)))
            },
        ),
        (
            "one-way-blackhole",
            "nothing passes from a node of the first cluster to one of the last",
            |lab| {
                let (a, b) = place::mesh_pair(lab)?;
                Ok(vec![underlay(a, b, Does::Drop)])
            },
        ),
        (
            "other-cluster-blackhole",
            "nothing passes between the clusters",
            |lab| {
                let (a, b) = place::mesh(lab)?;
                Ok(both_ways(a, b, |from, to| underlay(from, to, Does::Drop)))
            },
        ),
        (
            "tunnel-down",
            "WireGuard passes nothing between two nodes of one cluster",
            |lab| {
                let (a, b) = place::pair(lab)?;
                Ok(both_ways(a, b, |from, to| Fault::TunnelDown { from, to }))
            },
        ),
        (
            "tunnel-down-mesh",
            "WireGuard passes nothing between two nodes of different clusters",
            |lab| {
                let (a, b) = place::mesh_pair(lab)?;
                Ok(both_ways(a, b, |from, to| Fault::TunnelDown { from, to }))
            },
        ),
        ("udp-dropped", "UDP between pods of different nodes is lost", |_| {
            Ok(vec![everywhere(Protocol::Udp)])
        }),
        ("tcp-dropped", "TCP between pods of different nodes is lost", |_| {
            Ok(vec![everywhere(Protocol::Tcp)])
        }),
        ("icmp-dropped", "ICMP between pods of different nodes is lost", |_| {
            Ok(vec![everywhere(Protocol::Icmp)])
        }),
        (
            "http-reset",
            "connections to port 8080 of pods on other nodes are reset once established",
            |_| {
                let impairment = Impairment {
                    traffic: Traffic::Port(Protocol::Tcp, 8080),
                    effect: Does::Reset,
                };
                Ok(vec![Fault::Path {
                    from: Nodes::Any,
                    to: Nodes::Any,
                    impairment,
                }])
            },
        ),
        (
            "endpoint-blackhole",
            "one pod of the first cluster receives nothing from its own node",
            |lab| {
                let Some((pod, others)) = place::backend(lab)? else {
                    return Ok(Vec::new());
                };
                let router = place::first_node(lab)?.handle.config().router;
                let node = place::first_node(lab)?.spec.address;
                Ok(from_each(pod, others.into_iter().chain([router, node]), Does::Drop))
            },
        ),
        ("same-node-dropped", "pods of one node do not reach each other", |lab| {
            same_node(lab, Does::Drop)
        }),
        ("host-to-pod-dropped", "one node does not reach its own pods", |lab| {
            let node = place::first_node(lab)?;
            let hosts = [node.spec.address, node.handle.config().router];
            let pods = place::applications(node);
            Ok(pods
                .iter()
                .flat_map(|pod| from_each(pod.address, hosts, Does::Drop))
                .collect())
        }),
        (
            "pod-to-host-dropped",
            "the pods of one node do not reach any node",
            |lab| {
                let node = place::first_node(lab)?;
                let hosts: Vec<_> = lab.nodes().map(|(_, node)| node.spec.address).collect();
                let pods = place::applications(node);
                Ok(pods
                    .iter()
                    .flat_map(|pod| to_each(pod.address, hosts.iter().copied()))
                    .collect())
            },
        ),
        (
            "host-unreachable",
            "the pods of one cluster do not reach its nodes",
            |lab| {
                let cluster = place::first(lab)?;
                let hosts: Vec<_> = cluster.nodes().iter().map(|node| node.spec.address).collect();
                let pods = cluster.nodes().iter().flat_map(|node| place::applications(node));
                Ok(pods
                    .flat_map(|pod| to_each(pod.address, hosts.iter().copied()))
                    .collect())
            },
        ),
        (
            "host-unreachable-mesh",
            "the pods of one cluster do not reach the nodes of the other",
            |lab| {
                let (cluster, other) = (place::first(lab)?, place::last(lab)?);
                let hosts: Vec<_> = other.nodes().iter().map(|node| node.spec.address).collect();
                let pods = cluster.nodes().iter().flat_map(|node| place::applications(node));
                Ok(pods
                    .flat_map(|pod| to_each(pod.address, hosts.iter().copied()))
                    .collect())
            },
        ),
        (
            "masquerade-same-node",
            "pods of one node see each other as the node",
            |lab| {
                let node = Nodes::one(place::first_node(lab)?.handle.name().clone());
                Ok(vec![Fault::Masquerade {
                    from: node.clone(),
                    to: node,
                }])
            },
        ),
        (
            "masquerade-cluster",
            "pods of one node reach another node's with the node's address",
            |lab| {
                let (from, to) = place::pair(lab)?;
                Ok(vec![Fault::Masquerade { from, to }])
            },
        ),
        (
            "masquerade-mesh",
            "pods of one node reach the other cluster's with the node's address",
            |lab| {
                let (from, to) = place::mesh_pair(lab)?;
                Ok(vec![Fault::Masquerade { from, to }])
            },
        ),
        (
            "mtu-blackhole",
            "packets over 1,290 bytes vanish between two nodes of one cluster",
            |lab| pair_path(lab, BLACKHOLE),
        ),
        (
            "mtu-blackhole-mesh",
            "packets over 1,290 bytes vanish between two nodes of different clusters",
            |lab| mesh_path(lab, BLACKHOLE),
        ),
        (
            "mtu-blackhole-same-node",
            "packets over 1,290 bytes vanish between pods of one node",
            |lab| same_node(lab, BLACKHOLE),
        ),
        (
            "mtu-too-small",
            "two nodes of one cluster pass only 1,290 bytes, and say so",
            |lab| {
                pair_path(
                    lab,
                    Does::Mtu {
                        bytes: SMALL_MTU,
                        signal: MtuSignal::Icmp,
                    },
                )
            },
        ),
        (
            "loss-cluster",
            "5 % of the packets between two nodes of one cluster are lost",
            |lab| pair_path(lab, LOSS),
        ),
        (
            "loss-mesh",
            "5 % of the packets between two nodes of different clusters are lost",
            |lab| mesh_path(lab, LOSS),
        ),
        (
            "loss-same-node",
            "5 % of the packets between pods of one node are lost",
            |lab| same_node(lab, LOSS),
        ),
        (
            "latency-cluster",
            "packets between two nodes of one cluster take 200 ms longer",
            |lab| pair_path(lab, LATENCY),
        ),
        (
            "latency-mesh",
            "packets between the clusters take 200 ms longer",
            |lab| {
                let (a, b) = place::mesh(lab)?;
                Ok(both_ways(a, b, |from, to| path(from, to, LATENCY)))
            },
        ),
        (
            "corrupted-payload",
            "payloads between two nodes of one cluster are altered, with right checksums",
            |lab| {
                let (a, b) = place::pair(lab)?;
                Ok(both_ways(a, b, corrupting))
            },
        ),
        (
            "corrupted-payload-mesh",
            "payloads between two nodes of different clusters are altered, with right checksums",
            |lab| {
                let (a, b) = place::mesh_pair(lab)?;
                Ok(both_ways(a, b, corrupting))
            },
        ),
        (
            "corrupted-payload-same-node",
            "payloads between pods of one node are altered, with right checksums",
            |lab| same_node(lab, CORRUPT),
        ),
    ];
    let spec = |(name, summary, injection)| FaultSpec {
        name: FaultName::new(name),
        summary,
        suites: SUITES,
        effect: Effect::Network(injection),
    };
    entries.into_iter().map(spec).collect()
}

fn both_ways(a: Nodes, b: Nodes, fault: impl Fn(Nodes, Nodes) -> Fault) -> Vec<Fault> {
    vec![fault(a.clone(), b.clone()), fault(b, a)]
}

fn underlay(from: Nodes, to: Nodes, effect: Does) -> Fault {
    Fault::Underlay {
        from,
        to,
        impairment: Impairment::all(effect),
    }
}

fn path(from: Nodes, to: Nodes, effect: Does) -> Fault {
    Fault::Path {
        from,
        to,
        impairment: Impairment::all(effect),
    }
}

/// Only packets that have a payload to alter: a bent handshake would be another fault.
fn corrupting(from: Nodes, to: Nodes) -> Fault {
    let impairment = Impairment {
        traffic: Traffic::LargerThan(60),
        effect: CORRUPT,
    };
    Fault::Path { from, to, impairment }
}

fn everywhere(protocol: Protocol) -> Fault {
    Fault::Path {
        from: Nodes::Any,
        to: Nodes::Any,
        impairment: Impairment::of(protocol, Does::Drop),
    }
}

fn pair_path(lab: &LabState, effect: Does) -> Injection {
    let (a, b) = place::pair(lab)?;
    Ok(both_ways(a, b, |from, to| path(from, to, effect)))
}

fn mesh_path(lab: &LabState, effect: Does) -> Injection {
    let (a, b) = place::mesh_pair(lab)?;
    Ok(both_ways(a, b, |from, to| path(from, to, effect)))
}

/// On what applications' pods of the first node send to each other.
fn same_node(lab: &LabState, effect: Does) -> Injection {
    let pods = place::applications(place::first_node(lab)?);
    let others = |own| {
        pods.iter()
            .map(|pod| pod.address)
            .filter(move |address| *address != own)
    };
    Ok(pods
        .iter()
        .flat_map(|pod| from_each(pod.address, others(pod.address), effect))
        .collect())
}

/// On what a pod receives from each of these addresses.
fn from_each(
    pod: std::net::Ipv4Addr,
    sources: impl IntoIterator<Item = std::net::Ipv4Addr>,
    effect: Does,
) -> Vec<Fault> {
    on_link(pod, Direction::Ingress, sources, effect)
}

/// What a pod sends to each of these addresses is dropped.
fn to_each(pod: std::net::Ipv4Addr, destinations: impl IntoIterator<Item = std::net::Ipv4Addr>) -> Vec<Fault> {
    on_link(pod, Direction::Egress, destinations, Does::Drop)
}

fn on_link(
    address: std::net::Ipv4Addr,
    direction: Direction,
    others: impl IntoIterator<Item = std::net::Ipv4Addr>,
    effect: Does,
) -> Vec<Fault> {
    let fault = |other| Fault::Endpoint {
        address,
        direction,
        impairment: Impairment {
            traffic: Traffic::Address(other),
            effect,
        },
    };
    others.into_iter().map(fault).collect()
}
