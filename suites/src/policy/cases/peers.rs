//! Whom a rule matches: labels, expressions, namespaces, service accounts, addresses (docs.cilium.io, "Layer 3
//! Policies").

use super::{both_ways, inbound, outbound};
use crate::{
    kit::object::policy::cilium,
    policy::{
        case::{Case, PolicyCheck},
        fixture::Fixture,
    },
};
use meshproof_contract::{CheckText, ClaimKind, Scope};
use serde_json::{Value, json};

const CONTROL: &str = "Each cell must be open before the policy and after its deletion. Cells that the rule admits \
                       stay open under it, and the others must be silently dropped.";
const WHEN_RED: &str = "The finding names the deciding rule. `kubectl --context CONTEXT -n kube-system exec AGENT_POD \
                        -c cilium-agent -- cilium-dbg policy selectors` shows the identities of each selector, \
                        `cilium-dbg identity list` their labels.";

fn from(fixture: &Fixture, peer: Value) -> Vec<Value> {
    vec![cilium(
        json!({"endpointSelector": fixture.selector(), "ingress": [{"fromEndpoints": [peer]}]}),
    )]
}

fn to(fixture: &Fixture, peer: Value) -> Vec<Value> {
    vec![cilium(
        json!({"endpointSelector": fixture.selector(), "egress": [{"toEndpoints": [peer]}]}),
    )]
}

/// `matchLabels`.
pub const LABELS: PolicyCheck = PolicyCheck {
    id: "policy::labels",
    text: CheckText {
        title: "A rule with labels admits the pods that have them, in the policy's namespace only",
        proves: "Label selectors resolve to the right identities, on ingress and egress. A selector without a \
                 namespace selects pods of the policy's own.",
        how: "A policy admits pods of one label; the peers include pods without it and a pod with it in another \
              namespace. Egress is tested in the same way, and every cell is probed before, under and after.",
        control: CONTROL,
        when_red: WHEN_RED,
    },
    scope: Scope::Cluster,
    claim: ClaimKind::Policy,
    faults: &[
        "policy-ingress-ignored",
        "policy-over-enforced",
        "policy-namespace-ignored",
        "ipcache-pods-missing",
    ],
    cases: &[
        Case {
            name: "ingress from a label",
            policies: |fixture| from(fixture, json!({"matchLabels": {"role": "peer"}})),
            cells: inbound,
        },
        Case {
            name: "egress to two labels",
            policies: |fixture| {
                to(
                    fixture,
                    json!({"matchLabels": {"k8s:role": "peer", "any:tier": "front"}}),
                )
            },
            cells: outbound,
        },
    ],
};

/// `matchExpressions`.
pub const EXPRESSIONS: PolicyCheck = PolicyCheck {
    id: "policy::expressions",
    text: CheckText {
        title: "Selectors with In, NotIn, Exists and DoesNotExist admit exactly the pods that match",
        proves: "Each operator of `matchExpressions` resolves to the right identities. NotIn and DoesNotExist also \
                 match pods without the label.",
        how: "Two ingress policies with two operators each are tested side by side. Every cell is probed \
              before, under and after each.",
        control: CONTROL,
        when_red: WHEN_RED,
    },
    scope: Scope::Cluster,
    claim: ClaimKind::Policy,
    faults: &["policy-expressions-ignored"],
    cases: &[
        Case {
            name: "In and Exists",
            policies: |fixture| {
                from(
                    fixture,
                    json!({"matchExpressions": [
                        {"key": "role", "operator": "In", "values": ["other-peer", "nobody"]},
                        {"key": "tier", "operator": "Exists"},
                    ]}),
                )
            },
            cells: inbound,
        },
        Case {
            name: "NotIn and DoesNotExist",
            policies: |fixture| {
                from(
                    fixture,
                    json!({"matchExpressions": [
                        {"key": "role", "operator": "NotIn", "values": ["other-peer"]},
                        {"key": "absent", "operator": "DoesNotExist"},
                    ]}),
                )
            },
            cells: inbound,
        },
    ],
};

/// Namespaces by name and by label.
pub const NAMESPACES: PolicyCheck = PolicyCheck {
    id: "policy::namespaces",
    text: CheckText {
        title: "A rule that names another namespace admits its pods, and not those of its own",
        proves: "Identities distinguish namespaces, by name and by the namespaces' labels.",
        how: "One policy admits pods of a second namespace by `io.kubernetes.pod.namespace`, another admits pods of \
              its own namespace by a namespace label. Every cell is probed before, under and after each.",
        control: CONTROL,
        when_red: WHEN_RED,
    },
    scope: Scope::Cluster,
    claim: ClaimKind::Policy,
    faults: &["policy-namespace-ignored"],
    cases: &[
        Case {
            name: "another namespace by name",
            policies: |fixture| {
                from(
                    fixture,
                    json!({"matchLabels": {
                        "k8s:io.kubernetes.pod.namespace": fixture.other_namespace(), "role": "peer",
                    }}),
                )
            },
            cells: inbound,
        },
        Case {
            name: "the own namespace by a label of it",
            policies: |fixture| {
                from(
                    fixture,
                    json!({"matchLabels": {
                        "k8s:io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name": fixture.namespace,
                    }}),
                )
            },
            cells: inbound,
        },
    ],
};

/// Service accounts.
pub const SERVICE_ACCOUNTS: PolicyCheck = PolicyCheck {
    id: "policy::service_accounts",
    text: CheckText {
        title: "A rule with a service account admits the pods that run under it",
        proves: "The service account is part of a pod's identity, on ingress and egress.",
        how: "One peer runs under a service account of its own. One policy admits that account, another allows egress \
              to the default account only; every cell is probed before, under and after each.",
        control: CONTROL,
        when_red: WHEN_RED,
    },
    scope: Scope::Cluster,
    claim: ClaimKind::Policy,
    faults: &["policy-ingress-ignored", "policy-egress-ignored"],
    cases: &[
        Case {
            name: "ingress from an account",
            policies: |fixture| {
                from(
                    fixture,
                    json!({"matchLabels": {"io.cilium.k8s.policy.serviceaccount": "meshproof-other-peer"}}),
                )
            },
            cells: inbound,
        },
        Case {
            name: "egress to an account",
            policies: |fixture| {
                to(
                    fixture,
                    json!({"matchLabels": {"io.cilium.k8s.policy.serviceaccount": "default"}}),
                )
            },
            cells: outbound,
        },
    ],
};

/// CIDR rules and the addresses of pods.
pub const CIDR: PolicyCheck = PolicyCheck {
    id: "policy::cidr",
    text: CheckText {
        title: "A rule with an address range opens nothing between pods, with or without exceptions",
        proves: "CIDR rules match addresses outside the mesh. Pods have identities of their own and stay closed even \
                 if the range contains their addresses.",
        how: "A policy allows ingress from 0.0.0.0/0 and egress to half of it with an exception; every cell is probed \
              before, under and after. Where `policy-cidr-match-mode` contains `nodes`, nodes are expected to match.",
        control: CONTROL,
        when_red: "`kubectl --context CONTEXT -n kube-system exec AGENT_POD -c cilium-agent -- cilium-dbg bpf ipcache \
                   list`: a pod's address must have the pod's own identity there, not one of a CIDR, which begin at \
                   16777217.",
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
        policies: |fixture| {
            vec![cilium(json!({
                "endpointSelector": fixture.selector(),
                "ingress": [{"fromCIDR": ["0.0.0.0/0"]}],
                "egress": [{"toCIDRSet": [{"cidr": "0.0.0.0/1", "except": ["10.0.0.0/16"]}]}],
            }))]
        },
        cells: both_ways,
    }],
};
