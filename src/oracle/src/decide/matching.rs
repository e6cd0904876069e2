//! Whether the parts of a rule match a flow: peers, ports, requests.

use super::side::Side;
use crate::{
    flow::{HttpRequest, Party, Protocol, Request},
    model::{Entity, HttpMatch, L7, Peer, Peers, Policy, Port, PortMatch, Ports},
    semantics::{CidrMatch, UnnamedCluster},
};
use ipnet::IpNet;
use regex::Regex;
use std::net::IpAddr;

impl Side<'_> {
    /// The ports of a rule that match the flow; none if the rule has other ports, empty if it has every port.
    pub(super) fn matching_ports<'p>(&self, ports: &'p Ports) -> Option<Vec<&'p Port>> {
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

    pub(super) fn peers_match(&self, policy: &Policy, peers: &Peers) -> bool {
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
            // CIDR rules match addresses outside: pods and nodes have identities of their own (docs.cilium.io,
            // "IP/CIDR based").
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
