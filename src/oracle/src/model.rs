//! Policies after parsing: CiliumNetworkPolicy, CiliumClusterwideNetworkPolicy and NetworkPolicy in one shape.

use crate::{endpoint::Endpoint, flow::Protocol, fqdn::NamePattern, selector::Selector};
use ipnet::IpNet;
use regex::Regex;

/// Seen from the selected endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum Direction {
    Ingress,
    Egress,
}

/// One `spec` of one policy object.
#[derive(Clone, Debug)]
pub struct Policy {
    /// `CiliumNetworkPolicy demo/name` with the spec's number if there are several.
    pub name: String,
    /// The cluster whose API holds it (its name in the mesh): it acts on that cluster's pods alone.
    pub cluster: String,
    pub(crate) subject: Subject,
    pub(crate) ingress: Side,
    pub(crate) egress: Side,
}

impl Policy {
    /// Whether it acts on this pod.
    pub fn selects(&self, endpoint: &Endpoint) -> bool {
        self.cluster == endpoint.cluster
            && matches!(&self.subject, Subject::Endpoints(selector) if selector.matches(endpoint))
    }

    /// Its rules of one direction.
    pub(crate) fn side(&self, direction: Direction) -> &Side {
        match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        }
    }
}

/// Whom a policy acts on.
#[derive(Clone, Debug)]
pub(crate) enum Subject {
    Endpoints(Selector),
    Nodes,
}

/// The rules of one direction.
#[derive(Clone, Debug, Default)]
pub(crate) struct Side {
    /// Whether what no rule allows is dropped.
    pub default_deny: bool,
    pub rules: Vec<Rule>,
}

/// One element of `ingress`, `ingressDeny`, `egress` or `egressDeny`.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    /// `ingress[0]`, for people.
    pub place: String,
    pub effect: Effect,
    pub peers: Peers,
    pub ports: Ports,
    pub authentication: Authentication,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    Allow,
    Deny,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Authentication {
    #[default]
    Disabled,
    Required,
    AlwaysFail,
}

/// Whom a rule admits or denies.
#[derive(Clone, Debug)]
pub(crate) enum Peers {
    /// No L3 part: everybody.
    Any,
    /// Neither L3 nor L4 part in a Cilium rule: the section exists, and this rule matches nobody.
    Nobody,
    /// At least one of these; an empty list matches nobody.
    OneOf(Vec<Peer>),
}

#[derive(Clone, Debug)]
pub(crate) enum Peer {
    Endpoints(Selector),
    Cidr { net: IpNet, except: Vec<IpNet> },
    Entity(Entity),
    Name(NamePattern),
}

/// Cilium's entities (docs.cilium.io, "Entities Based").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entity {
    All,
    World,
    Cluster,
    Host,
    RemoteNode,
    KubeApiserver,
    /// Entities without a flow of the harness: health, init, ingress, unmanaged, none.
    Other,
}

/// What a rule says about ports.
#[derive(Clone, Debug)]
pub(crate) enum Ports {
    Any,
    OneOf(Vec<Port>),
}

#[derive(Clone, Debug)]
pub(crate) struct Port {
    pub which: PortMatch,
    /// None is `ANY`.
    pub protocol: Option<Protocol>,
    pub l7: L7,
}

#[derive(Clone, Debug)]
pub(crate) enum PortMatch {
    Any,
    Range(u16, u16),
    Named(String),
}

#[derive(Clone, Debug)]
pub(crate) enum L7 {
    None,
    Http(Vec<HttpMatch>),
    Dns(Vec<NamePattern>),
}

/// One HTTP rule; every part that is given must match.
#[derive(Clone, Debug)]
pub(crate) struct HttpMatch {
    pub method: Option<Regex>,
    pub path: Option<Regex>,
    pub host: Option<Regex>,
    /// Header name in lower case, and its value if the rule has one.
    pub headers: Vec<(String, Option<String>)>,
}
