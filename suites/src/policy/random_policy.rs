//! Small random policies: from a seed, so that each can be made again, and simplified to the least that still deviates.

mod numbers;
mod object;

pub use numbers::RandomNumbers;

/// A kind of policy object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Cilium,
    ClusterWide,
    Kubernetes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Ingress,
    Egress,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    Allow,
    Deny,
}

/// Whom a rule matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Peer {
    Any,
    Labels,
    OtherLabels,
    NotOtherLabels,
    OtherNamespace,
    Account,
    Nobody,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ports {
    Any,
    Http,
    Tcp,
    Udp,
    NamedTcp,
    Range,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rule {
    side: Side,
    effect: Effect,
    peer: Peer,
    ports: Ports,
}

/// A policy made of random choices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RandomPolicy {
    kind: Kind,
    rules: Vec<Rule>,
}

impl RandomPolicy {
    /// The next policy. What is more usual is listed more often.
    pub fn next(numbers: &mut RandomNumbers) -> Self {
        let kind = numbers.choose(&[
            Kind::Cilium,
            Kind::Cilium,
            Kind::Cilium,
            Kind::ClusterWide,
            Kind::Kubernetes,
        ]);
        let count = numbers.choose(&[1, 2, 2, 3, 4]);
        let rules = (0..count).map(|_| {
            let effect = numbers.choose(&[Effect::Allow, Effect::Allow, Effect::Allow, Effect::Deny]);
            Rule {
                side: numbers.choose(&[Side::Ingress, Side::Ingress, Side::Egress]),
                effect: if kind == Kind::Kubernetes {
                    Effect::Allow
                } else {
                    effect
                },
                peer: numbers.choose(&[
                    Peer::Any,
                    Peer::Labels,
                    Peer::Labels,
                    Peer::OtherLabels,
                    Peer::NotOtherLabels,
                    Peer::OtherNamespace,
                    Peer::Account,
                    Peer::Nobody,
                ]),
                ports: numbers.choose(&[
                    Ports::Any,
                    Ports::Http,
                    Ports::Tcp,
                    Ports::Udp,
                    Ports::NamedTcp,
                    Ports::Range,
                ]),
            }
        });
        let rules = rules.collect();
        Self { kind, rules }
    }

    /// Simpler ones, the simplest first: one rule less, then a rule without its ports.
    pub fn simpler(&self) -> Vec<Self> {
        let mut all = Vec::new();
        if self.rules.len() > 1 {
            all.extend((0..self.rules.len()).map(|index| {
                let mut policy = self.clone();
                policy.rules.remove(index);
                policy
            }));
        }
        for (index, rule) in self.rules.iter().enumerate() {
            if rule.ports != Ports::Any {
                let mut policy = self.clone();
                policy.rules[index].ports = Ports::Any;
                all.push(policy);
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_policies_and_another_seed_others() {
        let made = |seed| {
            let mut numbers = RandomNumbers::from_seed(seed);
            (0..20).map(|_| RandomPolicy::next(&mut numbers)).collect::<Vec<_>>()
        };
        assert_eq!(made(7), made(7));
        assert_ne!(made(7), made(8));
    }

    #[test]
    fn simplifying_ends() {
        let mut policy = RandomPolicy::next(&mut RandomNumbers::from_seed(3));
        let mut steps = 0;
        while let Some(simpler) = policy.simpler().into_iter().next() {
            policy = simpler;
            steps += 1;
            assert!(steps < 20, "each is simpler than the one before");
        }
        assert_eq!(policy.rules.len(), 1);
        assert_eq!(policy.rules[0].ports, Ports::Any);
    }
}
