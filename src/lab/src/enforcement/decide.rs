//! What the rules in force at one node say about a flow: denied before allowed, nothing allowed that no rule allows
//! where a rule denies by default, and everything where none does. It sees identities, addresses and ports, never
//! objects.

use super::{
    names::Names,
    rule::{Authentication, Clause, Layer7, Peers, Ports, Rule, Side},
};
use crate::{identity::SecurityLabels, state::LabState, sync::lock};
use meshproof_datapath::{Direction, DropReason, Identity, Protocol, ProxyPort};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::Ipv4Addr,
    sync::{Arc, Mutex, Weak},
};

mod peering;

use peering::Peering;

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
    /// Named ports of every pod of every cluster.
    pub named_ports: NamedPorts,
    /// Named ports of this node's pods.
    pub own_ports: BTreeMap<Ipv4Addr, NamedPorts>,
    /// The cluster's name.
    pub cluster: String,
    /// Whether CIDRs match nodes (`policy-cidr-match-mode: nodes`).
    pub cidrs_match_nodes: bool,
    /// Whether identities can authenticate each other (`mesh-auth-enabled` and `mesh-auth-mutual-enabled`).
    pub authenticates: bool,
    /// Whether endpoints that no rule selects are enforced, too (`enable-policy: always`).
    pub always: bool,
    /// What a denied client gets.
    pub refusal: Refusal,
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
    lab: Weak<LabState>,
    /// Rules for an endpoint, by its identity.
    selected: Mutex<HashMap<Identity, Selected>>,
    labels: Mutex<HashMap<Identity, Arc<SecurityLabels>>>,
}

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

/// Whether what a proxy sees is restricted at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Restriction {
    /// To what its rules allow.
    Rules,
    /// Another rule allows the flow whatever is in it.
    Unrestricted,
}

impl NodeRules {
    pub(crate) fn new(set: RuleSet, names: Arc<Names>, lab: Weak<LabState>) -> Self {
        Self {
            set,
            names,
            lab,
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
        if flow.direction == Direction::Ingress && flow.remote_identity == Identity::HOST {
            return Decision::Allow;
        }
        let allowing: Vec<_> = sides()
            .flat_map(|side| &side.allow)
            .flat_map(|clause| peer.matching(clause).into_iter().map(move |layer7| (clause, layer7)))
            .collect();
        if allowing.is_empty() {
            return if always || sides().any(|side| side.default_deny) {
                Decision::Deny(DropReason::PolicyDenied)
            } else {
                Decision::Allow
            };
        }
        if !self.authenticated(&allowing, flow) {
            return Decision::Deny(DropReason::AuthRequired);
        }
        let proxied: Vec<_> = allowing.iter().filter_map(|(_, layer7)| layer7.cloned()).collect();
        match (proxied.is_empty(), allowing.iter().any(|(_, layer7)| layer7.is_none())) {
            (true, _) => Decision::Allow,
            (false, true) => Decision::Proxy(proxied, Restriction::Unrestricted),
            (false, false) => Decision::Proxy(proxied, Restriction::Rules),
        }
    }

    /// The most specific rule that says anything decides; two that are as specific both count.
    fn authenticated(&self, allowing: &[(&Clause, Option<&Layer7>)], flow: &Flow) -> bool {
        let specificity = |clause: &Clause| (clause.ports != Ports::All, clause.peers != Peers::Any);
        let specific: Vec<_> = allowing
            .iter()
            .filter_map(|(clause, _)| Some((specificity(clause), clause.authentication?)))
            .collect();
        let Some(most) = specific.iter().map(|(specificity, _)| *specificity).max() else {
            return true;
        };
        specific
            .iter()
            .filter(|(specificity, _)| *specificity == most)
            .all(|(_, mode)| match mode {
                Authentication::Disabled => true,
                Authentication::Required => self.set.authenticates && flow.remote_identity.0 >= FIRST_OF_PODS,
                Authentication::AlwaysFail => false,
            })
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
            _ => self.lab.upgrade().and_then(|lab| {
                lab.clusters
                    .iter()
                    .find_map(|cluster| cluster.identities.labels(identity))
            }),
        };
        if let Some(labels) = found {
            known.insert(identity, Arc::clone(&labels));
            return labels;
        }
        Arc::default()
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
