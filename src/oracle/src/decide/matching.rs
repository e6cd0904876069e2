//! Whether the parts of a rule match a flow: peers, ports, requests.

use super::side::Side;
use crate::{
    flow::{HttpRequest, Party, Protocol, Request},
    model::{Direction, Entity, HttpMatch, L7, Peer, Peers, Policy, Port, PortMatch, Ports, Rule},
    semantics::{CidrMatch, UnnamedCluster},
};
use ipnet::IpNet;
use regex::Regex;
use std::net::IpAddr;

/// By what a rule is about the peer: the two look-ups in the policy map (semantics A1; bpf/lib/policy.h).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PeerMatch {
    /// By a selector that the peer's identity meets.
    pub named: bool,
    /// As anybody.
    pub anybody: bool,
}

/// A rule that matches the flow, by one of its ports.
pub(super) struct Match<'a> {
    pub policy: &'a Policy,
    pub rule: &'a Rule,
    pub peer: PeerMatch,
    /// None for a rule without ports.
    pub port: Option<&'a Port>,
    /// How narrow it is: bits of protocol and port that are fixed.
    pub prefix: u8,
}

impl Match<'_> {
    /// The rule, for people.
    pub(super) fn place(&self) -> String {
        format!("{} {}", self.policy.name, self.rule.place)
    }

    pub(super) fn l7(&self) -> &L7 {
        self.port.map_or(&L7::None, |port| &port.l7)
    }
}

impl Side<'_> {
    /// The matches of a rule, one for each of its ports that fits; none if it is not about the flow.
    pub(super) fn matches<'p>(&self, policy: &'p Policy, rule: &'p Rule) -> Vec<Match<'p>> {
        let peer = self.peers_match(policy, &rule.peers);
        if peer == PeerMatch::default() {
            return Vec::new();
        }
        let matching = |(port, prefix)| Match {
            policy,
            rule,
            peer,
            port,
            prefix,
        };
        match &rule.ports {
            Ports::Any => vec![matching((None, 0))],
            Ports::OneOf(list) => {
                let ports = list.iter().filter_map(|port| Some((Some(port), self.prefix_of(port)?)));
                ports.map(matching).collect()
            }
        }
    }

    /// The length of the prefix by which a port matches; none if it does not.
    fn prefix_of(&self, port: &Port) -> Option<u8> {
        const PROTOCOL: u8 = 8;
        const WHOLE: u8 = 24;
        let flow = self.flow;
        let protocol = match port.protocol {
            Some(protocol) => protocol == flow.protocol,
            // ANY means the protocols that have ports (semantics A21).
            None => flow.protocol != Protocol::Icmp,
        };
        if !protocol {
            return None;
        }
        match &port.which {
            PortMatch::Any => Some(PROTOCOL),
            PortMatch::Range(first, last) => (*first..=*last)
                .contains(&flow.port)
                .then(|| PROTOCOL + prefix(*first, *last, flow.port)),
            PortMatch::Named(name) => (self.number(name) == Some(flow.port)).then_some(WHOLE),
        }
    }

    /// The number behind a port's name: on ingress what the endpoint itself calls so (semantics A18), on egress what
    /// the pods of its cluster agree on, whoever the peer is (semantics A19).
    fn number(&self, name: &str) -> Option<u16> {
        let protocol = self.flow.protocol;
        match self.direction {
            Direction::Ingress => {
                let mut own = self.own.named_ports.iter();
                let (_, (_, number)) = own.find(|(own, (of, _))| own.eq_ignore_ascii_case(name) && *of == protocol)?;
                Some(*number)
            }
            Direction::Egress => self.surroundings.named_ports.number(&self.own.cluster, name, protocol),
        }
    }

    fn peers_match(&self, policy: &Policy, peers: &Peers) -> PeerMatch {
        let mut found = PeerMatch::default();
        match peers {
            Peers::Any => found.anybody = true,
            Peers::Nobody => {}
            Peers::OneOf(list) => {
                for peer in list {
                    if peer.is_anybody() {
                        found.anybody = true;
                    } else {
                        found.named |= self.peer_matches(policy, peer);
                    }
                }
            }
        }
        found
    }

    fn peer_matches(&self, policy: &Policy, peer: &Peer) -> bool {
        let semantics = &self.surroundings.semantics;
        match (peer, self.peer) {
            (Peer::Endpoints(selector), Party::Endpoint(endpoint)) => {
                let cluster = selector.names_cluster()
                    || semantics.unnamed_cluster == UnnamedCluster::Any
                    || endpoint.cluster == policy.cluster;
                cluster && selector.matches(endpoint)
            }
            // CIDR rules match addresses outside: pods and nodes have identities of their own (semantics A41).
            (Peer::Cidr { net, except }, Party::World { address, .. }) => contains(net, except, address),
            (Peer::Cidr { net, except }, Party::Node { address, .. }) => {
                semantics.cidr_matches_nodes == CidrMatch::NodesToo && contains(net, except, address)
            }
            (Peer::Entity(entity), party) => self.is_entity(policy, *entity, party),
            (Peer::Name(pattern), Party::World { names, .. }) => names.iter().any(|name| pattern.matches(name)),
            (Peer::Endpoints(_), _) | (Peer::Cidr { .. }, Party::Endpoint(_)) | (Peer::Name(_), _) => false,
        }
    }

    /// Semantics A38, A39 (pkg/policy/api/entity.go, pkg/ipcache/metadata.go).
    fn is_entity(&self, policy: &Policy, entity: Entity, party: &Party) -> bool {
        match (entity, party) {
            (Entity::All, _) | (Entity::World, Party::World { .. }) => true,
            // Nodes of every cluster, pods of the own one, and its API server wherever that is.
            (Entity::Cluster, Party::Node { .. }) => true,
            (Entity::Cluster, Party::Endpoint(endpoint)) => endpoint.cluster == policy.cluster,
            (Entity::Cluster | Entity::KubeApiserver, Party::World { serves_api, .. }) => *serves_api,
            (Entity::Host, Party::Node { .. }) => self.is_local_host(),
            (Entity::RemoteNode, Party::Node { .. }) => !self.is_local_host(),
            (
                Entity::KubeApiserver,
                Party::Node {
                    serves_api, cluster, ..
                },
            ) => *serves_api && *cluster == policy.cluster,
            _ => false,
        }
    }

    /// Whether the peer is the node on which the endpoint runs.
    pub(super) fn is_local_host(&self) -> bool {
        matches!(
            self.peer,
            Party::Node { cluster, name, .. } if *cluster == self.own.cluster && *name == self.own.node
        )
    }

    pub(super) fn request_matches(&self, l7: &L7) -> bool {
        match (l7, &self.flow.request) {
            (L7::None, _) => true,
            (L7::Http(rules), Request::Http(request)) => rules.iter().any(|rule| http_matches(rule, request)),
            (L7::Dns(patterns), Request::Dns(name)) => patterns.iter().any(|pattern| pattern.matches(name)),
            _ => false,
        }
    }
}

/// The bits of a port that are fixed in the part of a range that holds it: ranges are split into aligned blocks, as
/// the policy map finds entries by prefix (pkg/policy/mapstate.go).
fn prefix(first: u16, last: u16, port: u16) -> u8 {
    let mut free = 0_u8;
    while free < 16 {
        let mask = (1_u32 << (free + 1)) - 1;
        let begin = u32::from(port) & !mask;
        if begin < u32::from(first) || begin + mask > u32::from(last) {
            break;
        }
        free += 1;
    }
    16 - free
}

fn contains(net: &IpNet, except: &[IpNet], address: &IpAddr) -> bool {
    net.contains(address) && !except.iter().any(|net| net.contains(address))
}

fn http_matches(rule: &HttpMatch, request: &HttpRequest) -> bool {
    let fits = |expression: &Option<Regex>, text: &str| expression.as_ref().is_none_or(|e| e.is_match(text));
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
