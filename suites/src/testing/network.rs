//! What a probe meets: a rule, or else a network that delivers everything to exactly the agent asked.

use super::{Fake, fake::AT_ONCE};
use meshproof_contract::{
    Action, AgentFacts, ClusterName, DnsAnswer, DnsCode, Facts, Identity, Outcome, Probe, ServiceFacts, Target, Timing,
    facts::PodNetwork, port,
};
use serde_json::Value;
use std::{net::IpAddr, time::Duration};

/// The ports of cilium-health and Hubble on every node.
const PORTS_OF_CILIUM: [u16; 2] = [4240, 4244];

/// One try of a probe, as rules see it.
pub struct Ask<'a> {
    fake: &'a Fake,
    pub from: &'a AgentFacts,
    /// The agent at the target's address; none for services and DNS.
    pub to: Option<&'a AgentFacts>,
    pub action: &'a Action,
    /// Number in its series.
    pub number: u32,
    /// Number of the batch that the asking agent was sent.
    pub batch: u32,
    /// How long it may take.
    pub limit: Duration,
}

fn timing(total: u64) -> Timing {
    Timing {
        total,
        ..Timing::default()
    }
}
pub fn timeout() -> Outcome {
    Outcome::Timeout {
        timing: timing(1_000_000),
    }
}
pub fn local_error() -> Outcome {
    Outcome::LocalError {
        reason: "no sockets left".to_owned(),
    }
}
/// What Cilium's socket load balancer answers to `connect()` or `sendto()` for a Service without backends.
pub fn denied() -> Outcome {
    Outcome::Denied {
        reason: "Operation not permitted".to_owned(),
        timing: timing(40),
    }
}
pub fn dns_records(answers: Vec<DnsAnswer>) -> Outcome {
    dns(DnsCode::NoError, answers, 300)
}
pub fn dns_answer(address: IpAddr) -> Outcome {
    dns_records(vec![DnsAnswer::Address(address)])
}
pub fn dns_code(code: DnsCode) -> Outcome {
    dns(code, Vec::new(), 300)
}
pub(super) fn dns(code: DnsCode, answers: Vec<DnsAnswer>, total: u64) -> Outcome {
    Outcome::Dns {
        code,
        answers,
        server: IpAddr::from([10, 96, 0, 10]),
        timing: timing(total),
    }
}
pub fn identity_of(cluster: &str, node: &str, workload: &str) -> Identity {
    Identity {
        cluster: cluster.to_owned(),
        node: node.to_owned(),
        namespace: "meshproof".to_owned(),
        pod: format!("{workload}-{node}"),
    }
}
fn identity(agent: &AgentFacts) -> Identity {
    Identity {
        namespace: agent.namespace.clone(),
        ..identity_of(agent.id.cluster.as_str(), agent.node.as_str(), &agent.workload)
    }
}

impl Ask<'_> {
    pub fn facts(&self) -> &Facts {
        &self.fake.facts
    }
    /// The objects of a kind that exist now.
    pub fn objects(&self, cluster: &ClusterName, kind: &str) -> Vec<Value> {
        self.fake.objects.list(cluster, kind)
    }
    /// How often objects have changed.
    pub fn revision(&self) -> u64 {
        self.fake.objects.revision()
    }
    pub fn to_node(&self) -> Option<&str> {
        self.to.map(|to| to.node.as_str())
    }
    pub fn node_address(&self, agent: &AgentFacts) -> IpAddr {
        let nodes = self.fake.facts.clusters.iter().flat_map(|c| &c.nodes);
        nodes
            .into_iter()
            .find(|n| n.name == agent.node)
            .expect("the agent's node")
            .addresses[0]
    }
    /// The healthy answer.
    pub fn answered(&self) -> Outcome {
        let served_by = self.to.map(identity);
        let crosses = self.to.is_some_and(|to| to.id.cluster != self.from.id.cluster);
        let total = if crosses {
            self.fake.mesh_latency
        } else {
            self.fake.latency
        };
        let (status, bytes) = match self.action {
            Action::Http { body, .. } => (Some(200), *body),
            Action::TcpEcho { payload, .. } | Action::UdpEcho { payload, .. } => (None, *payload),
            _ => (None, 0),
        };
        Outcome::Answered {
            served_by,
            source: Some(self.from.address),
            address: None,
            status,
            bytes: u64::from(bytes),
            timing: timing(u64::from(total)),
        }
    }
    /// The healthy answer, so many microseconds late.
    pub fn answered_after(&self, micros: u64) -> Outcome {
        let mut outcome = self.answered();
        if let Outcome::Answered { timing, .. } = &mut outcome {
            timing.total = micros;
        }
        outcome
    }
    /// Some DNS answer, after so many microseconds.
    pub fn resolved_after(&self, micros: u64) -> Outcome {
        dns(DnsCode::NoError, vec![DnsAnswer::Address(self.from.address)], micros)
    }
    fn changed(&self, change: impl FnOnce(&mut Option<Identity>, &mut Option<IpAddr>, &mut u64)) -> Outcome {
        let mut outcome = self.answered();
        if let Outcome::Answered {
            served_by,
            source,
            bytes,
            ..
        } = &mut outcome
        {
            change(served_by, source, bytes);
        }
        outcome
    }
    pub fn answered_as(&self, who: Identity) -> Outcome {
        self.changed(|served_by, _, _| *served_by = Some(who))
    }
    pub fn answered_by_cluster(&self, cluster: &str) -> Outcome {
        self.answered_as(identity_of(cluster, &format!("{cluster}-1"), "server"))
    }
    pub fn answered_from(&self, address: IpAddr) -> Outcome {
        self.changed(|_, source, _| *source = Some(address))
    }
    pub fn answered_without_source(&self) -> Outcome {
        self.changed(|_, source, _| *source = None)
    }
    pub fn answered_with_bytes(&self, count: u64) -> Outcome {
        self.changed(|_, _, bytes| *bytes = count)
    }
}

/// The host that an action names; nothing where it names none.
fn host_of(action: &Action) -> &str {
    match action {
        Action::TcpConnect { to }
        | Action::TcpEcho { to, .. }
        | Action::Http { to, .. }
        | Action::UdpEcho { to, .. }
        | Action::PathMtu { to } => &to.host,
        _ => "",
    }
}

impl Fake {
    pub(super) fn outcome(&self, from: &AgentFacts, probe: &Probe, batch: u32) -> Outcome {
        let to = self.receiver(&probe.action);
        if probe.count == 1 {
            return self.one(from, to, probe, 0, batch);
        }
        if self.rules.is_empty() && to.is_some() {
            return self.undisturbed(from, to, probe, batch);
        }
        let (mut latencies, mut failures, mut served_by) = (Vec::new(), Vec::new(), Vec::<(Identity, u32)>::new());
        let distinct = 0..probe.count.min(self.period);
        let distinct: Vec<Outcome> = distinct.map(|n| self.one(from, to, probe, n, batch)).collect();
        for (number, outcome) in (0..probe.count).zip(distinct.iter().cycle()) {
            let outcome = outcome.clone();
            if !outcome.is_success() {
                failures.push((number, outcome));
                continue;
            }
            latencies.push(outcome.total().unwrap_or_default() as u32);
            if let Some(who) = outcome.served_by() {
                match served_by.iter_mut().find(|(known, _)| known == who) {
                    Some((_, times)) => *times += 1,
                    None => served_by.push((who.clone(), 1)),
                }
            }
        }
        Outcome::Series {
            latencies,
            failures,
            served_by,
            lag: self.lag,
            starved: self.starved,
        }
    }

    /// A series that nothing disturbs: every try of it is as the first.
    fn undisturbed(&self, from: &AgentFacts, to: Option<&AgentFacts>, probe: &Probe, batch: u32) -> Outcome {
        let first = self.one(from, to, probe, 0, batch);
        let served_by = first.served_by().map(|who| (who.clone(), probe.count));
        Outcome::Series {
            latencies: vec![first.total().unwrap_or_default() as u32; probe.count as usize],
            failures: Vec::new(),
            served_by: served_by.into_iter().collect(),
            lag: self.lag,
            starved: self.starved,
        }
    }

    /// The agent at the action's target.
    fn receiver(&self, action: &Action) -> Option<&AgentFacts> {
        let (Action::TcpConnect { to }
        | Action::TcpEcho { to, .. }
        | Action::Http { to, .. }
        | Action::UdpEcho { to, .. }
        | Action::PathMtu { to }) = action
        else {
            return None;
        };
        let address: IpAddr = to.host.parse().ok()?;
        let listens = |agent: &AgentFacts| {
            let shift = if agent.network == PodNetwork::Host {
                port::HOST_OFFSET
            } else {
                0
            };
            (port::HTTP..=port::UDP).contains(&to.port.wrapping_sub(shift))
        };
        let behind = |service: &&ServiceFacts| service.address == Some(address) && service.workload == "server";
        let service = self.facts.services.iter().find(behind);
        let is_backend = |agent: &&AgentFacts| {
            service.is_some_and(|service| service.cluster == agent.id.cluster && service.workload == agent.workload)
        };
        let mut agents = self.facts.agents.iter();
        let direct = agents.clone().find(|a| a.address == address && listens(a));
        direct.or_else(|| agents.find(is_backend))
    }

    fn one(&self, from: &AgentFacts, to: Option<&AgentFacts>, probe: &Probe, number: u32, batch: u32) -> Outcome {
        let action = &probe.action;
        let ask = Ask {
            fake: self,
            from,
            to,
            action,
            number,
            batch,
            limit: probe.deadline,
        };
        if let Some(outcome) = self.rules.iter().find_map(|rule| rule(&ask)) {
            return outcome;
        }
        match action {
            Action::Dns {
                name,
                record,
                server,
                search,
                ..
            } => self.resolve(from, name, *record, *server, *search),
            Action::PathMtu { .. } if to.is_some() => Outcome::PathMtu {
                largest: 1420,
                route: 1420,
                device: 1500,
                blackhole: None,
                reported: None,
            },
            Action::IcmpEcho { to, .. } if self.facts.agents.iter().any(|a| &a.address == to) => ask.answered(),
            Action::TcpConnect { to } if self.is_port_of_cilium(to) => ask.answered(),
            _ if to.is_some() => ask.answered(),
            _ => self.service(&ask, host_of(action)),
        }
    }

    /// Whether Cilium serves there on every node.
    fn is_port_of_cilium(&self, to: &Target) -> bool {
        let mut agents = self.facts.agents.iter();
        let is_node = |agent: &AgentFacts| agent.network == PodNetwork::Host && agent.address.to_string() == to.host;
        PORTS_OF_CILIUM.contains(&to.port) && agents.any(is_node)
    }

    /// A global service: backends here by its selector, and those of the other cluster once the mesh has learnt of
    /// them.
    fn service(&self, ask: &Ask<'_>, address: &str) -> Outcome {
        let refused = Outcome::Refused { timing: timing(300) };
        let cluster = ask.from.id.cluster.as_str();
        let Some(name) = self.objects.service_at(cluster, address) else {
            return refused;
        };
        if self.objects.has_backends(cluster, &name, AT_ONCE) {
            return ask.answered_by_cluster(cluster);
        }
        let others = self.shape.others(cluster).into_iter();
        let mut backed = others.filter(|other| self.objects.has_backends(other, &name, self.mesh));
        backed
            .next()
            .map_or_else(denied, |other| ask.answered_by_cluster(other))
    }
}
