//! Faults of the network: what is dropped, delayed, corrupted or masqueraded, and where.

use super::{Effect, targets, targets::Site};
use crate::{
    cilium::{HEALTH_PORT, HUBBLE_PORT},
    fault::{Fault, Scope},
    others,
    state::ClusterState,
};
use meshproof_datapath::{
    Checksum, Direction, Effect as Does, Fault as DatapathFault, Impairment, MtuSignal, Nodes, Protocol, Traffic,
};
use std::{net::Ipv4Addr, time::Duration};
use targets::Missing;

type Injection = Result<Vec<DatapathFault>, Missing>;

/// How long a connection is idle before it is dropped: firewalls take minutes, which nobody waits for here.
const IDLE: Duration = Duration::from_secs(12);
/// Below the pods' route MTU, above the least that IPv6 allows.
const SMALL_MTU: u16 = 1290;
/// Bits a second of a link that fell back to its lowest speed.
const SLOW_LINK: u64 = 10_000_000;
const BLACKHOLE: Does = Does::Mtu {
    bytes: SMALL_MTU,
    signal: MtuSignal::Silent,
};
const TOO_SMALL: Does = Does::Mtu {
    bytes: SMALL_MTU,
    signal: MtuSignal::Icmp,
};
const CORRUPT: Does = Does::Corrupt {
    share: 0.5,
    checksum: Checksum::Recomputed,
};

/// What a fault of this layer does.
pub(super) fn effect(fault: Fault) -> Option<Effect> {
    Some(match fault {
        Fault::NodePairBlackhole | Fault::OtherClusterBlackhole => {
            |lab, scope| both_ways(lab, scope, |from, to| underlay(from, to, Does::Drop))
        }
        Fault::OneWayBlackhole => |lab, scope| one_way(lab, scope, |from, to| underlay(from, to, Does::Drop)),
        Fault::TunnelDown | Fault::TunnelDownMesh => {
            |lab, scope| both_ways(lab, scope, |from, to| DatapathFault::TunnelDown { from, to })
        }
        Fault::HealthPortBlocked | Fault::HealthPortBlockedMesh => {
            |lab, scope| between_nodes(lab, scope, &Traffic::Port(Protocol::Tcp, HEALTH_PORT))
        }
        Fault::HubblePortBlocked => |lab, _| {
            let node = targets::one(targets::drawn_node(lab)?);
            let traffic = Traffic::Port(Protocol::Tcp, HUBBLE_PORT);
            Ok(of_nodes(lab, Nodes::Any, node, &traffic))
        },
        Fault::PortClosed => |lab, scope| closed(lab, scope, 5432),
        Fault::PortClosedMesh => |lab, scope| closed(lab, scope, 6379),
        Fault::NodeIcmpDropped => |lab, scope| between_nodes(lab, scope, &Traffic::Protocol(Protocol::Icmp)),
        Fault::UdpDropped => |_, _| Ok(vec![dropped_everywhere(Protocol::Udp)]),
        Fault::TcpDropped => |_, _| Ok(vec![dropped_everywhere(Protocol::Tcp)]),
        Fault::IcmpDropped => |_, _| Ok(vec![dropped_everywhere(Protocol::Icmp)]),
        Fault::HttpReset => |_, _| Ok(vec![http_reset()]),
        Fault::IdleConnectionsDropped => |_, _| {
            let (nodes, after) = (Nodes::Any, IDLE);
            Ok(vec![DatapathFault::IdleDropped { nodes, after }])
        },
        Fault::EndpointBlackhole => |lab, _| endpoint_blackhole(lab),
        Fault::OthersPodBlackhole => |lab, _| others_pod_blackhole(lab),
        Fault::SameNodeDropped => |lab, _| same_node(lab, Does::Drop),
        Fault::HostToPodDropped => |lab, _| host_to_pod_dropped(lab),
        Fault::PodToHostDropped => |lab, _| pod_to_host_dropped(lab),
        Fault::HostUnreachable => |lab, _| {
            let cluster = targets::first(lab)?;
            hosts_unreachable(cluster, cluster)
        },
        Fault::HostUnreachableMesh => |lab, _| hosts_unreachable(targets::first(lab)?, targets::last(lab)?),
        Fault::MasqueradeSameNode | Fault::MasqueradeCluster | Fault::MasqueradeMesh => {
            |lab, scope| one_way(lab, scope, |from, to| DatapathFault::Masquerade { from, to })
        }
        Fault::MtuBlackhole | Fault::MtuBlackholeMesh => |lab, scope| paths(lab, scope, BLACKHOLE),
        Fault::MtuBlackholeSameNode => |lab, _| same_node(lab, BLACKHOLE),
        Fault::UdpFragmentsDropped => |lab, _| {
            Ok(vec![DatapathFault::Path {
                from: targets::one(targets::drawn_node(lab)?),
                to: Nodes::Any,
                impairment: Impairment {
                    traffic: Traffic::Fragments,
                    effect: Does::Drop,
                },
            }])
        },
        Fault::MtuTooSmall => |lab, scope| paths(lab, scope, TOO_SMALL),
        Fault::LossCluster | Fault::LossMesh => |lab, scope| paths(lab, scope, Does::Loss(lab.share())),
        Fault::LossSameNode => |lab, _| same_node(lab, Does::Loss(lab.share())),
        Fault::LatencyCluster | Fault::LatencyMesh => |lab, scope| paths(lab, scope, Does::Delay(lab.time())),
        Fault::RateLimited => |lab, scope| both_ways(lab, scope, |from, to| underlay(from, to, Does::Rate(SLOW_LINK))),
        Fault::RateLimitedNode => |lab, _| {
            let node = targets::one(targets::drawn_node(lab)?);
            Ok(vec![underlay(node, Nodes::Any, Does::Rate(SLOW_LINK))])
        },
        Fault::CorruptedPayload | Fault::CorruptedPayloadMesh => |lab, scope| both_ways(lab, scope, corrupting),
        Fault::CorruptedPayloadSameNode => |lab, _| same_node(lab, CORRUPT),
        _ => return None,
    })
}

fn one_way(lab: &Site<'_>, scope: Scope, fault: impl Fn(Nodes, Nodes) -> DatapathFault) -> Injection {
    let (from, to) = targets::sides(lab, scope)?;
    Ok(vec![fault(from, to)])
}

fn both_ways(lab: &Site<'_>, scope: Scope, fault: impl Fn(Nodes, Nodes) -> DatapathFault) -> Injection {
    let (a, b) = targets::sides(lab, scope)?;
    Ok(vec![fault(a.clone(), b.clone()), fault(b, a)])
}

/// On what pods of the two sides send each other.
fn paths(lab: &Site<'_>, scope: Scope, effect: Does) -> Injection {
    both_ways(lab, scope, |from, to| DatapathFault::Path {
        from,
        to,
        impairment: Impairment::all(effect),
    })
}

fn underlay(from: Nodes, to: Nodes, effect: Does) -> DatapathFault {
    DatapathFault::Underlay {
        from,
        to,
        impairment: Impairment::all(effect),
    }
}

/// What the nodes of the two sides send each other.
fn between_nodes(lab: &Site<'_>, scope: Scope, traffic: &Traffic) -> Injection {
    let (a, b) = targets::sides(lab, scope)?;
    let there = of_nodes(lab, a.clone(), b.clone(), traffic);
    Ok(there.into_iter().chain(of_nodes(lab, b, a, traffic)).collect())
}

/// What nodes themselves send other nodes: on the wire, and inside of the tunnel that it takes where nodes' own traffic
/// is encrypted.
fn of_nodes(lab: &Site<'_>, from: Nodes, to: Nodes, traffic: &Traffic) -> Vec<DatapathFault> {
    let impairment = Impairment {
        traffic: traffic.clone(),
        effect: Does::Drop,
    };
    let wire = DatapathFault::Underlay {
        from: from.clone(),
        to: to.clone(),
        impairment: impairment.clone(),
    };
    let path = lab
        .encrypts_nodes()
        .then_some(DatapathFault::Path { from, to, impairment });
    [wire].into_iter().chain(path).collect()
}

/// A TCP port that pods of the two sides do not reach.
fn closed(lab: &Site<'_>, scope: Scope, port: u16) -> Injection {
    both_ways(lab, scope, |from, to| DatapathFault::Path {
        from,
        to,
        impairment: Impairment {
            traffic: Traffic::Port(Protocol::Tcp, port),
            effect: Does::Drop,
        },
    })
}

/// Only packets that have a payload to alter: a corrupted handshake would be another fault.
fn corrupting(from: Nodes, to: Nodes) -> DatapathFault {
    let impairment = Impairment {
        traffic: Traffic::LargerThan(60),
        effect: CORRUPT,
    };
    DatapathFault::Path { from, to, impairment }
}

fn dropped_everywhere(protocol: Protocol) -> DatapathFault {
    DatapathFault::Path {
        from: Nodes::Any,
        to: Nodes::Any,
        impairment: Impairment::of(protocol, Does::Drop),
    }
}

fn http_reset() -> DatapathFault {
    DatapathFault::Path {
        from: Nodes::Any,
        to: Nodes::Any,
        impairment: Impairment {
            traffic: Traffic::Port(Protocol::Tcp, 8080),
            effect: Does::Reset,
        },
    }
}

fn endpoint_blackhole(lab: &Site<'_>) -> Injection {
    let Some((pod, others)) = targets::backend(lab)? else {
        return Ok(Vec::new());
    };
    let node = targets::first_node(lab)?;
    let hosts = [node.handle.config().router, node.spec.address];
    Ok(from_each(pod, others.into_iter().chain(hosts), Does::Drop))
}

fn others_pod_blackhole(lab: &Site<'_>) -> Injection {
    let nodes = targets::first(lab)?.nodes();
    let found = nodes.iter().find_map(|node| {
        let pods = node.pods();
        let pod = pods.into_iter().find(|pod| pod.namespace == others::NAMESPACE)?;
        Some((pod.address, [node.spec.address, node.handle.config().router]))
    });
    Ok(found
        .into_iter()
        .flat_map(|(pod, hosts)| from_each(pod, hosts, Does::Drop))
        .collect())
}

fn host_to_pod_dropped(lab: &Site<'_>) -> Injection {
    let node = targets::first_node(lab)?;
    let hosts = [node.spec.address, node.handle.config().router];
    let pods = targets::applications(node);
    Ok(pods
        .iter()
        .flat_map(|pod| from_each(pod.address, hosts, Does::Drop))
        .collect())
}

fn pod_to_host_dropped(lab: &Site<'_>) -> Injection {
    let hosts: Vec<_> = lab.nodes().map(|(_, node)| node.spec.address).collect();
    let pods = targets::applications(targets::first_node(lab)?);
    Ok(pods
        .iter()
        .flat_map(|pod| to_each(pod.address, hosts.iter().copied()))
        .collect())
}

/// The pods of one cluster cannot reach the nodes of another, or of their own.
fn hosts_unreachable(from: &ClusterState, to: &ClusterState) -> Injection {
    let hosts: Vec<_> = to.nodes().iter().map(|node| node.spec.address).collect();
    let pods = from.nodes().iter().flat_map(|node| targets::applications(node));
    Ok(pods
        .flat_map(|pod| to_each(pod.address, hosts.iter().copied()))
        .collect())
}

/// On what applications' pods of the first node send to each other.
fn same_node(lab: &Site<'_>, effect: Does) -> Injection {
    let pods = targets::applications(targets::first_node(lab)?);
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
fn from_each(pod: Ipv4Addr, sources: impl IntoIterator<Item = Ipv4Addr>, effect: Does) -> Vec<DatapathFault> {
    on_link(pod, Direction::Ingress, sources, effect)
}

/// What a pod sends to each of these addresses is dropped.
fn to_each(pod: Ipv4Addr, destinations: impl IntoIterator<Item = Ipv4Addr>) -> Vec<DatapathFault> {
    on_link(pod, Direction::Egress, destinations, Does::Drop)
}

fn on_link(
    address: Ipv4Addr,
    direction: Direction,
    others: impl IntoIterator<Item = Ipv4Addr>,
    effect: Does,
) -> Vec<DatapathFault> {
    let fault = |other| DatapathFault::Endpoint {
        address,
        direction,
        impairment: Impairment {
            traffic: Traffic::Address(other),
            effect,
        },
    };
    others.into_iter().map(fault).collect()
}
