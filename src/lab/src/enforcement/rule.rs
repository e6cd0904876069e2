//! Policies of every kind as one model: whom a rule is for, and what it allows and denies in each direction. Data only;
//! reading objects is in `cilium` and `kubernetes`, deciding in `decide`.

use super::{
    layer7::{HttpRule, NamePattern},
    selector::Selector,
};
use ipnet::Ipv4Net;
use serde_json::Value;
use std::net::Ipv4Addr;

/// The kind of object that a rule was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum PolicyKind {
    /// CiliumNetworkPolicy.
    Namespaced,
    /// CiliumClusterwideNetworkPolicy.
    Clusterwide,
    /// NetworkPolicy.
    Kubernetes,
}

impl PolicyKind {
    /// As `io.cilium.k8s.policy.derived-from` has it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            PolicyKind::Namespaced => "CiliumNetworkPolicy",
            PolicyKind::Clusterwide => "CiliumClusterwideNetworkPolicy",
            PolicyKind::Kubernetes => "NetworkPolicy",
        }
    }
}

/// One rule of a policy.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rule {
    /// What it was read from.
    pub kind: PolicyKind,
    /// The uid of the object that it was read from.
    pub uid: String,
    /// The endpoints that it is for.
    pub subject: Selector,
    /// What may come in.
    pub ingress: Side,
    /// What may go out.
    pub egress: Side,
    /// As `policy get` prints it.
    pub shown: Value,
}

/// One direction of a rule.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Side {
    /// Whether whatever no rule allows is denied.
    pub default_deny: bool,
    /// What is allowed.
    pub allow: Vec<Clause>,
    /// What is denied, whatever else allows it.
    pub deny: Vec<Clause>,
}

/// Peers and ports that are allowed or denied together.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Clause {
    /// Who.
    pub peers: Peers,
    /// On which ports.
    pub ports: Ports,
    /// Whether they must authenticate; none if the rule does not say.
    pub authentication: Option<Authentication>,
}

/// Who is on the other side.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Peers {
    /// Anybody.
    Any,
    /// Whoever one of these selects; nobody if there are none.
    Of(Vec<Peer>),
}

impl Peers {
    /// Of a clause that names no peers: its ports are for anybody; without ports, too, it is empty and about nobody.
    pub(crate) fn without_members(has_ports: bool) -> Self {
        if has_ports { Peers::Any } else { Peers::Of(Vec::new()) }
    }
}

/// One way to select peers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Peer {
    /// By the labels of their identity.
    Labels(Selector),
    /// What a named entity stands for.
    Entity(Entity),
    /// By address: only what has no identity of its own.
    Cidr {
        /// The addresses.
        net: Ipv4Net,
        /// Addresses of them that are not meant.
        except: Vec<Ipv4Net>,
    },
    /// What a looked-up name resolved to.
    Name(NamePattern),
    /// Backends of a service without a selector, at the moment.
    Addresses(Vec<Ipv4Addr>),
    /// A service, until it is resolved to labels or addresses.
    Service(ServiceReference),
}

/// How `toServices` names services.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ServiceReference {
    /// By name.
    Name {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// By labels.
    Labels {
        /// Their namespace; every one if absent.
        namespace: Option<String>,
        /// What their labels must be.
        selector: Selector,
    },
}

/// `fromEntities` and `toEntities`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entity {
    All,
    World,
    Cluster,
    Host,
    RemoteNode,
    KubeApiserver,
    Init,
    Health,
    Unmanaged,
    Ingress,
    None,
}

impl Entity {
    /// Reads an entity; none if there is no such.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "all" => Entity::All,
            "world" => Entity::World,
            "cluster" => Entity::Cluster,
            "host" => Entity::Host,
            "remote-node" => Entity::RemoteNode,
            "kube-apiserver" => Entity::KubeApiserver,
            "init" => Entity::Init,
            "health" => Entity::Health,
            "unmanaged" => Entity::Unmanaged,
            "ingress" => Entity::Ingress,
            "none" => Entity::None,
            _ => return None,
        })
    }
}

/// `authentication.mode`, from the laxest to the strictest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Authentication {
    Disabled,
    Required,
    AlwaysFail,
}

/// What is meant of a peer's traffic.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Ports {
    /// Everything, whatever the protocol.
    All,
    /// These ports; nothing if there are none.
    List(Vec<PortRule>),
    /// These ICMP types.
    Icmp(Vec<u8>),
}

/// Ports with what is allowed inside of their connections.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PortRule {
    /// Any of these.
    pub ports: Vec<Port>,
    /// What may be asked there; everything if absent.
    pub layer7: Option<Layer7>,
}

/// A port with its protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Port {
    /// The protocol.
    pub protocol: Transport,
    /// The number.
    pub number: PortNumber,
}

/// The protocol of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Tcp,
    Udp,
    Sctp,
    /// TCP, UDP or SCTP.
    Any,
}

/// The number of a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PortNumber {
    /// Every one.
    All,
    /// From the first to the last.
    Range(u16, u16),
    /// What containers call so.
    Named(String),
}

/// What a proxy lets pass.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Layer7 {
    /// Requests that one of these matches; every one if there are none.
    Http(Vec<HttpRule>),
    /// Questions for names that one of these matches.
    Dns(Vec<NamePattern>),
}
