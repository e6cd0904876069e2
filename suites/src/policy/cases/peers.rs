//! Who a rule is about: labels, expressions, namespaces, service accounts, addresses (docs.cilium.io, "Layer 3 Policies").

use super::{both_ways, inbound, other_namespace, outbound};
use crate::policy::case::{Case, Family};
use crate::kit::object::policy::cilium;
use crate::policy::scene::Scene;
use meshproof_contract::{CheckText, ClaimKind, Scope};
use serde_json::{Value, json};

const CONTROL: &str = "Each cell must be open before the policy and after it; those that the rule admits stay open under it, the others must be dropped without a word.";
const WHEN_RED: &str = "The finding names the deciding rule. `kubectl -n kube-system exec CILIUM-POD-OF-THE-NODE -- cilium-dbg policy selectors` shows which identities each selector has, `cilium-dbg identity list` their labels.";

fn from(scene: &Scene, peer: Value) -> Vec<Value> {
    vec![cilium(
        json!({"endpointSelector": scene.selector(), "ingress": [{"fromEndpoints": [peer]}]}),
    )]
}

fn to(scene: &Scene, peer: Value) -> Vec<Value> {
    vec![cilium(
        json!({"endpointSelector": scene.selector(), "egress": [{"toEndpoints": [peer]}]}),
    )]
}

/// `matchLabels`.
pub const LABELS: Family = Family {
    id: "policy::labels",
    text: CheckText {
        title: "A rule with labels admits the pods that have them, of its own namespace only",
        proves: "Label selectors are resolved to the right identities, on ingress and egress, and a selector that names no namespace means the policy's own.",
        how: "A policy admits pods of one label; among the neighbours are pods without it and a pod with it in another namespace. The same for egress. Every cell before, under and after.",
        control: CONTROL,
        when_red: WHEN_RED,
    },
    scope: Scope::Cluster,
    claim: ClaimKind::Policy,
    faults: &[
        "policy-ingress-ignored",
        "policy-over-enforced",
        "policy-namespace-ignored",
    ],
    cases: &[
        Case {
            name: "ingress from a label",
            policies: |scene| from(scene, json!({"matchLabels": {"role": "caller"}})),
            cells: inbound,
        },
        Case {
            name: "egress to two labels",
            policies: |scene| {
                to(
                    scene,
                    json!({"matchLabels": {"k8s:role": "caller", "any:tier": "front"}}),
                )
            },
            cells: outbound,
        },
    ],
};

/// `matchExpressions`.
pub const EXPRESSIONS: Family = Family {
    id: "policy::expressions",
    text: CheckText {
        title: "Selectors with In, NotIn, Exists and DoesNotExist admit exactly the pods that they describe",
        proves: "Each operator of `matchExpressions` is resolved to the right identities; NotIn and DoesNotExist also hold for pods without the label.",
        how: "Two policies one after the other, with two operators each, on ingress; every cell before, under and after.",
        control: CONTROL,
        when_red: WHEN_RED,
    },
    scope: Scope::Cluster,
    claim: ClaimKind::Policy,
    faults: &["policy-expressions-ignored"],
    cases: &[
        Case {
            name: "In and Exists",
            policies: |scene| {
                from(
                    scene,
                    json!({"matchExpressions": [
                        {"key": "role", "operator": "In", "values": ["stranger", "nobody"]},
                        {"key": "tier", "operator": "Exists"},
                    ]}),
                )
            },
            cells: inbound,
        },
        Case {
            name: "NotIn and DoesNotExist",
            policies: |scene| {
                from(
                    scene,
                    json!({"matchExpressions": [
                        {"key": "role", "operator": "NotIn", "values": ["stranger"]},
                        {"key": "absent", "operator": "DoesNotExist"},
                    ]}),
                )
            },
            cells: inbound,
        },
    ],
};

/// Namespaces by name and by label.
pub const NAMESPACES: Family = Family {
    id: "policy::namespaces",
    text: CheckText {
        title: "A rule that names another namespace admits its pods, and no longer those of its own",
        proves: "Namespaces are told apart in identities, by name and by the namespaces' labels.",
        how: "A policy admits pods of the second namespace by `io.kubernetes.pod.namespace`, another one pods of the own namespace by a label of it; every cell before, under and after.",
        control: CONTROL,
        when_red: WHEN_RED,
    },
    scope: Scope::Cluster,
    claim: ClaimKind::Policy,
    faults: &["policy-namespace-ignored"],
    cases: &[
        Case {
            name: "another namespace by name",
            policies: |scene| {
                from(
                    scene,
                    json!({"matchLabels": {"k8s:io.kubernetes.pod.namespace": other_namespace(scene), "role": "caller"}}),
                )
            },
            cells: inbound,
        },
        Case {
            name: "the own namespace by a label of it",
            policies: |scene| {
                from(
                    scene,
                    json!({"matchLabels": {
                        "k8s:io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name": scene.namespace,
                    }}),
                )
            },
            cells: inbound,
        },
    ],
};

/// Service accounts.
pub const SERVICE_ACCOUNTS: Family = Family {
    id: "policy::service_accounts",
    text: CheckText {
        title: "A rule with a service account admits the pods that run under it",
        proves: "The service account is part of a pod's identity, on ingress and egress.",
        how: "One neighbour runs under an account of its own; a policy admits that account, another one lets the group ask that account only. Every cell before, under and after.",
        control: CONTROL,
        when_red: WHEN_RED,
    },
    scope: Scope::Cluster,
    claim: ClaimKind::Policy,
    faults: &["policy-ingress-ignored", "policy-egress-ignored"],
    cases: &[
        Case {
            name: "ingress from an account",
            policies: |scene| {
                from(
                    scene,
                    json!({"matchLabels": {"io.cilium.k8s.policy.serviceaccount": "meshproof-stranger"}}),
                )
            },
            cells: inbound,
        },
        Case {
            name: "egress to an account",
            policies: |scene| {
                to(
                    scene,
                    json!({"matchLabels": {"io.cilium.k8s.policy.serviceaccount": "default"}}),
                )
            },
            cells: outbound,
        },
    ],
};

/// Addresses of pods are no addresses to CIDR rules.
pub const CIDR: Family = Family {
    id: "policy::cidr",
    text: CheckText {
        title: "A rule with an address range opens nothing between pods, with or without exceptions",
        proves: "CIDR rules are about what is outside of the mesh: pods of the clusters have identities of their own and stay closed even if the range contains their addresses.",
        how: "Policies that admit and let out 0.0.0.0/0, and half of it with an exception; every cell before, under and after. Where `policy-cidr-match-mode` contains `nodes`, nodes count too.",
        control: CONTROL,
        when_red: "`kubectl -n kube-system exec CILIUM-POD-OF-THE-NODE -- cilium-dbg bpf ipcache list`: a pod's address must have its own identity there, not one of a CIDR (those begin at 16777217).",
    },
    scope: Scope::Cluster,
    claim: ClaimKind::Policy,
    faults: &[
        "policy-cidr-matches-pods",
        "policy-ingress-ignored",
        "policy-egress-ignored",
    ],
    cases: &[Case {
        name: "every address, in and out",
        policies: |scene| {
            vec![cilium(json!({
                "endpointSelector": scene.selector(),
                "ingress": [{"fromCIDR": ["0.0.0.0/0"]}],
                "egress": [{"toCIDRSet": [{"cidr": "0.0.0.0/1", "except": ["10.0.0.0/16"]}]}],
            }))]
        },
        cells: both_ways,
    }],
};
