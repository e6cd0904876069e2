//! How faults of the enforcement change rules before they are put in force.

use super::{
    decide::{Refusal, RuleSet},
    rule::{Clause, Entity, Layer7, Peer, Peers, PolicyKind, PortNumber, Ports, Rule},
    selector::{CLUSTER, NAMESPACE, NAMESPACE_LABELS},
};
use crate::fault::{ActiveFaults, Fault, Layer};

/// The share of what is refused that passes all the same.
const LEAK: f64 = 0.33;

/// The faults in force that change rules or when they are enforced.
pub(super) fn active(faults: &ActiveFaults) -> Vec<Fault> {
    let all = faults.all().into_iter();
    all.filter(|fault| fault.spec().layer == Layer::Policy || *fault == Fault::AgentSettingsDiffer)
        .collect()
}

/// The rules as they are put in force with these faults.
pub(super) fn mutated(mut set: RuleSet, faults: &[Fault]) -> RuleSet {
    if faults.is_empty() {
        return set;
    }
    for fault in faults {
        match fault {
            Fault::PolicyNotEnforcedOnOneNode => set.rules.clear(),
            Fault::PolicyLeaksOnNode => set.leak = LEAK,
            Fault::AgentSettingsDiffer => (set.rules, set.always) = (Vec::new(), false),
            Fault::PolicyRefusedInsteadOfDropped => set.refusal = Refusal::Answer,
            Fault::PolicyFqdnLabelledOnce => set.labels_once = true,
            Fault::PolicyCcnpIgnored => set.rules.retain(|rule| rule.kind != PolicyKind::Clusterwide),
            Fault::PolicyIpBlockRefused => set.rules.retain(|rule| !admits_block(rule)),
            Fault::PolicyKnpIgnored => set.rules.retain(|rule| rule.kind != PolicyKind::Kubernetes),
            _ => {}
        }
    }
    for rule in &mut set.rules {
        let mut mutated = (**rule).clone();
        for fault in faults {
            mutate_rule(&mut mutated, *fault);
        }
        *rule = std::sync::Arc::new(mutated);
    }
    set
}

/// Whether it is a NetworkPolicy that `policy-default-local-cluster` would refuse (semantics A37).
fn admits_block(rule: &Rule) -> bool {
    let is_block = |peer: &Peer| matches!(peer, Peer::Cidr { .. });
    let mut clauses = rule.ingress.allow.iter();
    let has_block = |clause: &Clause| matches!(&clause.peers, Peers::Of(peers) if peers.iter().any(is_block));
    rule.kind == PolicyKind::Kubernetes && clauses.any(has_block)
}

fn mutate_rule(rule: &mut Rule, fault: Fault) {
    match fault {
        Fault::PolicyEgressIgnored | Fault::PolicyEgressIgnoredOnNode => rule.egress = super::rule::Side::default(),
        Fault::PolicyIngressIgnored => rule.ingress = super::rule::Side::default(),
        _ => {}
    }
    for side in [&mut rule.ingress, &mut rule.egress] {
        match fault {
            Fault::PolicyOverEnforced => drop(side.allow.pop()),
            Fault::PolicyDenyIgnored => side.deny.clear(),
            Fault::PolicyDefaultDenyMissing => side.default_deny = false,
            Fault::PolicyDefaultDenyForced => side.default_deny |= !side.allow.is_empty() || !side.deny.is_empty(),
            _ => {}
        }
        for clause in side.allow.iter_mut().chain(&mut side.deny) {
            if fault == Fault::PolicyAuthIgnored {
                clause.authentication = None;
            }
            mutate_peers(&mut clause.peers, fault);
            mutate_ports(&mut clause.ports, fault);
        }
    }
}

fn mutate_peers(peers: &mut Peers, fault: Fault) {
    let Peers::Of(peers) = peers else { return };
    if fault == Fault::PolicyEntitiesIgnored {
        peers.retain(|peer| !matches!(peer, Peer::Entity(_)));
    }
    if fault == Fault::PolicyFqdnMatchesNothing {
        peers.retain(|peer| !matches!(peer, Peer::Name(_)));
    }
    for peer in peers {
        match (peer, fault) {
            (peer @ Peer::Name(_), Fault::PolicyFqdnIgnored) => *peer = Peer::Entity(Entity::All),
            (Peer::Cidr { except, .. }, Fault::PolicyCidrExceptIgnored) => except.clear(),
            (peer @ Peer::Cidr { .. }, Fault::PolicyCidrMatchesPods) => *peer = Peer::Entity(Entity::All),
            (Peer::Labels(selector), Fault::PolicyNamespaceIgnored) => {
                selector
                    .0
                    .retain(|it| it.key != NAMESPACE && !it.key.starts_with(NAMESPACE_LABELS));
            }
            (Peer::Labels(selector), Fault::PolicyClusterLabelIgnored) => selector.0.retain(|it| it.key != CLUSTER),
            (Peer::Labels(selector), Fault::PolicyExpressionsIgnored) => selector.0.retain(|it| it.has_one_value()),
            _ => {}
        }
    }
}

fn mutate_ports(ports: &mut Ports, fault: Fault) {
    match (ports, fault) {
        (Ports::Icmp(types), Fault::PolicyIcmpIgnored) => types.clear(),
        (Ports::List(rules), _) => {
            for rule in rules {
                match (fault, &rule.layer7) {
                    (Fault::PolicyL7Ignored | Fault::PolicyL7IgnoredOnNode, Some(Layer7::Http(_)))
                    | (Fault::PolicyDnsNotRefused | Fault::PolicyDnsNotRefusedOnNode, Some(Layer7::Dns(_))) => {
                        rule.layer7 = None;
                    }
                    (Fault::PolicyPortIgnored, None) => {
                        for port in &mut rule.ports {
                            if matches!(port.number, PortNumber::Range(..)) {
                                port.number = PortNumber::All;
                            }
                        }
                    }
                    (Fault::PolicyNamedPortIgnored, _) => {
                        rule.ports.retain(|port| !matches!(port.number, PortNumber::Named(_)));
                    }
                    _ => {}
                }
            }
        }
        _ => {}
    }
}
