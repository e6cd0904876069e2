//! Rules that contradict each other: Cilium cannot compute the endpoint's policy then and keeps the one before,
//! whatever that was (semantics A15; pkg/policy/rule.go, mergePortProto).

use super::NotModelled;
use crate::model::{Direction, Effect, L7, Peer, Peers, Policy, Port, PortMatch, Ports, Rule};

/// One port of a rule, for one selector of peers.
struct Entry<'a> {
    policy: &'a Policy,
    rule: &'a Rule,
    peer: Option<&'a Peer>,
    port: Option<&'a Port>,
}

/// Fails if two rules for one selector and port ask for different modes of authentication or different proxies.
pub(super) fn none_among(policies: &[&Policy]) -> Result<(), NotModelled> {
    for direction in [Direction::Ingress, Direction::Egress] {
        let entries: Vec<Entry<'_>> = policies.iter().flat_map(|policy| entries(policy, direction)).collect();
        for (number, one) in entries.iter().enumerate() {
            let others = entries[number + 1..].iter().filter(|other| one.is_for_the_same(other));
            for other in others {
                if let Some(what) = one.contradicts(other) {
                    return Err(NotModelled(format!(
                        "{} {} and {} {} ask for different {what} for the same peers and port, and Cilium keeps what \
                         was in force before",
                        one.policy.name, one.rule.place, other.policy.name, other.rule.place
                    )));
                }
            }
        }
    }
    Ok(())
}

fn entries(policy: &Policy, direction: Direction) -> Vec<Entry<'_>> {
    let allowing = policy.side(direction).rules.iter();
    let allowing = allowing.filter(|rule| rule.effect == Effect::Allow);
    let mut found = Vec::new();
    for rule in allowing {
        let peers: Vec<Option<&Peer>> = match &rule.peers {
            Peers::Any => vec![None],
            Peers::Nobody => Vec::new(),
            Peers::OneOf(peers) => peers
                .iter()
                .map(|peer| Some(peer).filter(|p| !p.is_anybody()))
                .collect(),
        };
        let ports: Vec<Option<&Port>> = match &rule.ports {
            Ports::Any => vec![None],
            Ports::OneOf(ports) => ports.iter().map(Some).collect(),
        };
        let pairs = peers
            .iter()
            .flat_map(|peer| ports.iter().map(move |port| (*peer, *port)));
        found.extend(pairs.map(|(peer, port)| Entry {
            policy,
            rule,
            peer,
            port,
        }));
    }
    found
}

impl Entry<'_> {
    fn is_for_the_same(&self, other: &Self) -> bool {
        let ports = match (self.port, other.port) {
            (None, None) => true,
            (Some(one), Some(two)) => one.which == two.which && overlap(one, two),
            _ => false,
        };
        ports && self.peer == other.peer
    }

    fn contradicts(&self, other: &Self) -> Option<&'static str> {
        let modes = (self.rule.authentication, other.rule.authentication);
        if matches!(modes, (Some(one), Some(two)) if one != two) {
            return Some("authentication");
        }
        match (self.port.map(|port| &port.l7), other.port.map(|port| &port.l7)) {
            (Some(L7::Http(_)), Some(L7::Dns(_))) | (Some(L7::Dns(_)), Some(L7::Http(_))) => Some("proxies"),
            _ => None,
        }
    }
}

fn overlap(one: &Port, two: &Port) -> bool {
    one.protocol.is_none() || two.protocol.is_none() || one.protocol == two.protocol
}

/// Whether both are the same single port, by number or by name.
pub(super) fn same_single_port(one: &PortMatch, two: &PortMatch) -> bool {
    let single = match one {
        PortMatch::Range(first, last) => first == last,
        PortMatch::Named(_) => true,
        PortMatch::Any => false,
    };
    single && one == two
}
