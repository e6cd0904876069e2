//! The decision: what must happen to a flow under a set of policies.

use crate::{
    model::{
        Authentication, Direction, Effect, Entity, HttpMatch, L7, Peer, Peers, Policy, Port, PortMatch, Ports, Rule,
    },
    subject::{Endpoint, Flow, HttpRequest, Party, Protocol, Request},
};
use std::fmt;

/// What differs between versions and settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Semantics {
    /// Whether a selector that names no cluster means pods of every cluster (up to 1.18), or only of the policy's own
    /// (since 1.19, or with `policy-default-local-cluster`).
    pub unnamed_cluster: UnnamedCluster,
    /// Whether CIDR rules match nodes too (`policy-cidr-match-mode` contains `nodes`).
    pub cidr_matches_nodes: CidrMatch,
    /// How the DNS proxy refuses a question (`tofqdns-dns-reject-response-code`).
    pub dns_refusal: DnsRefusal,
    /// How a pod is told that policy keeps its own traffic in (`policy-deny-response`, since 1.19).
    pub egress_denial: EgressDenial,
}

/// See [`Semantics::unnamed_cluster`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum UnnamedCluster {
    Any,
    Local,
}

/// See [`Semantics::cidr_matches_nodes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum CidrMatch {
    WorldOnly,
    NodesToo,
}

/// See [`Semantics::dns_refusal`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum DnsRefusal {
    Refused,
    NameError,
}

/// See [`Semantics::egress_denial`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum EgressDenial {
    Silent,
    Icmp,
}

/// What a client must see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Expected {
    /// The flow passes.
    Allowed,
    /// It passes if both sides have authenticated each other, and is dropped otherwise.
    AllowedIfAuthenticated,
    /// Silently dropped: a timeout.
    Dropped,
    /// Dropped, and answered by an ICMP error.
    Unreachable,
    /// The proxy answers 403.
    Forbidden,
    /// The DNS proxy answers REFUSED.
    DnsRefused,
    /// The DNS proxy answers NXDOMAIN, as it was told to refuse.
    DnsNameError,
}

/// The expectation for one flow and the rule it rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What must happen.
    pub expected: Expected,
    /// On which side it is decided; none when no policy is about the flow.
    pub direction: Option<Direction>,
    /// The deciding rule, for people.
    pub because: String,
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.expected, self.because)
    }
}

/// Judges a flow: it must be let out by the policies on its source and let in by those on its destination.
pub fn decide(policies: &[Policy], semantics: &Semantics, flow: &Flow) -> Decision {
    let mut decision = Decision {
        expected: Expected::Allowed,
        direction: None,
        because: "no policy selects either side".to_owned(),
    };
    for direction in [Direction::Egress, Direction::Ingress] {
        let (own, peer) = match direction {
            Direction::Egress => (&flow.from, &flow.to),
            Direction::Ingress => (&flow.to, &flow.from),
        };
        let Party::Endpoint(own) = own else { continue };
        let side = SideView {
            policies,
            semantics,
            flow,
            direction,
            own,
            peer,
        };
        if let Some((expected, because)) = side.decide() {
            match expected {
                Expected::Allowed if decision.expected == Expected::AllowedIfAuthenticated => {}
                Expected::Allowed | Expected::AllowedIfAuthenticated => {
                    decision = Decision {
                        expected,
                        direction: Some(direction),
                        because,
                    };
                }
                refused => {
                    return Decision {
                        expected: refused,
                        direction: Some(direction),
                        because,
                    };
                }
            }
        }
    }
    decision
}

struct SideView<'a> {
    policies: &'a [Policy],
    semantics: &'a Semantics,
    flow: &'a Flow,
    direction: Direction,
    own: &'a Endpoint,
    peer: &'a Party,
}

impl SideView<'_> {
    /// None when no policy selects this side's endpoint in this direction.
    fn decide(&self) -> Option<(Expected, String)> {
        let selecting: Vec<_> = self
            .policies
            .iter()
            .filter(|policy| policy.selects(self.own))
            .map(|policy| {
                (
                    policy,
                    match self.direction {
                        Direction::Ingress => &policy.ingress,
                        Direction::Egress => &policy.egress,
                    },
                )
            })
            .collect();
        let matching: Vec<(&Policy, &Rule, Vec<&Port>)> = selecting
            .iter()
            .flat_map(|(policy, side)| side.rules.iter().map(|rule| (*policy, rule)))
            .filter(|(policy, rule)| self.peers_match(policy, &rule.peers))
            .filter_map(|(policy, rule)| Some((policy, rule, self.matching_ports(&rule.ports)?)))
            .collect();

        // Deny takes precedence over allow (docs.cilium.io, "Deny Policies").
        if let Some((policy, rule, _)) = matching.iter().find(|(_, rule, _)| rule.effect == Effect::Deny) {
            return Some((self.denied(), format!("{} {} denies it", policy.name, rule.place)));
        }
        if !matching.is_empty() {
            return Some(self.allowed_by(&matching));
        }
        // The kubelet's probes must reach pods: the local host may always enter (agent option allow-localhost=auto).
        if self.direction == Direction::Ingress && self.is_local_host() {
            return Some((Expected::Allowed, "the local host may always enter".to_owned()));
        }
        let denying = selecting.iter().find(|(_, side)| side.default_deny);
        denying.map(|(policy, _)| {
            (
                self.denied(),
                format!("no rule allows it, and {} sets default deny", policy.name),
            )
        })
    }

    /// What becomes of a flow that policy denies: only the pod whose own traffic it is may be told.
    fn denied(&self) -> Expected {
        match (self.direction, self.semantics.egress_denial) {
            (Direction::Egress, EgressDenial::Icmp) => Expected::Unreachable,
            _ => Expected::Dropped,
        }
    }

    fn allowed_by(&self, matching: &[(&Policy, &Rule, Vec<&Port>)]) -> (Expected, String) {
        let because = |policy: &Policy, rule: &Rule| format!("{} {} allows it", policy.name, rule.place);
        for (policy, rule, _) in matching {
            match rule.authentication {
                Authentication::AlwaysFail => {
                    return (
                        Expected::Dropped,
                        format!(
                            "{} {} requires an authentication that always fails",
                            policy.name, rule.place
                        ),
                    );
                }
                Authentication::Required => return (Expected::AllowedIfAuthenticated, because(policy, rule)),
                Authentication::Disabled => {}
            }
        }
        // Rules are alternatives: one without an L7 part opens the port to every request.
        let plain = |ports: &Vec<&Port>| ports.is_empty() || ports.iter().any(|port| matches!(port.l7, L7::None));
        if let Some((policy, rule, _)) = matching.iter().find(|(_, _, ports)| plain(ports)) {
            return (Expected::Allowed, because(policy, rule));
        }
        let fitting = matching
            .iter()
            .find(|(_, _, ports)| ports.iter().any(|port| self.request_matches(&port.l7)));
        match (fitting, matching.first()) {
            (Some((policy, rule, _)), _) => (Expected::Allowed, because(policy, rule)),
            (None, first) => {
                let expected = match (&self.flow.request, self.semantics.dns_refusal) {
                    (Request::Dns(_), DnsRefusal::Refused) => Expected::DnsRefused,
                    (Request::Dns(_), DnsRefusal::NameError) => Expected::DnsNameError,
                    _ => Expected::Forbidden,
                };
                let place = first
                    .map(|(policy, rule, _)| format!("{} {}", policy.name, rule.place))
                    .unwrap_or_default();
                (
                    expected,
                    format!("{place} opens the port, and no L7 rule allows this request"),
                )
            }
        }
    }

    /// The ports of a rule that match the flow; none if the rule is not about its port, empty if it is about every port.
    fn matching_ports<'p>(&self, ports: &'p Ports) -> Option<Vec<&'p Port>> {
        match ports {
            Ports::Any => Some(Vec::new()),
            Ports::OneOf(list) => {
                let matching: Vec<_> = list.iter().filter(|port| self.port_matches(port)).collect();
                (!matching.is_empty()).then_some(matching)
            }
        }
    }

    fn port_matches(&self, port: &Port) -> bool {
        let protocol = match port.protocol {
            Some(protocol) => protocol == self.flow.protocol,
            // ANY means the protocols that have ports.
            None => self.flow.protocol != Protocol::Icmp,
        };
        protocol
            && match &port.which {
                PortMatch::Any => true,
                PortMatch::Range(first, last) => (*first..=*last).contains(&self.flow.port),
                PortMatch::Named(name) => match &self.flow.to {
                    Party::Endpoint(to) => to.named_ports.get(name) == Some(&self.flow.port),
                    Party::Node { .. } | Party::World { .. } => false,
                },
            }
    }

    fn peers_match(&self, policy: &Policy, peers: &Peers) -> bool {
        match peers {
            Peers::Any => true,
            Peers::Nobody => false,
            Peers::OneOf(list) => list.iter().any(|peer| self.peer_matches(policy, peer)),
        }
    }

    fn peer_matches(&self, policy: &Policy, peer: &Peer) -> bool {
        match (peer, self.peer) {
            (Peer::Endpoints(selector), Party::Endpoint(endpoint)) => {
                let cluster = selector.names_cluster()
                    || self.semantics.unnamed_cluster == UnnamedCluster::Any
                    || endpoint.cluster == policy.cluster;
                cluster && selector.matches(endpoint)
            }
            // CIDR rules are about addresses outside: pods and nodes have identities of their own (docs.cilium.io, "IP/CIDR based").
            (Peer::Cidr { net, except }, Party::World { address, .. }) => contains(net, except, address),
            (Peer::Cidr { net, except }, Party::Node { address, .. }) => {
                self.semantics.cidr_matches_nodes == CidrMatch::NodesToo && contains(net, except, address)
            }
            (Peer::Entity(entity), party) => self.is_entity(policy, *entity, party),
            (Peer::Name(pattern), Party::World { names, .. }) => names.iter().any(|name| pattern.matches(name)),
            (Peer::Endpoints(_), _) | (Peer::Cidr { .. }, Party::Endpoint(_)) | (Peer::Name(_), _) => false,
        }
    }

    fn is_entity(&self, policy: &Policy, entity: Entity, party: &Party) -> bool {
        match (entity, party) {
            (Entity::All, _) | (Entity::World, Party::World { .. }) | (Entity::Cluster, Party::Node { .. }) => true,
            (Entity::Cluster, Party::Endpoint(endpoint)) => endpoint.cluster == policy.cluster,
            (Entity::Host, Party::Node { .. }) => self.is_local_host(),
            (Entity::RemoteNode, Party::Node { .. }) => !self.is_local_host(),
            (Entity::KubeApiserver, Party::Node { serves_api, .. }) => *serves_api,
            _ => false,
        }
    }

    fn is_local_host(&self) -> bool {
        matches!(self.peer, Party::Node { cluster, name, .. } if *cluster == self.own.cluster && *name == self.own.node)
    }

    fn request_matches(&self, l7: &L7) -> bool {
        match (l7, &self.flow.request) {
            (L7::None, _) => true,
            (L7::Http(rules), Request::Http(request)) => rules.iter().any(|rule| http_matches(rule, request)),
            (L7::Dns(patterns), Request::Dns(name)) => patterns.iter().any(|pattern| pattern.matches(name)),
            _ => false,
        }
    }
}

fn contains(net: &ipnet::IpNet, except: &[ipnet::IpNet], address: &std::net::IpAddr) -> bool {
    net.contains(address) && !except.iter().any(|net| net.contains(address))
}

fn http_matches(rule: &HttpMatch, request: &HttpRequest) -> bool {
    let fits = |expression: &Option<regex::Regex>, text: &str| expression.as_ref().is_none_or(|e| e.is_match(text));
    fits(&rule.method, &request.method)
        && fits(&rule.path, &request.path)
        && fits(&rule.host, &request.host)
        && rule.headers.iter().all(|(name, wanted)| {
            request
                .headers
                .iter()
                .any(|(n, value)| n == name && wanted.as_ref().is_none_or(|wanted| wanted == value))
        })
}

#[cfg(test)]
mod tests;
