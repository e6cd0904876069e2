//! The network policies of the repository, of all three kinds, in the terms that rules ask in.

mod pods;
mod selector;

pub use pods::{Group, Pods};
pub use selector::Selector;

use crate::{
    place::Place,
    sources::{Document, Sources},
    yaml::Node,
};

/// Which way traffic goes, seen from the pods that a policy selects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To them.
    Ingress,
    /// From them.
    Egress,
}

impl Direction {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::Ingress, Self::Egress];

    /// The key of its section.
    pub fn key(self) -> &'static str {
        match self {
            Direction::Ingress => "ingress",
            Direction::Egress => "egress",
        }
    }

    /// The key of its section of denials.
    pub fn deny_key(self) -> &'static str {
        match self {
            Direction::Ingress => "ingressDeny",
            Direction::Egress => "egressDeny",
        }
    }

    /// Keys of Cilium's peers; at most one of them may stand in a rule.
    pub fn peer_keys(self) -> &'static [&'static str] {
        match self {
            Direction::Ingress => &[
                "fromEndpoints",
                "fromCIDR",
                "fromCIDRSet",
                "fromEntities",
                "fromNodes",
                "fromGroups",
            ],
            Direction::Egress => &[
                "toEndpoints",
                "toCIDR",
                "toCIDRSet",
                "toEntities",
                "toNodes",
                "toGroups",
                "toFQDNs",
                "toServices",
            ],
        }
    }
}

/// Which of the three kinds a policy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// CiliumNetworkPolicy.
    Cilium,
    /// CiliumClusterwideNetworkPolicy.
    CiliumClusterwide,
    /// NetworkPolicy of Kubernetes.
    Kubernetes,
}

/// One `spec` of a policy.
#[derive(Clone, Debug)]
pub struct Spec<'a> {
    /// The object.
    pub document: &'a Document,
    /// Its kind.
    pub kind: Kind,
    /// The spec itself.
    pub node: &'a Node,
    /// Whom it selects; nothing if the selector is missing.
    pub subject: Option<Selector<'a>>,
    /// Whether it selects nodes.
    pub is_for_nodes: bool,
}

/// All policies and the pods that the repository knows.
#[derive(Debug)]
pub struct Policies<'a> {
    /// Every spec.
    pub specs: Vec<Spec<'a>>,
    /// The pods.
    pub pods: Pods,
}

impl<'a> Policies<'a> {
    /// Reads them.
    pub fn of(sources: &'a Sources) -> Self {
        let mut specs = Vec::new();
        for document in &sources.documents {
            let kind = match (document.kind.as_str(), document.group()) {
                ("CiliumNetworkPolicy", _) => Kind::Cilium,
                ("CiliumClusterwideNetworkPolicy", _) => Kind::CiliumClusterwide,
                ("NetworkPolicy", "networking.k8s.io") => Kind::Kubernetes,
                _ => continue,
            };
            let single = document.node.get("spec").into_iter();
            for node in single.chain(document.node.items_at(&["specs"])) {
                specs.push(Spec::of(document, kind, node));
            }
        }
        Self {
            specs,
            pods: Pods::of(sources),
        }
    }
}

impl<'a> Spec<'a> {
    fn of(document: &'a Document, kind: Kind, node: &'a Node) -> Self {
        let key = if kind == Kind::Kubernetes {
            "podSelector"
        } else {
            "endpointSelector"
        };
        let nodes = node.get("nodeSelector");
        let selector = node.get(key).or(nodes);
        let subject = selector.map(|selector| Selector::of(selector, subject_namespace(document, kind)));
        Self {
            document,
            kind,
            node,
            subject,
            is_for_nodes: nodes.is_some() && node.get(key).is_none(),
        }
    }

    /// The rules of a section.
    pub fn section(&self, key: &str) -> &'a [Node] {
        self.node.items_at(&[key])
    }

    /// The rules that allow in a direction.
    pub fn allows(&self, direction: Direction) -> Vec<Allow<'a>> {
        let rules = self.section(direction.key()).iter();
        rules
            .map(|node| Allow {
                spec_kind: self.kind,
                direction,
                node,
                namespace: self.namespace(),
            })
            .collect()
    }

    /// The namespace whose pods it can select; nothing for all.
    pub fn namespace(&self) -> Option<&'a str> {
        subject_namespace(self.document, self.kind)
    }

    /// Whether what it selects is default deny in a direction because of it.
    pub fn has_default_deny(&self, direction: Direction) -> bool {
        if self.kind == Kind::Kubernetes {
            let types = self.section("policyTypes");
            let named = |name: &str| types.iter().any(|kind| kind.text() == Some(name));
            return match direction {
                Direction::Ingress => types.is_empty() || named("Ingress"),
                Direction::Egress => named("Egress") || (types.is_empty() && self.node.get("egress").is_some()),
            };
        }
        let stated = self.node.dig(&["enableDefaultDeny", direction.key()]);
        stated.map_or_else(
            || !self.section(direction.key()).is_empty() || !self.section(direction.deny_key()).is_empty(),
            Node::is_truthy,
        )
    }

    /// Where a section stands.
    pub fn place(&self, key: &str) -> Place {
        self.node.entry(key).map_or(self.node.place, |entry| entry.place)
    }
}

fn subject_namespace(document: &Document, kind: Kind) -> Option<&str> {
    match kind {
        Kind::CiliumClusterwide => None,
        Kind::Cilium | Kind::Kubernetes => Some(&document.namespace),
    }
}

/// A rule that allows.
#[derive(Clone, Copy, Debug)]
pub struct Allow<'a> {
    spec_kind: Kind,
    /// Its direction.
    pub direction: Direction,
    /// The rule.
    pub node: &'a Node,
    namespace: Option<&'a str>,
}

impl<'a> Allow<'a> {
    /// Whether it allows this port of a protocol. Named ports and what templates fill in count as allowed.
    pub fn allows_port(&self, port: u16, protocol: &str) -> bool {
        if self.spec_kind == Kind::Kubernetes {
            let ports = self.node.items_at(&["ports"]);
            return ports.is_empty() || ports.iter().any(|entry| entry_allows(entry, port, protocol, "TCP"));
        }
        let to_ports = self.node.items_at(&["toPorts"]);
        let mut entries = to_ports.iter().flat_map(|to_ports| to_ports.items_at(&["ports"]));
        to_ports.is_empty() || entries.any(|entry| entry_allows(entry, port, protocol, "ANY"))
    }

    /// Whether it restricts ports at all.
    pub fn has_ports(&self) -> bool {
        let key = if self.spec_kind == Kind::Kubernetes {
            "ports"
        } else {
            "toPorts"
        };
        !self.node.items_at(&[key]).is_empty()
    }

    /// Its selectors of pods, each with the namespace that it stays in.
    pub fn selectors(&self) -> Vec<Selector<'a>> {
        if self.spec_kind == Kind::Kubernetes {
            let key = if self.direction == Direction::Ingress {
                "from"
            } else {
                "to"
            };
            let peers = self.node.items_at(&[key]).iter();
            return peers
                .filter_map(|peer| Selector::of_kubernetes(peer, self.namespace))
                .collect();
        }
        let keys = ["fromEndpoints", "toEndpoints"];
        let nodes = keys.iter().flat_map(|key| self.node.items_at(&[key]));
        nodes.map(|node| Selector::of(node, self.namespace)).collect()
    }

    /// Whether anybody at all is a peer of it: no peers are stated.
    pub fn is_for_all_peers(&self) -> bool {
        if self.spec_kind == Kind::Kubernetes {
            let key = if self.direction == Direction::Ingress {
                "from"
            } else {
                "to"
            };
            return self.node.items_at(&[key]).is_empty();
        }
        // With neither peers nor ports, Cilium's rule allows nobody.
        let keys = self.direction.peer_keys();
        keys.iter().all(|key| self.node.get(key).is_none_or(Node::is_null)) && self.has_ports()
    }

    /// The texts of a list.
    pub fn texts(&self, key: &str) -> Vec<&'a str> {
        self.node.items_at(&[key]).iter().filter_map(Node::text).collect()
    }
}

fn entry_allows(entry: &Node, port: u16, protocol: &str, default: &str) -> bool {
    let stated = entry.text_at(&["protocol"]).unwrap_or(default);
    if stated != protocol && stated != "ANY" {
        return false;
    }
    let Some(text) = entry.get("port").and_then(Node::scalar) else {
        return true;
    };
    let Ok(from) = text.parse::<u16>() else { return true };
    let to = entry
        .get("endPort")
        .and_then(Node::scalar)
        .and_then(|end| end.parse().ok())
        .unwrap_or(from);
    from == 0 || (from..=to.max(from)).contains(&port)
}
