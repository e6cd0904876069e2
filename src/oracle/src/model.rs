//! Policies after parsing: CiliumNetworkPolicy, CiliumClusterwideNetworkPolicy and NetworkPolicy in one shape.

use crate::{endpoint::Endpoint, flow::Protocol, fqdn::NamePattern, selector::Selector, semantics::UnnamedCluster};
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
    /// Whether it is a NetworkPolicy that admits an `ipBlock`: see [`Policy::is_refused`].
    pub(crate) admits_block: bool,
}

impl Policy {
    /// Whether it acts on this pod.
    pub fn selects(&self, endpoint: &Endpoint) -> bool {
        self.cluster == endpoint.cluster
            && matches!(&self.subject, Subject::Endpoints(selector) if selector.matches(endpoint))
    }

    /// Whether Cilium refuses it and nothing of it is in force: with `policy-default-local-cluster` a selector is added
    /// to each peer of an ingress NetworkPolicy, and a peer with `ipBlock` may have none (semantics A37;
    /// pkg/k8s/network_policy.go).
    pub(crate) fn is_refused(&self, unnamed: UnnamedCluster) -> bool {
        self.admits_block && unnamed == UnnamedCluster::Local
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
    /// None if the rule does not say: then it may inherit a mode, which an explicit `disabled` does not.
    pub authentication: Option<Authentication>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    Allow,
    Deny,
}

/// From the laxest to the strictest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Authentication {
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

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Peer {
    Endpoints(Selector),
    Cidr { net: IpNet, except: Vec<IpNet> },
    Entity(Entity),
    Name(NamePattern),
}

impl Peer {
    /// Whether it is the selector for anybody, which has an entry of its own in the policy map.
    pub(crate) fn is_anybody(&self) -> bool {
        matches!(self, Peer::Entity(Entity::All))
    }
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

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PortMatch {
    Any,
    Range(u16, u16),
    /// In lower case: names compare without case (semantics A19).
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
