//! What the enforcement of policies can get wrong: the catalogue's entries, and how each bends rules before they are put in
//! force. Those of one node act where [`PolicyFault::is_at`] says, the others in every cluster.

use crate::fault::{ActiveFaults, Effect, FaultName, FaultSpec};
use crate::state::{LabState, NodeState};

use super::decide::{Refusal, RuleSet};
use super::rule::{Entity, Kind, Layer7, Peer, Peers, PortNumber, Ports, Rule};
use super::selector::{CLUSTER, NAMESPACE, NAMESPACE_LABELS};

/// Something that the enforcement gets wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PolicyFault {
    NotEnforcedOnOneNode,
    EnforcedLate,
    OverEnforced,
    Layer7Ignored,
    NamesIgnored,
    RefusedInsteadOfDropped,
    DenyIgnored,
    NamespaceIgnored,
    ClusterLabelIgnored,
    ExpressionsIgnored,
    PortIgnored,
    NamedPortIgnored,
    EgressIgnored,
    IngressIgnored,
    CidrsMatchPods,
    ExceptIgnored,
    NamesMatchNothing,
    NotRemoved,
    ClusterwideIgnored,
    KubernetesIgnored,
    AuthenticationIgnored,
    EntitiesIgnored,
    DefaultDenyMissing,
    DefaultDenyForced,
    DnsNotRefused,
    IcmpIgnored,
}

use PolicyFault as Is;

const CATALOGUE: [(PolicyFault, &str, &str); 26] = [
    (
        Is::NotEnforcedOnOneNode,
        "policy-not-enforced-on-one-node",
        "one node enforces no policy, and its agent says that it does",
    ),
    (
        Is::EnforcedLate,
        "policy-enforced-late",
        "one node puts changes of policies in force eight seconds late",
    ),
    (
        Is::OverEnforced,
        "policy-over-enforced",
        "the last clause of what a rule allows is dropped, so that allowed peers or ports are denied",
    ),
    (
        Is::Layer7Ignored,
        "policy-l7-ignored",
        "HTTP rules are taken as rules for their ports: every request passes",
    ),
    (
        Is::NamesIgnored,
        "policy-fqdn-ignored",
        "rules for names admit every address, pods included",
    ),
    (
        Is::RefusedInsteadOfDropped,
        "policy-refused-instead-of-dropped",
        "what a policy denies is refused, not dropped",
    ),
    (Is::DenyIgnored, "policy-deny-ignored", "deny rules are ignored"),
    (
        Is::NamespaceIgnored,
        "policy-namespace-ignored",
        "peers are matched whatever their namespace is",
    ),
    (
        Is::ClusterLabelIgnored,
        "policy-cluster-label-ignored",
        "peers are matched whatever their cluster is",
    ),
    (
        Is::ExpressionsIgnored,
        "policy-expressions-ignored",
        "requirements of peers other than for one value match always",
    ),
    (
        Is::PortIgnored,
        "policy-port-ignored",
        "rules for numbered ports allow every port",
    ),
    (
        Is::NamedPortIgnored,
        "policy-named-port-ignored",
        "named ports match nothing",
    ),
    (Is::EgressIgnored, "policy-egress-ignored", "egress rules are ignored"),
    (
        Is::IngressIgnored,
        "policy-ingress-ignored",
        "ingress rules are ignored",
    ),
    (
        Is::CidrsMatchPods,
        "policy-cidr-matches-pods",
        "rules for addresses select pods, too, although these have identities",
    ),
    (
        Is::ExceptIgnored,
        "policy-cidr-except-ignored",
        "exceptions from ranges of addresses are ignored",
    ),
    (
        Is::NamesMatchNothing,
        "policy-fqdn-matches-nothing",
        "rules for names match nothing: what they should open stays closed",
    ),
    (Is::NotRemoved, "policy-not-removed", "a deleted policy stays in force"),
    (
        Is::ClusterwideIgnored,
        "policy-ccnp-ignored",
        "cluster-wide policies are ignored",
    ),
    (
        Is::KubernetesIgnored,
        "policy-knp-ignored",
        "NetworkPolicies of Kubernetes are ignored",
    ),
    (
        Is::AuthenticationIgnored,
        "policy-auth-ignored",
        "required authentication is not asked for",
    ),
    (Is::EntitiesIgnored, "policy-entities-ignored", "entities match nobody"),
    (
        Is::DefaultDenyMissing,
        "policy-default-deny-missing",
        "what no rule allows passes",
    ),
    (
        Is::DefaultDenyForced,
        "policy-default-deny-forced",
        "rules deny by default although they say that they do not",
    ),
    (
        Is::DnsNotRefused,
        "policy-dns-not-refused",
        "the DNS proxy refuses no name",
    ),
    (Is::IcmpIgnored, "policy-icmp-ignored", "rules for ICMP match nothing"),
];

/// The agents' words only: their endpoints never show that they have realized a policy.
pub(crate) const ENDPOINTS_BEHIND: FaultName = FaultName::new("policy-endpoints-behind");

/// The catalogue's entries.
pub(super) fn faults() -> Vec<FaultSpec> {
    let told = (
        ENDPOINTS_BEHIND,
        "no agent's endpoints show that they have realized their policies, although they have",
    );
    let bent = CATALOGUE
        .iter()
        .map(|(_, name, summary)| (FaultName::new(name), *summary));
    let specs = bent.chain([told]).map(|(name, summary)| FaultSpec {
        name,
        summary,
        suites: &["policy"],
        effect: Effect::Flag,
    });
    specs.collect()
}

/// The faults in force.
pub(super) fn active(faults: &ActiveFaults) -> Vec<PolicyFault> {
    let all = faults.all();
    CATALOGUE
        .iter()
        .filter(|(_, name, _)| all.contains(&FaultName::new(name)))
        .map(|(fault, ..)| *fault)
        .collect()
}

impl PolicyFault {
    /// Whether it acts on this node.
    pub(super) fn is_at(self, lab: &LabState, node: &NodeState) -> bool {
        let of = |cluster: Option<&std::sync::Arc<crate::state::ClusterState>>, last: bool| {
            let nodes = cluster.map_or(&[][..], |cluster| cluster.nodes());
            let place = if last { nodes.last() } else { nodes.first() };
            place.is_some_and(|place| place.name() == node.name())
        };
        match self {
            Is::NotEnforcedOnOneNode => of(lab.clusters.first(), false),
            Is::EnforcedLate => of(lab.clusters.last(), true),
            _ => true,
        }
    }
}

/// The rules as they are put in force with these faults.
pub(super) fn bend(mut set: RuleSet, faults: &[PolicyFault]) -> RuleSet {
    if faults.is_empty() {
        return set;
    }
    for fault in faults {
        match fault {
            Is::NotEnforcedOnOneNode => set.rules.clear(),
            Is::RefusedInsteadOfDropped => set.refusal = Refusal::Answer,
            Is::ClusterwideIgnored => set.rules.retain(|rule| rule.kind != Kind::Clusterwide),
            Is::KubernetesIgnored => set.rules.retain(|rule| rule.kind != Kind::Kubernetes),
            _ => {}
        }
    }
    for rule in &mut set.rules {
        let mut bent = (**rule).clone();
        for fault in faults {
            bend_rule(&mut bent, *fault);
        }
        *rule = std::sync::Arc::new(bent);
    }
    set
}

fn bend_rule(rule: &mut Rule, fault: PolicyFault) {
    match fault {
        Is::EgressIgnored => rule.egress = super::rule::Side::default(),
        Is::IngressIgnored => rule.ingress = super::rule::Side::default(),
        _ => {}
    }
    for side in [&mut rule.ingress, &mut rule.egress] {
        match fault {
            Is::OverEnforced => drop(side.allow.pop()),
            Is::DenyIgnored => side.deny.clear(),
            Is::DefaultDenyMissing => side.default_deny = false,
            Is::DefaultDenyForced => side.default_deny |= !side.allow.is_empty() || !side.deny.is_empty(),
            _ => {}
        }
        for clause in side.allow.iter_mut().chain(&mut side.deny) {
            if fault == Is::AuthenticationIgnored {
                clause.authentication = None;
            }
            bend_peers(&mut clause.peers, fault);
            bend_ports(&mut clause.ports, fault);
        }
    }
}

fn bend_peers(peers: &mut Peers, fault: PolicyFault) {
    let Peers::Of(peers) = peers else { return };
    if fault == Is::EntitiesIgnored {
        peers.retain(|peer| !matches!(peer, Peer::Entity(_)));
    }
    if fault == Is::NamesMatchNothing {
        peers.retain(|peer| !matches!(peer, Peer::Name(_)));
    }
    for peer in peers {
        match (peer, fault) {
            (peer @ Peer::Name(_), Is::NamesIgnored) => *peer = Peer::Entity(Entity::All),
            (Peer::Cidr { except, .. }, Is::ExceptIgnored) => except.clear(),
            (peer @ Peer::Cidr { .. }, Is::CidrsMatchPods) => *peer = Peer::Entity(Entity::All),
            (Peer::Labels(selector), Is::NamespaceIgnored) => {
                selector
                    .0
                    .retain(|it| it.key != NAMESPACE && !it.key.starts_with(NAMESPACE_LABELS));
            }
            (Peer::Labels(selector), Is::ClusterLabelIgnored) => selector.0.retain(|it| it.key != CLUSTER),
            (Peer::Labels(selector), Is::ExpressionsIgnored) => selector.0.retain(|it| it.has_one_value()),
            _ => {}
        }
    }
}

fn bend_ports(ports: &mut Ports, fault: PolicyFault) {
    match (ports, fault) {
        (Ports::Icmp(types), Is::IcmpIgnored) => types.clear(),
        (Ports::List(rules), _) => {
            for rule in rules {
                match (fault, &rule.layer7) {
                    (Is::Layer7Ignored, Some(Layer7::Http(_))) | (Is::DnsNotRefused, Some(Layer7::Dns(_))) => {
                        rule.layer7 = None;
                    }
                    (Is::PortIgnored, None) => {
                        for port in &mut rule.ports {
                            if matches!(port.number, PortNumber::Range(..)) {
                                port.number = PortNumber::All;
                            }
                        }
                    }
                    (Is::NamedPortIgnored, _) => {
                        rule.ports.retain(|port| !matches!(port.number, PortNumber::Named(_)));
                    }
                    _ => {}
                }
            }
        }
        _ => {}
    }
}
