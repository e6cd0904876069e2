//! Faults of encryption in the data path: what leaves a node unencrypted, and what is wrong about WireGuard's peers.

use super::{Effect, targets, targets::Site};
use crate::{fault::Fault, platform};
use ipnet::Ipv4Net;
use meshproof_datapath::{Fault as DatapathFault, NodeName, Nodes, Protocol, Traffic};
use targets::Missing;

/// What a fault of this layer does.
pub(super) fn effect(fault: Fault) -> Option<Effect> {
    Some(match fault {
        Fault::EncryptionOff => |_, _| Ok(vec![everywhere(Traffic::All)]),
        Fault::PlaintextNodePair | Fault::PlaintextMesh => |lab, scope| {
            let (a, b) = targets::sides(lab, scope)?;
            Ok(vec![
                plaintext(a.clone(), b.clone(), Traffic::All),
                plaintext(b, a, Traffic::All),
            ])
        },
        Fault::PlaintextOneWay => |lab, scope| {
            let (a, b) = targets::sides(lab, scope)?;
            Ok(vec![plaintext(b, a, Traffic::All)])
        },
        Fault::PlaintextUdp => |_, _| Ok(vec![everywhere(Traffic::Protocol(Protocol::Udp))]),
        Fault::PlaintextIcmp => |_, _| Ok(vec![everywhere(Traffic::Protocol(Protocol::Icmp))]),
        Fault::PlaintextIcmpErrors => |lab, _| {
            let from = targets::one(targets::first_node(lab)?);
            Ok(vec![plaintext(from, Nodes::Any, Traffic::IcmpErrors)])
        },
        Fault::PlaintextMasqueraded => |lab, scope| {
            let (from, to) = targets::sides(lab, scope)?;
            let masquerade = DatapathFault::Masquerade {
                from: from.clone(),
                to: to.clone(),
            };
            Ok(vec![masquerade, plaintext(from, to, Traffic::BareSegments)])
        },
        Fault::PlaintextSecondLink => |lab, scope| {
            let (from, to) = targets::sides(lab, scope)?;
            Ok(vec![DatapathFault::SecondLink { from, to }])
        },
        Fault::PlaintextNodeTraffic => |lab, scope| {
            let (from, to) = targets::sides(lab, scope)?;
            Ok(vec![DatapathFault::NodesInClear { from, to }])
        },
        Fault::NodeEncryptionOff => |lab, _| {
            let from = targets::one(targets::first_node(lab)?);
            Ok(vec![DatapathFault::NodesInClear { from, to: Nodes::Any }])
        },
        // Unlike an agent without node encryption such a node also announces no key: plain both ways (semantics C4).
        Fault::NodeEncryptionOptedOut => |lab, _| {
            let exempt = targets::nodes(targets::first(lab)?);
            let in_clear = |from, to| DatapathFault::NodesInClear { from, to };
            Ok(vec![in_clear(exempt.clone(), Nodes::Any), in_clear(Nodes::Any, exempt)])
        },
        // In a tunnel nobody asks for the key of what is inside (semantics C2).
        Fault::IpcacheKeyMissing => |lab, _| {
            let keyless = targets::keyless(lab).filter(|_| lab.routes_natively());
            let clear = |(from, address)| plaintext(from, Nodes::Any, Traffic::To(address));
            Ok(keyless.map(clear).into_iter().collect())
        },
        Fault::PlaintextHeaders => |_, _| Ok(vec![everywhere(Traffic::BareSegments)]),
        Fault::PlaintextService => |_, _| Ok(vec![everywhere(Traffic::Translated)]),
        Fault::PlaintextProxied => |_, _| Ok(vec![everywhere(Traffic::Proxied)]),
        Fault::PlaintextDatabase => |_, _| Ok(vec![everywhere(Traffic::Port(Protocol::Tcp, platform::DATABASE))]),
        Fault::PlaintextDns => |_, _| {
            Ok(vec![
                everywhere(Traffic::Port(Protocol::Udp, 53)),
                everywhere(Traffic::Port(Protocol::Tcp, 53)),
            ])
        },
        Fault::WireguardKeyMismatch => |lab, _| {
            let (node, peer) = peer_of(lab)?;
            Ok(vec![DatapathFault::WrongKey { node, peer }])
        },
        Fault::WireguardPeerMissing => |lab, _| {
            let (node, peer) = peer_of(lab)?;
            Ok(vec![DatapathFault::UnknownPeer { node, peer }])
        },
        Fault::StrictModeIgnored => |_, _| Ok(vec![DatapathFault::StrictIgnored { nodes: Nodes::Any }]),
        Fault::WireguardHandshakeStale => |lab, _| {
            let (node, peer) = peer_of(lab)?;
            let age = lab.time();
            Ok(vec![DatapathFault::StaleHandshake { node, peer, age }])
        },
        Fault::WireguardAllowedIpsWide => |lab, _| allowed_ips(lab, Ipv4Net::default()),
        Fault::WireguardAllowedIpsNarrow => {
            |lab, _| allowed_ips(lab, Ipv4Net::from(targets::first_node(lab)?.spec.address))
        }
        _ => return None,
    })
}

fn plaintext(from: Nodes, to: Nodes, traffic: Traffic) -> DatapathFault {
    DatapathFault::Plaintext { from, to, traffic }
}

fn everywhere(traffic: Traffic) -> DatapathFault {
    plaintext(Nodes::Any, Nodes::Any, traffic)
}

/// The first node of the pair has this for the allowed IPs of the second.
fn allowed_ips(lab: &Site<'_>, range: Ipv4Net) -> Result<Vec<DatapathFault>, Missing> {
    let (node, peer) = peer_of(lab)?;
    let allowed = vec![range];
    Ok(vec![DatapathFault::AllowedIps { node, peer, allowed }])
}

/// The first node of the pair, and the name of the second.
fn peer_of(lab: &Site<'_>) -> Result<(Nodes, NodeName), Missing> {
    let (node, peer) = targets::pair(lab)?;
    Ok((targets::one(node), peer.handle.name().clone()))
}
