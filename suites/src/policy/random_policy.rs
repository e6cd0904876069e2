//! Small policies drawn at random: seeded, so that each can be drawn again, and shrunk to the least that still deviates.

use crate::kit::object::policy::{cilium, cluster_wide, kubernetes};
use super::scene::Scene;
use super::ward::LABEL;
use serde_json::{Value, json};

/// A sequence of numbers that look drawn (Vigna, SplitMix64).
#[derive(Clone, Debug)]
pub struct Draw(u64);

impl Draw {
    /// Begins at a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[(self.next() % choices.len() as u64) as usize]
    }
}

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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Peer {
    Any,
    Caller,
    Stranger,
    NotStranger,
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

/// One rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Clause {
    side: Side,
    effect: Effect,
    peer: Peer,
    ports: Ports,
}

/// A policy as drawn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sketch {
    kind: Kind,
    clauses: Vec<Clause>,
}

impl Sketch {
    /// Draws one.
    pub fn draw(draw: &mut Draw) -> Self {
        let kind = draw.of(&[
            Kind::Cilium,
            Kind::Cilium,
            Kind::Cilium,
            Kind::ClusterWide,
            Kind::Kubernetes,
        ]);
        let number = draw.of(&[1, 2, 2, 3, 4]);
        let clauses = (0..number).map(|_| {
            let effect = draw.of(&[Effect::Allow, Effect::Allow, Effect::Allow, Effect::Deny]);
            Clause {
                side: draw.of(&[Side::Ingress, Side::Ingress, Side::Egress]),
                effect: if kind == Kind::Kubernetes {
                    Effect::Allow
                } else {
                    effect
                },
                peer: draw.of(&[
                    Peer::Any,
                    Peer::Caller,
                    Peer::Caller,
                    Peer::Stranger,
                    Peer::NotStranger,
                    Peer::OtherNamespace,
                    Peer::Account,
                    Peer::Nobody,
                ]),
                ports: draw.of(&[
                    Ports::Any,
                    Ports::Http,
                    Ports::Tcp,
                    Ports::Udp,
                    Ports::NamedTcp,
                    Ports::Range,
                ]),
            }
        });
        Self {
            kind,
            clauses: clauses.collect(),
        }
    }

    /// Simpler ones, the simplest first: a clause less, then a clause without its ports.
    pub fn simpler(&self) -> Vec<Sketch> {
        let mut all = Vec::new();
        if self.clauses.len() > 1 {
            all.extend((0..self.clauses.len()).map(|gone| {
                let mut sketch = self.clone();
                sketch.clauses.remove(gone);
                sketch
            }));
        }
        for (at, clause) in self.clauses.iter().enumerate() {
            if clause.ports != Ports::Any {
                let mut sketch = self.clone();
                sketch.clauses[at].ports = Ports::Any;
                all.push(sketch);
            }
        }
        all
    }

    /// The object.
    pub fn object(&self, scene: &Scene) -> Value {
        match self.kind {
            Kind::Cilium => cilium(self.cilium_spec(scene, scene.selector())),
            Kind::ClusterWide => {
                let mut selector = scene.selector();
                selector["matchLabels"]["k8s:io.kubernetes.pod.namespace"] = json!(scene.namespace);
                cluster_wide(self.cilium_spec(scene, selector))
            }
            Kind::Kubernetes => kubernetes(self.kubernetes_spec(scene)),
        }
    }

    fn cilium_spec(&self, scene: &Scene, selector: Value) -> Value {
        let mut spec = json!({"endpointSelector": selector});
        for clause in &self.clauses {
            let (section, peers) = match (clause.side, clause.effect) {
                (Side::Ingress, Effect::Allow) => ("ingress", "fromEndpoints"),
                (Side::Ingress, Effect::Deny) => ("ingressDeny", "fromEndpoints"),
                (Side::Egress, Effect::Allow) => ("egress", "toEndpoints"),
                (Side::Egress, Effect::Deny) => ("egressDeny", "toEndpoints"),
            };
            let mut rule = json!({});
            match clause.peer {
                Peer::Any => {
                    let entities = if clause.side == Side::Ingress {
                        "fromEntities"
                    } else {
                        "toEntities"
                    };
                    rule[entities] = json!(["all"]);
                }
                Peer::Nobody => rule[peers] = json!([{"matchLabels": {"role": "nobody"}}]),
                peer => rule[peers] = json!([selector_of(peer, scene)]),
            }
            if let Some(port) = clause.ports.cilium() {
                rule["toPorts"] = json!([{"ports": [port]}]);
            }
            match spec[section].as_array_mut() {
                Some(rules) => rules.push(rule),
                None => spec[section] = json!([rule]),
            }
        }
        spec
    }

    fn kubernetes_spec(&self, scene: &Scene) -> Value {
        let mut spec = json!({"podSelector": {"matchLabels": {LABEL: scene.selector()["matchLabels"][LABEL]}}});
        let mut types = Vec::new();
        for clause in &self.clauses {
            let (section, peers, name) = match clause.side {
                Side::Ingress => ("ingress", "from", "Ingress"),
                Side::Egress => ("egress", "to", "Egress"),
            };
            if !types.contains(&name) {
                types.push(name);
            }
            let mut rule = json!({});
            let pods = |labels: Value| json!([{"podSelector": labels}]);
            match clause.peer {
                Peer::Any => {}
                Peer::Caller => rule[peers] = pods(json!({"matchLabels": {"role": "caller"}})),
                Peer::Stranger | Peer::Account => rule[peers] = pods(json!({"matchLabels": {"role": "stranger"}})),
                Peer::NotStranger => {
                    rule[peers] = pods(json!({"matchExpressions": [
                        {"key": "role", "operator": "NotIn", "values": ["stranger"]},
                    ]}));
                }
                Peer::OtherNamespace => {
                    let name = super::cases::other_namespace(scene);
                    let labels = json!({"matchLabels": {"kubernetes.io/metadata.name": name}});
                    rule[peers] = json!([{"namespaceSelector": labels}]);
                }
                Peer::Nobody => rule[peers] = pods(json!({"matchLabels": {"role": "nobody"}})),
            }
            if let Some(port) = clause.ports.kubernetes() {
                rule["ports"] = json!([port]);
            }
            match spec[section].as_array_mut() {
                Some(rules) => rules.push(rule),
                None => spec[section] = json!([rule]),
            }
        }
        spec["policyTypes"] = json!(types);
        spec
    }
}

fn selector_of(peer: Peer, scene: &Scene) -> Value {
    match peer {
        Peer::Caller => json!({"matchLabels": {"role": "caller"}}),
        Peer::Stranger => json!({"matchLabels": {"role": "stranger"}}),
        Peer::NotStranger => {
            json!({"matchExpressions": [{"key": "role", "operator": "NotIn", "values": ["stranger"]}]})
        }
        Peer::OtherNamespace => {
            json!({"matchLabels": {"k8s:io.kubernetes.pod.namespace": super::cases::other_namespace(scene)}})
        }
        Peer::Account => json!({"matchLabels": {"io.cilium.k8s.policy.serviceaccount": "meshproof-stranger"}}),
        Peer::Any | Peer::Nobody => json!({}),
    }
}

impl Ports {
    fn cilium(self) -> Option<Value> {
        Some(match self {
            Ports::Any => return None,
            Ports::Http => json!({"port": "8080", "protocol": "TCP"}),
            Ports::Tcp => json!({"port": "8081", "protocol": "TCP"}),
            Ports::Udp => json!({"port": "8082", "protocol": "UDP"}),
            Ports::NamedTcp => json!({"port": "mp-tcp", "protocol": "TCP"}),
            Ports::Range => json!({"port": "8080", "endPort": 8081, "protocol": "ANY"}),
        })
    }

    fn kubernetes(self) -> Option<Value> {
        Some(match self {
            Ports::Any => return None,
            Ports::Http => json!({"port": 8080, "protocol": "TCP"}),
            Ports::Tcp => json!({"port": 8081, "protocol": "TCP"}),
            Ports::Udp => json!({"port": 8082, "protocol": "UDP"}),
            Ports::NamedTcp => json!({"port": "mp-tcp", "protocol": "TCP"}),
            Ports::Range => json!({"port": 8080, "endPort": 8081, "protocol": "TCP"}),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_draws_the_same_and_another_seed_something_else() {
        let drawn = |seed| {
            let mut draw = Draw::new(seed);
            (0..20).map(|_| Sketch::draw(&mut draw)).collect::<Vec<_>>()
        };
        assert_eq!(drawn(7), drawn(7));
        assert_ne!(drawn(7), drawn(8));
    }

    #[test]
    fn shrinking_ends() {
        let mut sketch = Sketch::draw(&mut Draw::new(3));
        let mut steps = 0;
        while let Some(simpler) = sketch.simpler().into_iter().next() {
            sketch = simpler;
            steps += 1;
            assert!(steps < 20, "each is simpler than the one before");
        }
        assert_eq!(sketch.clauses.len(), 1);
        assert_eq!(sketch.clauses[0].ports, Ports::Any);
    }
}
