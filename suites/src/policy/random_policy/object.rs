//! Random policies as objects.

use super::{Effect, Kind, Peer, Ports, RandomPolicy, Side};
use crate::{
    kit::object::policy::{cilium, cluster_wide, kubernetes},
    policy::fixture::Fixture,
};
use serde_json::{Value, json};

impl RandomPolicy {
    /// The object, without name and namespace.
    pub fn object(&self, fixture: &Fixture) -> Value {
        match self.kind {
            Kind::Cilium => cilium(self.cilium_spec(fixture, fixture.selector())),
            Kind::ClusterWide => cluster_wide(self.cilium_spec(fixture, fixture.cluster_wide_selector())),
            Kind::Kubernetes => kubernetes(self.kubernetes_spec(fixture)),
        }
    }

    fn cilium_spec(&self, fixture: &Fixture, selector: Value) -> Value {
        let mut spec = json!({"endpointSelector": selector});
        for rule in &self.rules {
            let (section, peers) = match (rule.side, rule.effect) {
                (Side::Ingress, Effect::Allow) => ("ingress", "fromEndpoints"),
                (Side::Ingress, Effect::Deny) => ("ingressDeny", "fromEndpoints"),
                (Side::Egress, Effect::Allow) => ("egress", "toEndpoints"),
                (Side::Egress, Effect::Deny) => ("egressDeny", "toEndpoints"),
            };
            let mut object = json!({});
            match rule.peer {
                Peer::Any => {
                    let entities = match rule.side {
                        Side::Ingress => "fromEntities",
                        Side::Egress => "toEntities",
                    };
                    object[entities] = json!(["all"]);
                }
                peer => object[peers] = json!([cilium_selector(peer, fixture)]),
            }
            if let Some(port) = rule.ports.cilium() {
                object["toPorts"] = json!([{"ports": [port]}]);
            }
            append(&mut spec, section, object);
        }
        spec
    }

    fn kubernetes_spec(&self, fixture: &Fixture) -> Value {
        let mut spec = json!({"podSelector": fixture.selector()});
        let mut types = Vec::new();
        for rule in &self.rules {
            let (section, peers, name) = match rule.side {
                Side::Ingress => ("ingress", "from", "Ingress"),
                Side::Egress => ("egress", "to", "Egress"),
            };
            if !types.contains(&name) {
                types.push(name);
            }
            let mut object = json!({});
            if let Some(peer) = kubernetes_peer(rule.peer, fixture) {
                object[peers] = json!([peer]);
            }
            if let Some(port) = rule.ports.kubernetes() {
                object["ports"] = json!([port]);
            }
            append(&mut spec, section, object);
        }
        spec["policyTypes"] = json!(types);
        spec
    }
}

fn append(spec: &mut Value, section: &str, rule: Value) {
    match spec[section].as_array_mut() {
        Some(rules) => rules.push(rule),
        None => spec[section] = json!([rule]),
    }
}

fn cilium_selector(peer: Peer, fixture: &Fixture) -> Value {
    match peer {
        Peer::Labels => json!({"matchLabels": {"role": "peer"}}),
        Peer::OtherLabels => json!({"matchLabels": {"role": "other-peer"}}),
        Peer::NotOtherLabels => {
            json!({"matchExpressions": [{"key": "role", "operator": "NotIn", "values": ["other-peer"]}]})
        }
        Peer::OtherNamespace => {
            json!({"matchLabels": {"k8s:io.kubernetes.pod.namespace": fixture.other_namespace()}})
        }
        Peer::Account => json!({"matchLabels": {"io.cilium.k8s.policy.serviceaccount": "meshproof-other-peer"}}),
        Peer::Nobody => json!({"matchLabels": {"role": "nobody"}}),
        Peer::Any => json!({}),
    }
}

/// An element of `from` or `to`; none admits everybody. Kubernetes has no selector for service accounts: the label of
/// the pods with that account stands for it.
fn kubernetes_peer(peer: Peer, fixture: &Fixture) -> Option<Value> {
    let pods = |labels: Value| Some(json!({"podSelector": labels}));
    match peer {
        Peer::Any => None,
        Peer::Labels => pods(json!({"matchLabels": {"role": "peer"}})),
        Peer::OtherLabels | Peer::Account => pods(json!({"matchLabels": {"role": "other-peer"}})),
        Peer::NotOtherLabels => pods(json!({"matchExpressions": [
            {"key": "role", "operator": "NotIn", "values": ["other-peer"]},
        ]})),
        Peer::OtherNamespace => {
            let labels = json!({"matchLabels": {"kubernetes.io/metadata.name": fixture.other_namespace()}});
            Some(json!({"namespaceSelector": labels}))
        }
        Peer::Nobody => pods(json!({"matchLabels": {"role": "nobody"}})),
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
