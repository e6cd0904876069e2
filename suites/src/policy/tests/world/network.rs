//! What probes meet: the policies in force, tampered with.

use super::{EXTERNAL_HOSTS, Pings, World};
use crate::{
    policy::participant::endpoint,
    testing::{dns_answer, dns_code, identity_of, local_error},
};
use meshproof_contract::{Action, AgentFacts, DnsCode, Outcome, Probe, Target, Timing};
use meshproof_oracle::{
    CidrMatch, DnsRefusal, EgressDenial, Expected, Flow, HttpRequest, NamedPorts, Party, Protocol, Request, Semantics,
    Surroundings, UnnamedCluster, decide, parse,
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, net::IpAddr};
use tokio::time::Instant;

const SEMANTICS: Semantics = Semantics {
    unnamed_cluster: UnnamedCluster::Any,
    cidr_matches_nodes: CidrMatch::WorldOnly,
    dns_refusal: DnsRefusal::Refused,
    egress_denial: EgressDenial::Silent,
};

impl World {
    fn decide(&self, flow: &Flow, at: Instant) -> Expected {
        let objects = self.objects.lock().expect("no panic");
        let in_force = objects
            .values()
            .filter(|applied| applied.since <= at && applied.until.is_none_or(|until| at < until));
        let foreign = self
            .foreign
            .iter()
            .flat_map(|object| parse(object, "infra").expect("a policy"));
        let policies: Vec<_> = in_force
            .flat_map(|applied| applied.policies.iter().cloned())
            .chain(foreign)
            .collect();
        let surroundings = Surroundings {
            semantics: SEMANTICS,
            named_ports: self.named_ports.get_or_init(|| self.find_named_ports()).clone(),
        };
        let decision = decide(&policies, &surroundings, flow);
        decision.expect("the policies do not contradict").expected
    }

    fn find_named_ports(&self) -> NamedPorts {
        let parties: Vec<Party> = self.facts.agents.iter().map(|agent| self.party(agent)).collect();
        NamedPorts::of(parties.iter().filter_map(|party| match party {
            Party::Endpoint(endpoint) => Some(endpoint),
            Party::Node { .. } | Party::World { .. } => None,
        }))
    }

    /// What the flow meets.
    fn meets(&self, from: &AgentFacts, flow: &Flow) -> Expected {
        self.meets_at(from, flow, Instant::now())
    }

    /// What the flow met at that time.
    pub(super) fn meets_at(&self, from: &AgentFacts, flow: &Flow, at: Instant) -> Expected {
        (self.tamper)(from.node.as_str(), self.decide(flow, at), flow)
    }

    fn dns_outcome(&self, from: &AgentFacts, name: &str) -> Outcome {
        let labels = BTreeMap::from([("kubernetes.io/metadata.name".to_owned(), "kube-system".to_owned())]);
        let flow = Flow {
            from: self.party(from),
            to: Party::Endpoint(endpoint(&dns_pod(), from.id.cluster.as_str(), "kube-system", &labels)),
            protocol: Protocol::Udp,
            port: 53,
            request: Request::Dns(name.trim_end_matches('.').to_owned()),
        };
        match self.meets(from, &flow) {
            Expected::Dropped => self.drop.clone(),
            Expected::DnsRefused => dns_code(DnsCode::Refused),
            _ => match external_address(name) {
                Some(address) => dns_answer(address),
                None => dns_code(DnsCode::NxDomain),
            },
        }
    }

    /// A connection to an external name, which is resolved by cluster DNS first.
    fn external_outcome(&self, from: &AgentFacts, to: &Target) -> Outcome {
        let resolved = self.dns_outcome(from, &to.host);
        if !resolved.is_success() {
            return resolved;
        }
        let name = to.host.trim_end_matches('.');
        let address = external_address(name).expect("an external host");
        let flow = Flow {
            from: self.party(from),
            to: Party::World {
                address,
                names: vec![name.to_owned()],
                serves_api: false,
            },
            protocol: Protocol::Tcp,
            port: to.port,
            request: Request::Opaque,
        };
        match self.meets(from, &flow) {
            Expected::Dropped => self.drop.clone(),
            _ => Outcome::Answered {
                served_by: None,
                source: None,
                address: Some(address),
                status: None,
                bytes: 0,
                timing: Timing::default(),
            },
        }
    }

    pub(super) fn outcome(&self, from: &AgentFacts, probe: &Probe) -> Outcome {
        let opaque = |to: &Target, protocol| (to.host.clone(), to.port, protocol, Request::Opaque);
        let (host, port, protocol, request) = match &probe.action {
            Action::Http {
                to,
                method,
                path,
                headers,
                ..
            } => {
                let request = HttpRequest {
                    method: method.clone(),
                    path: path.clone(),
                    host: to.to_string(),
                    headers: headers.clone(),
                };
                (to.host.clone(), to.port, Protocol::Tcp, Request::Http(request))
            }
            Action::TcpEcho { to, .. } => opaque(to, Protocol::Tcp),
            Action::UdpEcho { to, .. } => opaque(to, Protocol::Udp),
            Action::IcmpEcho { .. } if self.pings == Pings::Forbidden => return local_error(),
            Action::IcmpEcho { to, .. } => (to.to_string(), 8, Protocol::Icmp, Request::Opaque),
            Action::Dns { name, .. } => return self.dns_outcome(from, name),
            Action::TcpConnect { to } => return self.external_outcome(from, to),
            other => panic!("this suite does not send {other:?}"),
        };
        // Behind the Service are the peers, on ports of their own.
        let is_service = host == PEER_SERVICE;
        let peers = || {
            self.facts
                .agents
                .iter()
                .filter(|agent| agent.id.cluster == from.id.cluster)
        };
        let peer = || peers().find(|agent| agent.workload == "peer").expect("a peer");
        let to = if is_service { peer() } else { self.agent_at(&host) };
        let port = if is_service { port + 8000 } else { port };
        let flow = Flow {
            from: self.party(from),
            to: self.party(to),
            protocol,
            port,
            request,
        };
        match self.meets(from, &flow) {
            Expected::Dropped => self.drop.clone(),
            Expected::Forbidden => answer(to, Some(403)),
            _ => answer(to, matches!(flow.request, Request::Http(_)).then_some(200)),
        }
    }
}

/// The cluster IP of the Service in front of peers.
pub(super) const PEER_SERVICE: &str = "10.96.99.99";

impl World {
    /// The agent with that address.
    pub(super) fn agent_at(&self, address: &str) -> &AgentFacts {
        let address: IpAddr = address.parse().expect("an address");
        let mut agents = self.facts.agents.iter();
        agents.find(|a| a.address == address).expect("an agent there")
    }
}

fn answer(to: &AgentFacts, status: Option<u16>) -> Outcome {
    Outcome::Answered {
        served_by: Some(identity_of(to.id.cluster.as_str(), to.node.as_str(), &to.workload)),
        source: None,
        address: Some(to.address),
        status,
        bytes: 64,
        timing: Timing {
            total: 400,
            ..Timing::default()
        },
    }
}

fn external_address(name: &str) -> Option<IpAddr> {
    let name = name.trim_end_matches('.');
    let found = EXTERNAL_HOSTS.into_iter().find(|(known, _)| *known == name)?;
    found.1.parse().ok()
}

/// A replica of cluster DNS.
pub(super) fn dns_pod() -> Value {
    json!({
        "metadata": {"name": "coredns-1", "namespace": "kube-system", "labels": {"k8s-app": "kube-dns"}},
        "spec": {"nodeName": "infra-1", "containers": [{"ports": [{"name": "dns", "containerPort": 53}]}]},
    })
}
