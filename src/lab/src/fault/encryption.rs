//! Faults of encryption: what leaves a node in clear, what WireGuard's peers have wrong, and what blinds whoever looks.

use std::time::Duration;

use ipnet::Ipv4Net;
use meshproof_datapath::{Fault, NodeName, Nodes, Protocol, Traffic};

use super::place::{self, Missing};
use super::{Effect, FaultName, FaultSpec};
use crate::state::LabState;

type Injection = Result<Vec<Fault>, Missing>;
type Entry = (&'static str, &'static str, fn(&LabState) -> Injection);

/// Nothing is encrypted, and the agents say so.
pub(crate) const OFF: FaultName = FaultName::new("encryption-off");
/// The agents name a device between nodes that is none.
pub(crate) const WRONG_DEVICE: FaultName = FaultName::new("capture-wrong-device");

const SUITES: &[&str] = &["encryption"];
/// Older than any handshake that WireGuard would still use.
const STALE: Duration = Duration::from_secs(600);

/// The catalogue's entries.
pub(super) fn faults() -> Vec<FaultSpec> {
    let entries: [Entry; 16] = [
        (
            OFF.as_str(),
            "encryption is off on every node although it is claimed",
            |_| Ok(vec![plaintext(Nodes::Any, Nodes::Any, Traffic::All)]),
        ),
        (
            "plaintext-node-pair",
            "what pods of two nodes of one cluster send each other leaves in clear",
            |lab| {
                let (a, b) = place::pair(lab)?;
                Ok(vec![
                    plaintext(a.clone(), b.clone(), Traffic::All),
                    plaintext(b, a, Traffic::All),
                ])
            },
        ),
        (
            "plaintext-one-way",
            "between two nodes one direction leaves in clear",
            |lab| {
                let (a, b) = place::pair(lab)?;
                Ok(vec![plaintext(b, a, Traffic::All)])
            },
        ),
        (
            "plaintext-mesh",
            "what pods of two nodes of different clusters send each other leaves in clear",
            |lab| {
                let (a, b) = place::mesh_pair(lab)?;
                Ok(vec![
                    plaintext(a.clone(), b.clone(), Traffic::All),
                    plaintext(b, a, Traffic::All),
                ])
            },
        ),
        ("plaintext-udp", "UDP between pods leaves in clear", |_| {
            Ok(vec![everywhere(Traffic::Protocol(Protocol::Udp))])
        }),
        ("plaintext-icmp", "ICMP between pods leaves in clear", |_| {
            Ok(vec![everywhere(Traffic::Protocol(Protocol::Icmp))])
        }),
        (
            "plaintext-headers",
            "TCP segments without data, such as SYN and RST, leave in clear",
            |_| Ok(vec![everywhere(Traffic::BareSegments)]),
        ),
        (
            "plaintext-service",
            "what is sent to a service's backend leaves in clear",
            |_| Ok(vec![everywhere(Traffic::Translated)]),
        ),
        (
            "plaintext-proxied",
            "what proxies send on behalf of pods leaves in clear",
            |_| Ok(vec![everywhere(Traffic::Proxied)]),
        ),
        ("plaintext-dns", "questions to cluster DNS leave in clear", |_| {
            Ok(vec![
                everywhere(Traffic::Port(Protocol::Udp, 53)),
                everywhere(Traffic::Port(Protocol::Tcp, 53)),
            ])
        }),
        (
            "wireguard-key-mismatch",
            "a node has a wrong key of another one",
            |lab| {
                let (node, peer) = peer_of(lab)?;
                Ok(vec![Fault::WrongKey { node, peer }])
            },
        ),
        (
            "wireguard-peer-missing",
            "a node does not have another one as a peer, and sends it everything in clear",
            |lab| {
                let (node, peer) = peer_of(lab)?;
                Ok(vec![Fault::UnknownPeer { node, peer }])
            },
        ),
        (
            "strict-mode-ignored",
            "strict mode is configured, and what has no key leaves in clear nevertheless",
            |_| Ok(vec![Fault::StrictIgnored { nodes: Nodes::Any }]),
        ),
        (
            "wireguard-handshake-stale",
            "a node shows a handshake of ten minutes ago with another one",
            |lab| {
                let (node, peer) = peer_of(lab)?;
                Ok(vec![Fault::StaleHandshake { node, peer, age: STALE }])
            },
        ),
        (
            "wireguard-allowed-ips-wide",
            "a node trusts another one with every address",
            |lab| {
                let (node, peer) = peer_of(lab)?;
                let allowed = vec![Ipv4Net::default()];
                Ok(vec![Fault::AllowedIps { node, peer, allowed }])
            },
        ),
        (
            "wireguard-allowed-ips-narrow",
            "a node takes nothing that another one sends from its own address",
            |lab| {
                let (node, peer) = peer_of(lab)?;
                let own = place::first_node(lab)?.spec.address;
                let allowed = vec![Ipv4Net::from(own)];
                Ok(vec![Fault::AllowedIps { node, peer, allowed }])
            },
        ),
    ];
    let spec = |(name, summary, injection): Entry| FaultSpec {
        name: FaultName::new(name),
        summary,
        suites: SUITES,
        effect: Effect::Network(injection),
    };
    let mut all: Vec<FaultSpec> = entries.into_iter().map(spec).collect();
    all.push(FaultSpec {
        name: WRONG_DEVICE,
        summary: "the agents name a device on which nothing between nodes goes, so a capture there is blind",
        suites: SUITES,
        effect: Effect::Flag,
    });
    all
}

fn plaintext(from: Nodes, to: Nodes, traffic: Traffic) -> Fault {
    Fault::Plaintext { from, to, traffic }
}

fn everywhere(traffic: Traffic) -> Fault {
    plaintext(Nodes::Any, Nodes::Any, traffic)
}

/// The first node of the pair, and the name of the second.
fn peer_of(lab: &LabState) -> Result<(Nodes, NodeName), Missing> {
    match place::first(lab)?.nodes() {
        [a, b, ..] => Ok((Nodes::one(a.handle.name().clone()), b.handle.name().clone())),
        _ => Err("the first cluster has fewer than two nodes".to_owned()),
    }
}
