//! What a probe meets in the suite's test world, and what that leaves on the wire.

use super::{
    wire::{Shown, Wire},
    world::World,
};
use crate::testing::{Ask, local_error};
use meshproof_contract::{
    Action, AgentFacts, AgentId, DnsCode, Identity, Marker, Outcome, Target, Timing, facts::PodNetwork,
};
use std::net::IpAddr;

/// A port on which no agent listens.
const CLOSED: u16 = 9;
/// Bytes of a question with its answer, and of a request with its answer.
const DNS_BYTES: u64 = 64;
const HTTP_BYTES: u64 = 200;

/// What a probe sends.
struct Sent {
    to: String,
    marker: Option<Marker>,
    bytes: u64,
}

impl World {
    pub(super) fn outcome(&self, ask: &Ask<'_>, wire: &Wire) -> Outcome {
        let timing = Timing::default();
        let sent = match self.sent(ask.action) {
            Ok(sent) => sent,
            Err(outcome) => return *outcome,
        };
        let Some(to) = self.receiver(ask.from, &sent.to, wire.exchanges()) else {
            // Nobody has the address; on the wire it goes to node ``, if anywhere.
            let shown = match ask.from.network {
                PodNetwork::Pod => (self.shows)(ask.from.node.as_str(), "", ask.action),
                // What goes outside is not encrypted.
                _ => Shown::Everything,
            };
            wire.leak(ask.from, sent.to.parse().expect("an address"), sent.marker, shown);
            return Outcome::Timeout { timing };
        };
        let is_pod = to.network == PodNetwork::Pod;
        if self.lost && is_pod {
            return Outcome::Timeout { timing };
        }
        let (here, there) = (ask.from.node.as_str(), to.node.as_str());
        let shown = match (ask.from.network, to.network) {
            (PodNetwork::Pod, PodNetwork::Pod) => (self.shows)(here, there, ask.action),
            (_, PodNetwork::Pod) => match (self.hosts)(here, there) {
                // Who looks at pods' packets looks at those of nodes to pods, too.
                Shown::Ciphertext => (self.shows)(here, there, ask.action),
                shown => shown,
            },
            _ => (self.hosts)(here, there),
        };
        wire.exchange(ask.from, &to, sent.marker, sent.bytes, shown);
        match ask.action {
            Action::TcpConnect {
                to: Target { port: CLOSED, .. },
            }
            | Action::UdpEcho { .. } => Outcome::Refused { timing },
            Action::Dns { name, .. } if name.starts_with("listener.") => code(DnsCode::NoError),
            Action::Dns { .. } => no_such_name(),
            Action::Http { method, .. } if method != "GET" => answered(&to, Some(403), 0),
            Action::Http { .. } => answered(&to, Some(200), sent.bytes),
            _ => answered(&to, None, sent.bytes),
        }
    }

    /// What an action sends, unless its outcome is decided before anything crosses the wire.
    fn sent(&self, action: &Action) -> Result<Sent, Box<Outcome>> {
        let unmarked = |to: String, bytes| Sent {
            to,
            marker: None,
            bytes,
        };
        Ok(match action {
            Action::MarkedEcho {
                to, marker, payload, ..
            } => Sent {
                to: to.host.clone(),
                marker: Some(*marker),
                bytes: u64::from(*payload),
            },
            Action::UdpEcho { to, .. } => unmarked(to.host.clone(), 44),
            Action::TcpConnect { to } => unmarked(to.host.clone(), 40),
            Action::IcmpEcho { .. } if !self.pings => return Err(Box::new(local_error())),
            Action::IcmpEcho { to, .. } => unmarked(to.to_string(), 84),
            Action::Http { to, .. } => unmarked(to.host.clone(), HTTP_BYTES),
            Action::Dns {
                server: Some(server), ..
            } if self.replica(server.ip()).is_some() => unmarked(server.ip().to_string(), DNS_BYTES),
            _ => return Err(Box::new(no_such_name())),
        })
    }

    /// Who gets what is sent to an address: an agent, a replica of cluster DNS, or a Service's backend on another node.
    fn receiver(&self, from: &AgentFacts, host: &str, turn: usize) -> Option<AgentFacts> {
        let address: IpAddr = host.parse().ok()?;
        let mut agents = self.facts.agents.iter();
        if let Some(agent) = agents.find(|a| a.address == address) {
            return Some(agent.clone());
        }
        if let Some(replica) = self.replica(address) {
            return Some(replica);
        }
        let mut services = self.facts.services.iter();
        let service = services.find(|s| s.cluster == from.id.cluster && s.address == Some(address))?;
        let listeners = self.facts.agents.iter().filter(|a| a.workload == "listener");
        let is_global = service.name == "listener-global";
        let backends: Vec<&AgentFacts> = listeners
            .filter(|a| (a.id.cluster != from.id.cluster) == is_global && a.node != from.node)
            .collect();
        let backend = backends.get(turn % backends.len().max(1))?;
        Some(AgentFacts::clone(backend))
    }

    /// The replica of cluster DNS that has the address.
    fn replica(&self, address: IpAddr) -> Option<AgentFacts> {
        self.facts.clusters.iter().find_map(|cluster| {
            let mut replicas = cluster.dns.iter().flat_map(|dns| &dns.replicas);
            let replica = replicas.find(|replica| replica.address == address)?;
            Some(AgentFacts {
                id: AgentId {
                    cluster: cluster.name.clone(),
                    pod: replica.pod.clone(),
                },
                scenario: String::new(),
                workload: "coredns".to_owned(),
                namespace: "kube-system".to_owned(),
                node: replica.node.clone()?,
                address,
                network: PodNetwork::Pod,
            })
        })
    }
}

/// What cluster DNS answers to a random name, and a proxy to one that the policy does not allow.
fn no_such_name() -> Outcome {
    code(DnsCode::NxDomain)
}

fn code(code: DnsCode) -> Outcome {
    Outcome::Dns {
        code,
        answers: Vec::new(),
        server: IpAddr::from([10, 96, 0, 10]),
        timing: Timing::default(),
    }
}

fn answered(by: &AgentFacts, status: Option<u16>, bytes: u64) -> Outcome {
    Outcome::Answered {
        served_by: Some(Identity {
            cluster: by.id.cluster.to_string(),
            node: by.node.to_string(),
            namespace: by.namespace.clone(),
            pod: by.id.pod.clone(),
        }),
        source: None,
        address: None,
        status,
        bytes,
        timing: Timing::default(),
    }
}
