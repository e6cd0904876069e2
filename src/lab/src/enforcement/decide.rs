//! What the rules in force at one node say about a flow: denied before allowed, nothing allowed that no rule allows
//! where a rule denies by default, and everything where none does. It sees identities, addresses and ports, never
//! objects.

use super::{
    names::Names,
    rule::{Authentication, Clause, Entity, Layer7, Peer, Peers, Port, PortNumber, Ports, Rule, Side, Transport},
    selector::CLUSTER,
};
use crate::{identity::SecurityLabels, state::LabState, sync::lock};
use meshproof_datapath::{Direction, DropReason, FlowQuery, Identity, Policy, Protocol, ProxyPort, Verdict};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::Ipv4Addr,
    sync::{Arc, Mutex, Weak},
};

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
        self.selected(identity)
            .iter()
            .any(|rule| side(rule, direction).default_deny)
    }

    /// What becomes of a flow.
    pub(crate) fn decide(&self, flow: &Flow) -> Decision {
        let rules = self.selected(flow.endpoint_identity);
        if rules.is_empty() {
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
            return if sides().any(|side| side.default_deny) {
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

/// A flow held against clauses.
struct Peering<'a> {
    rules: &'a NodeRules,
    flow: &'a Flow,
    labels: &'a SecurityLabels,
}

impl Peering<'_> {
    /// What of the clause is about the flow: for each match, what a proxy has to look at.
    fn matching<'c>(&self, clause: &'c Clause) -> Vec<Option<&'c Layer7>> {
        let selected = match &clause.peers {
            Peers::Any => true,
            Peers::Of(peers) => peers.iter().any(|peer| self.is(peer)),
        };
        if !selected {
            return Vec::new();
        }
        match &clause.ports {
            Ports::All => vec![None],
            Ports::Icmp(types) => match self.flow.icmp {
                Some((kind, _)) if types.contains(&kind) => vec![None],
                _ => Vec::new(),
            },
            Ports::List(rules) => rules
                .iter()
                .filter(|rule| rule.ports.iter().any(|port| self.on(port)))
                .map(|rule| rule.layer7.as_ref())
                .collect(),
        }
    }

    fn is(&self, peer: &Peer) -> bool {
        let flow = self.flow;
        let outside = has(self.labels, "world");
        match peer {
            Peer::Labels(selector) => selector.matches(self.labels),
            Peer::Entity(entity) => self.is_entity(*entity),
            Peer::Cidr { net, except } => {
                // Whatever has an identity of its own is not selected by its address.
                let node =
                    self.rules.set.cidrs_match_nodes && (has(self.labels, "host") || has(self.labels, "remote-node"));
                (outside || node)
                    && net.contains(&flow.remote)
                    && !except.iter().any(|except| except.contains(&flow.remote))
            }
            Peer::Name(pattern) => outside && self.rules.names.resolves(pattern, flow.remote),
            Peer::Addresses(addresses) => outside && addresses.contains(&flow.remote),
            Peer::Service(_) => false,
        }
    }

    fn is_entity(&self, entity: Entity) -> bool {
        let is = |name: &str| has(self.labels, name);
        match entity {
            Entity::All => true,
            Entity::World => is("world"),
            Entity::Host => is("host"),
            Entity::RemoteNode => is("remote-node"),
            Entity::KubeApiserver => is("kube-apiserver"),
            Entity::Init => is("init"),
            Entity::Health => is("health"),
            Entity::Unmanaged => is("unmanaged"),
            Entity::Ingress => is("ingress"),
            Entity::None => false,
            Entity::Cluster => {
                ["host", "remote-node", "init", "ingress", "health", "unmanaged"]
                    .iter()
                    .any(|name| is(name))
                    || self.labels.get(&format!("k8s:{CLUSTER}")) == Some(&self.rules.set.cluster)
            }
        }
    }

    fn on(&self, port: &Port) -> bool {
        let flow = self.flow;
        let protocol = match port.protocol {
            Transport::Tcp => flow.protocol == Protocol::Tcp,
            Transport::Udp => flow.protocol == Protocol::Udp,
            Transport::Sctp => flow.protocol == Protocol::Other(132),
            Transport::Icmp => flow.protocol == Protocol::Icmp,
            Transport::Any => matches!(flow.protocol, Protocol::Tcp | Protocol::Udp | Protocol::Other(132)),
        };
        protocol
            && match &port.number {
                PortNumber::All => true,
                PortNumber::Range(first, last) => (*first..=*last).contains(&flow.port),
                PortNumber::Named(name) => self.is_named(name),
            }
    }

    /// On the way in it is the endpoint's own name of a port, on the way out any pod's.
    fn is_named(&self, name: &str) -> bool {
        let set = &self.rules.set;
        let known = match self.flow.direction {
            Direction::Ingress => set.own_ports.get(&self.flow.endpoint).and_then(|ports| ports.get(name)),
            Direction::Egress => set.named_ports.get(name),
        };
        known.is_some_and(|numbers| numbers.contains(&(self.flow.protocol, self.flow.port)))
    }
}

fn has(labels: &SecurityLabels, reserved: &str) -> bool {
    labels.contains_key(&format!("reserved:{reserved}"))
}

/// The rules as the data path asks them.
pub(crate) struct NodePolicy(pub Arc<NodeRules>);

impl Policy for NodePolicy {
    fn verdict(&mut self, query: &FlowQuery) -> Verdict {
        let flow = Flow {
            direction: query.direction,
            endpoint: query.endpoint,
            endpoint_identity: query.endpoint_identity,
            remote: query.remote,
            remote_identity: query.remote_identity,
            protocol: query.protocol,
            port: query.port,
            icmp: query.icmp,
        };
        match self.0.decide(&flow) {
            Decision::Allow => Verdict::Allow,
            Decision::Deny(reason) => match self.0.set.refusal {
                Refusal::Silence => Verdict::Deny(reason),
                Refusal::Answer => Verdict::Reject(reason),
            },
            Decision::Proxy(rules, _) => match (query.direction, &rules[..]) {
                (Direction::Egress, [Layer7::Dns(_), ..]) => Verdict::Redirect(DNS_EGRESS),
                (Direction::Egress, _) => Verdict::Redirect(HTTP_EGRESS),
                (Direction::Ingress, _) => Verdict::Redirect(HTTP_INGRESS),
            },
        }
    }
}
