//! What the rules in force at one node say about a flow: denied before allowed, nothing allowed that no rule allows
//! where a rule denies by default, and everything where none does. It sees identities, addresses and ports, never
//! objects.

use super::{
    layer7::Request,
    names::Names,
    rule::{Authentication, Layer7, PortNumber, Rule, Side},
};
use crate::{identity::SecurityLabels, sync::lock};
use meshproof_datapath::{Direction, DropReason, Identity, Protocol, ProxyPort};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::Ipv4Addr,
    sync::{Arc, Mutex},
};

mod authentication;
mod peering;

use peering::{Entry, Peering};

/// Identities below are reserved ones.
const FIRST_OF_PODS: u32 = 256;
/// Where the node's proxies listen.
pub(crate) const HTTP_EGRESS: ProxyPort = ProxyPort(10_201);
pub(crate) const HTTP_INGRESS: ProxyPort = ProxyPort(10_202);
pub(crate) const DNS_EGRESS: ProxyPort = ProxyPort(10_203);

/// Numbers of a named port, with their protocols.
pub(crate) type NamedPorts = BTreeMap<String, BTreeSet<(Protocol, u16)>>;

/// What is in force, as far as it can be compared.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct RuleSet {
    /// Every rule of the cluster.
    pub rules: Vec<Arc<Rule>>,
    /// Named ports of every pod of the cluster: those of other clusters are not announced (`pkg/types/portmap.go`).
    pub named_ports: NamedPorts,
    /// Named ports of this node's pods.
    pub own_ports: BTreeMap<Ipv4Addr, NamedPorts>,
    /// The cluster's name.
    pub cluster: String,
    /// Where its API servers answer, by the endpoints of Service `default/kubernetes`.
    pub api_servers: BTreeSet<Ipv4Addr>,
    /// Whether CIDRs match nodes (`policy-cidr-match-mode: nodes`).
    pub cidrs_match_nodes: bool,
    /// Whether identities can authenticate each other (`mesh-auth-enabled` and `mesh-auth-mutual-enabled`).
    pub authenticates: bool,
    /// The share of denied connections that passes all the same; 0 but for a fault.
    pub leak: f64,
    /// Whether endpoints that no rule selects are enforced, too (`enable-policy: always`).
    pub always: bool,
    /// What a denied client gets.
    pub refusal: Refusal,
    /// Whether an address that some selector of names labelled gets no label of a later one; a fault.
    pub labels_once: bool,
}

/// What a denied client gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Nothing.
    #[default]
    Silence,
    /// A reset or an ICMP error: a fault.
    Answer,
}

/// The rules in force at one node.
pub(crate) struct NodeRules {
    pub set: RuleSet,
    pub names: Arc<Names>,
    allocated: AllocatedLabels,
    /// Rules for an endpoint, by its identity.
    selected: Mutex<HashMap<Identity, Selected>>,
    labels: Mutex<HashMap<Identity, Arc<SecurityLabels>>>,
}

/// The labels of an identity that was allocated for pods; none if it is not known (yet).
pub(crate) type AllocatedLabels = Box<dyn Fn(Identity) -> Option<Arc<SecurityLabels>> + Send + Sync>;

type Selected = Arc<[Arc<Rule>]>;

/// One flow at one endpoint.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flow {
    pub direction: Direction,
    pub endpoint: Ipv4Addr,
    pub endpoint_identity: Identity,
    pub remote: Ipv4Addr,
    pub remote_identity: Identity,
    pub protocol: Protocol,
    pub port: u16,
    pub icmp: Option<(u8, u8)>,
}

/// What becomes of a flow.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Decision {
    Allow,
    Deny(DropReason),
    /// A proxy lets pass what these allow, together.
    Proxy(Vec<Layer7>, Restriction),
}

impl Decision {
    /// Whether the HTTP proxy lets a request pass.
    pub(crate) fn admits_request(&self, request: &Request<'_>) -> bool {
        self.admits(|rules| match rules {
            Layer7::Http(rules) => rules.iter().any(|rule| rule.matches(request)),
            Layer7::Dns(_) => false,
        })
    }

    /// Whether the DNS proxy lets a question for a name pass.
    pub(crate) fn admits_name(&self, name: &str) -> bool {
        self.admits(|rules| match rules {
            Layer7::Dns(patterns) => patterns.iter().any(|pattern| pattern.matches(name)),
            Layer7::Http(_) => false,
        })
    }

    fn admits(&self, fits: impl Fn(&Layer7) -> bool) -> bool {
        match self {
            Decision::Allow | Decision::Proxy(_, Restriction::Unrestricted) => true,
            Decision::Deny(_) => false,
            Decision::Proxy(rules, Restriction::Rules) => rules.iter().any(fits),
        }
    }
}

/// Whether what a proxy sees is restricted at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Restriction {
    /// To what its rules allow.
    Rules,
    /// Another rule allows the flow whatever is in it.
    Unrestricted,
}

impl NodeRules {
    pub(crate) fn new(set: RuleSet, names: Arc<Names>, allocated: AllocatedLabels) -> Self {
        Self {
            set,
            names,
            allocated,
            selected: Mutex::default(),
            labels: Mutex::default(),
        }
    }

    /// Whether a direction of an endpoint is enforced.
    pub(crate) fn enforces(&self, identity: Identity, direction: Direction) -> bool {
        if self.set.always && identity.0 >= FIRST_OF_PODS {
            return true;
        }
        self.selected(identity)
            .iter()
            .any(|rule| side(rule, direction).default_deny)
    }

    /// What becomes of a flow.
    pub(crate) fn decide(&self, flow: &Flow) -> Decision {
        let rules = self.selected(flow.endpoint_identity);
        // Modes are about pods: without a host firewall the host is not an endpoint.
        let always = self.set.always && flow.endpoint_identity.0 >= FIRST_OF_PODS;
        if rules.is_empty() && !always {
            return Decision::Allow;
        }
        let sides = || rules.iter().map(|rule| side(rule, flow.direction));
        let labels = self.labels(flow.remote_identity);
        let peer = Peering {
            rules: self,
            flow,
            labels: &labels,
        };
        if sides()
            .flat_map(|side| &side.deny)
            .any(|clause| !peer.matching(clause).is_empty())
        {
            return Decision::Deny(DropReason::PolicyDeny);
        }
        // Into every pod the local host is allowed, by an entry of its own (`allow-localhost`).
        let from_host = flow.direction == Direction::Ingress && flow.remote_identity == Identity::HOST;
        let default_deny = always || sides().any(|side| side.default_deny);
        let entries: Vec<Entry<'_>> = sides()
            .flat_map(|side| &side.allow)
            .flat_map(|clause| peer.matching(clause))
            .collect();
        if entries.is_empty() {
            return match default_deny && !from_host {
                true => Decision::Deny(DropReason::PolicyDenied),
                false => Decision::Allow,
            };
        }
        let authenticated = match authentication::mode(&entries, from_host) {
            Authentication::Disabled => true,
            // Reserved identities have nothing to show (`pkg/auth/manager.go`).
            Authentication::Required => self.set.authenticates && flow.remote_identity.0 >= FIRST_OF_PODS,
            Authentication::AlwaysFail => false,
        };
        if !authenticated {
            return Decision::Deny(DropReason::AuthRequired);
        }
        let proxied: Vec<_> = entries.iter().filter_map(|entry| entry.layer7.cloned()).collect();
        // Without default deny every list has a rule more, which allows everything (`createL4Filter`).
        let unrestricted = !default_deny || entries.iter().any(|entry| opens(entry, &entries, from_host));
        match (proxied.is_empty(), unrestricted) {
            (true, _) => Decision::Allow,
            (false, true) => Decision::Proxy(proxied, Restriction::Unrestricted),
            (false, false) => Decision::Proxy(proxied, Restriction::Rules),
        }
    }

    fn selected(&self, identity: Identity) -> Selected {
        let mut selected = lock(&self.selected);
        if let Some(known) = selected.get(&identity) {
            return Arc::clone(known);
        }
        // Without a host firewall the host is not an endpoint.
        let labels = self.labels(identity);
        let rules: Selected = match identity {
            Identity::HOST | Identity::UNKNOWN => Arc::new([]),
            _ => self
                .set
                .rules
                .iter()
                .filter(|rule| rule.subject.matches(&labels))
                .cloned()
                .collect(),
        };
        if !labels.is_empty() || identity == Identity::HOST {
            selected.insert(identity, Arc::clone(&rules));
        }
        rules
    }

    /// The labels of an identity; none if it is not known (yet).
    fn labels(&self, identity: Identity) -> Arc<SecurityLabels> {
        let mut known = lock(&self.labels);
        if let Some(labels) = known.get(&identity) {
            return Arc::clone(labels);
        }
        let found = match identity.0 {
            0 => None,
            reserved if reserved < FIRST_OF_PODS => Some(Arc::new(reserved_labels(reserved))),
            _ => (self.allocated)(identity),
        };
        if let Some(labels) = found {
            known.insert(identity, Arc::clone(&labels));
            return labels;
        }
        Arc::default()
    }
}

/// Whether an entry makes a proxy let everything pass. Envoy is told of every rule that opens the port; the DNS proxy
/// knows only those of exactly the same port (`pkg/fqdn/dnsproxy/proxy.go`).
fn opens(entry: &Entry<'_>, all: &[Entry<'_>], from_host: bool) -> bool {
    match entry.layer7 {
        // A rule for anybody has a wildcard for the host (`createL4IngressFilter`), one that names the host has none.
        Some(Layer7::Http(_)) => from_host && entry.anybody,
        Some(Layer7::Dns(_)) => false,
        None => all.iter().any(|other| match (other.layer7, other.port, entry.port) {
            (Some(Layer7::Http(_)), ..) => true,
            (Some(Layer7::Dns(_)), Some(one), Some(two)) => one.number == two.number && is_single(&one.number),
            _ => false,
        }),
    }
}

fn is_single(number: &PortNumber) -> bool {
    match number {
        PortNumber::Range(first, last) => first == last,
        PortNumber::Named(_) => true,
        PortNumber::All => false,
    }
}

/// Labels of the reserved identities (`pkg/identity/reserved.go`).
fn reserved_labels(identity: u32) -> SecurityLabels {
    let names: &[&str] = match identity {
        1 => &["host"],
        2 => &["world"],
        3 => &["unmanaged"],
        4 => &["health"],
        5 => &["init"],
        6 => &["remote-node"],
        7 => &["kube-apiserver", "remote-node"],
        8 => &["ingress"],
        9 => &["world-ipv4", "world"],
        _ => &[],
    };
    names
        .iter()
        .map(|name| (format!("reserved:{name}"), String::new()))
        .collect()
}

fn side(rule: &Rule, direction: Direction) -> &Side {
    match direction {
        Direction::Ingress => &rule.ingress,
        Direction::Egress => &rule.egress,
    }
}
