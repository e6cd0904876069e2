//! Default deny, and deny rules over allowing ones (docs.cilium.io, "Policy Enforcement Modes", "Deny Policies").

use super::{both_ways, both_ways_and_ping, inbound};
use crate::policy::case::{Case, Family};
use crate::kit::object::policy::cilium;
use meshproof_contract::{CheckText, ClaimKind, Scope};
use serde_json::json;

const INGRESS: Case = Case {
    name: "default deny ingress",
    policies: |scene| vec![cilium(json!({"endpointSelector": scene.selector(), "ingress": [{}]}))],
    cells: both_ways_and_ping,
};
const EGRESS: Case = Case {
    name: "default deny egress",
    policies: |scene| vec![cilium(json!({"endpointSelector": scene.selector(), "egress": [{}]}))],
    cells: both_ways_and_ping,
};

/// Nothing gets in.
pub const DEFAULT_DENY_INGRESS: Family = Family {
    id: "policy::default_deny_ingress",
    text: CheckText {
        title: "A policy that admits nobody keeps every pod out, and lets the selected pods still ask others",
        proves: "Ingress policies are enforced on the nodes of the selected pods, for TCP, UDP and ICMP; egress of the same pods and the answers to it are untouched.",
        how: "A policy with one empty ingress rule selects a group of pods. Every cell (from, to, port) is measured before it, under it and after its removal, with the expectation computed from the policy's text by the harness's own rules.",
        control: "Each cell must be open before the policy and after it; a denied cell must be a silent drop, neither refused nor reset; the egress cells are open all the while.",
        when_red: "The finding names cells and the deciding rule. `kubectl -n kube-system exec CILIUM-POD-OF-THE-NODE -- cilium-dbg endpoint list` shows whether ingress enforcement is on for the pod; `cilium-dbg bpf policy get --all` what the data path has.",
    },
    scope: Scope::Cluster,
    claim: ClaimKind::Policy,
    faults: &[
        "policy-ingress-ignored",
        "policy-default-deny-missing",
        "policy-refused-instead-of-dropped",
    ],
    cases: &[INGRESS],
};

/// Nothing gets out.
pub const DEFAULT_DENY_EGRESS: Family = Family {
    id: "policy::default_deny_egress",
    text: CheckText {
        title: "A policy that lets nothing out keeps the selected pods from asking, and lets them still answer",
        proves: "Egress policies are enforced where the selected pods run, for TCP, UDP and ICMP; ingress of the same pods and their answers are untouched.",
        how: "A policy with one empty egress rule selects a group of pods; every cell is measured before it, under it and after its removal.",
        control: "Each cell must be open before the policy and after it; a denied cell must be a silent drop; the ingress cells are open all the while.",
        when_red: "`kubectl -n kube-system exec CILIUM-POD-OF-THE-NODE -- cilium-dbg endpoint list` shows whether egress enforcement is on for the pod named.",
    },
    scope: Scope::Cluster,
    claim: ClaimKind::Policy,
    faults: &["policy-egress-ignored", "policy-default-deny-missing"],
    cases: &[EGRESS],
};

/// The same between clusters.
pub const DEFAULT_DENY_ACROSS: Family = Family {
    id: "policy::default_deny_across",
    text: CheckText {
        title: "Default deny holds against pods of the other cluster, in both directions of traffic",
        proves: "A policy is enforced for traffic that comes over the mesh just as for local traffic, on ingress and on egress, and comes off again.",
        how: "The group is in the cluster where the direction ends, its neighbours in both. A policy with one empty ingress rule, then one with an empty egress rule; every cell before, under and after.",
        control: "Each cell must be open before the policy and after it, so the path over the mesh works; a denied cell must be a silent drop.",
        when_red: "Only the other cluster's cells red: `kubectl -n kube-system exec CILIUM-POD -- cilium-dbg bpf ipcache list` on the node named must know the other cluster's pods by their identities.",
    },
    scope: Scope::Direction,
    claim: ClaimKind::Policy,
    faults: &[
        "policy-ingress-ignored",
        "policy-egress-ignored",
        "policy-default-deny-missing",
    ],
    cases: &[INGRESS, EGRESS],
};

/// Deny beats allow.
pub const DENY_OVER_ALLOW: Family = Family {
    id: "policy::deny_over_allow",
    text: CheckText {
        title: "A deny rule beats every allowing rule, whichever policy holds it",
        proves: "Deny rules are enforced, take precedence over rules that allow the same traffic, in the same policy or another one, and deny no more than they say.",
        how: "One policy admits everybody and denies pods of one label; then two policies, of which one admits everybody and the other denies one port. Every cell before, under and after.",
        control: "The cells that only the allowing rule is about stay open; denied ones are open before and after.",
        when_red: "`kubectl -n kube-system exec CILIUM-POD-OF-THE-NODE -- cilium-dbg policy get` must list the deny rule; `cilium-dbg bpf policy get --all` must show it as Deny.",
    },
    scope: Scope::Cluster,
    claim: ClaimKind::Policy,
    faults: &["policy-deny-ignored"],
    cases: &[
        Case {
            name: "deny by label over allow all",
            policies: |scene| {
                vec![cilium(json!({
                    "endpointSelector": scene.selector(),
                    "ingress": [{"fromEntities": ["all"]}],
                    "ingressDeny": [{"fromEndpoints": [{"matchLabels": {"role": "stranger"}}]}],
                }))]
            },
            cells: inbound,
        },
        Case {
            name: "deny of a port in a policy of its own",
            policies: |scene| {
                vec![
                    cilium(json!({"endpointSelector": scene.selector(), "ingress": [{"fromEntities": ["all"]}]})),
                    cilium(json!({
                        "endpointSelector": scene.selector(),
                        "ingressDeny": [{"toPorts": [{"ports": [{"port": "8081", "protocol": "TCP"}]}]}],
                    })),
                ]
            },
            cells: inbound,
        },
    ],
};

/// Policies that switch default deny off.
pub const NO_DEFAULT_DENY: Family = Family {
    id: "policy::no_default_deny",
    text: CheckText {
        title: "A policy with enableDefaultDeny false closes nothing but what it denies",
        proves: "`enableDefaultDeny: {ingress: false, egress: false}` keeps the selected pods open for what no rule is about, while the policy's deny rules hold.",
        how: "A policy that allows one neighbour, denies another and switches default deny off, in both directions; every cell before, under and after.",
        control: "The denied neighbour's cells show that the policy is in force while all others stay open.",
        when_red: "`kubectl get ciliumnetworkpolicies -A` and the agent's version: `cilium-dbg version`; the field exists since Cilium 1.16.",
    },
    scope: Scope::Cluster,
    claim: ClaimKind::Policy,
    faults: &["policy-default-deny-forced", "policy-deny-ignored"],
    cases: &[Case {
        name: "default deny switched off",
        policies: |scene| {
            vec![cilium(json!({
                "endpointSelector": scene.selector(),
                "enableDefaultDeny": {"ingress": false, "egress": false},
                "ingress": [{"fromEndpoints": [{"matchLabels": {"role": "caller"}}]}],
                "ingressDeny": [{"fromEndpoints": [{"matchLabels": {"role": "stranger"}}]}],
                "egress": [{"toEndpoints": [{"matchLabels": {"role": "caller"}}]}],
                "egressDeny": [{"toEndpoints": [{"matchLabels": {"role": "stranger"}}]}],
            }))]
        },
        cells: both_ways,
    }],
};
