//! The network between the nodes: what went over it, and what a capture on a node sees of that.

use crate::testing::Captures;
use meshproof_contract::{
    AgentFacts, AgentId, CaptureReport, CaptureSpec, Facts, Marker,
    capture::{ClearFlow, DeviceCapture, EspFlow, MessageSize, NeedleHit, Sighting, WireguardFlow},
    facts::PodNetwork,
};
use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard},
};

/// What the wire shows of a packet between two pods.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    Ciphertext,
    Headers,
    Everything,
    Nothing,
}

/// A packet that went over the wire.
struct Sent {
    from: (String, IpAddr),
    to: (String, IpAddr),
    pods: Option<(IpAddr, IpAddr)>,
    marker: Option<Marker>,
    bytes: u64,
    shown: Shown,
}

/// The network, and who captures on it.
pub struct Wire {
    addresses: BTreeMap<String, IpAddr>,
    agents: BTreeMap<AgentId, String>,
    report: Arc<dyn Fn(&mut DeviceCapture) + Send + Sync>,
    /// Whether the nodes encrypt with IPsec, too.
    esp: bool,
    sent: Mutex<Vec<Sent>>,
    /// Bytes that went encrypted, by node and node.
    encrypted: Mutex<BTreeMap<(String, String), u64>>,
}

impl Wire {
    /// Between these nodes; every report is tampered with.
    pub fn of(facts: &Facts, report: Arc<dyn Fn(&mut DeviceCapture) + Send + Sync>) -> Self {
        let nodes = facts.clusters.iter().flat_map(|c| &c.nodes);
        let agents = facts.agents.iter();
        Self {
            addresses: nodes.map(|n| (n.name.to_string(), n.addresses[0])).collect(),
            agents: agents.map(|a| (a.id.clone(), a.node.to_string())).collect(),
            report,
            esp: facts.claims.iter().any(|c| c.value == "ipsec"),
            sent: Mutex::default(),
            encrypted: Mutex::default(),
        }
    }

    /// Something goes from agent to agent, and comes back.
    pub fn exchange(&self, from: &AgentFacts, to: &AgentFacts, marker: Option<Marker>, bytes: u64, shown: Shown) {
        for (a, b) in [(from, to), (to, from)] {
            if shown == Shown::Ciphertext {
                let nodes = (a.node.to_string(), b.node.to_string());
                *self.encrypted().entry(nodes).or_default() += bytes;
            }
            self.sent().push(Sent {
                from: self.node(a),
                to: self.node(b),
                pods: (to.network == PodNetwork::Pod).then_some((a.address, b.address)),
                marker,
                bytes,
                shown,
            });
        }
    }

    /// Something goes to an address that nobody has, unless it was to be encrypted: there is no key for it.
    pub fn leak(&self, from: &AgentFacts, to: IpAddr, marker: Option<Marker>, shown: Shown) {
        if shown != Shown::Ciphertext {
            self.sent().push(Sent {
                from: self.node(from),
                to: (String::new(), to),
                pods: Some((from.address, to)),
                marker,
                bytes: 0,
                shown,
            });
        }
    }

    /// Bytes that went encrypted from a node to another.
    pub fn ciphertext(&self, from: &str, to: &str) -> u64 {
        let nodes = (from.to_owned(), to.to_owned());
        self.encrypted().get(&nodes).copied().unwrap_or_default()
    }

    fn encrypted(&self) -> MutexGuard<'_, BTreeMap<(String, String), u64>> {
        self.encrypted.lock().expect("no panic while counting")
    }

    /// How much was exchanged until now.
    pub fn exchanges(&self) -> usize {
        self.sent().len() / 2
    }

    fn sent(&self) -> MutexGuard<'_, Vec<Sent>> {
        self.sent.lock().expect("no panic while sending")
    }

    fn node(&self, agent: &AgentFacts) -> (String, IpAddr) {
        let node = agent.node.to_string();
        let address = self.addresses[&node];
        (node, address)
    }

    /// What a capture on a node's device saw.
    fn seen(&self, node: &str, spec: &CaptureSpec, after: usize) -> DeviceCapture {
        let mut device = DeviceCapture {
            device: "ens3".to_owned(),
            ..DeviceCapture::default()
        };
        let is_here = |s: &&Sent| s.from.0 == node || s.to.0 == node;
        for s in self.sent().iter().skip(after).filter(is_here) {
            device.packets += 1;
            if s.shown == Shown::Ciphertext {
                device.esp.push(EspFlow {
                    source: s.from.1,
                    destination: s.to.1,
                    packets: 1,
                    bytes: if self.esp { s.bytes } else { 0 },
                });
            }
            let first = Sighting {
                at: 0,
                source: Some(s.from.1),
                destination: Some(s.to.1),
                outgoing: s.from.0 == node,
                length: 100,
                head: "4500".to_owned(),
            };
            let needle = s
                .marker
                .and_then(|m| spec.needles.iter().position(|n| n.bytes() == m.0));
            if let (Shown::Everything, Some(needle)) = (s.shown, needle) {
                device.hits.push(NeedleHit {
                    needle: needle as u32,
                    packets: 1,
                    first: first.clone(),
                });
            }
            match (s.shown, s.pods) {
                (Shown::Everything | Shown::Headers, Some((source, destination))) => device.clear.push(ClearFlow {
                    source,
                    destination,
                    protocol: 6,
                    tunnel: true,
                    quoted: false,
                    packets: 1,
                    first,
                }),
                (Shown::Ciphertext, _) => device.wireguard.push(WireguardFlow {
                    source: s.from.1,
                    destination: s.to.1,
                    transport: 1,
                    transport_bytes: s.bytes,
                    keepalives: 0,
                    handshakes: 0,
                    other: 0,
                    // Padded as WireGuard does, with the headers of IP and UDP.
                    sizes: vec![MessageSize {
                        bytes: (s.bytes + 28).next_multiple_of(16),
                        messages: 1,
                    }],
                }),
                _ => {}
            }
        }
        (self.report)(&mut device);
        device
    }
}

impl Captures for Wire {
    fn packets(&self) -> usize {
        self.sent().len()
    }

    fn report(&self, agent: &AgentId, spec: &CaptureSpec, after: usize) -> CaptureReport {
        CaptureReport {
            devices: vec![self.seen(&self.agents[agent], spec, after)],
            left_out: vec!["lo".to_owned()],
            ended: false,
        }
    }
}
