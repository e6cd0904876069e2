//! Default deny, and deny rules beside allow rules (docs.cilium.io, "Policy Enforcement Modes", "Deny Policies").

use super::{both_ways, both_ways_and_ping, inbound};
use crate::{
    kit::object::policy::cilium,
    policy::{
        case::{Case, PolicyCheck},
        cell::{GET, Traffic},
        fixture::Fixture,
    },
};
use meshproof_contract::{CheckText, ClaimKind, Scope};
use serde_json::json;

const INGRESS: Case = Case {
    name: "default deny ingress",
    policies: |fixture| vec![cilium(json!({"endpointSelector": fixture.selector(), "ingress": [{}]}))],
    cells: both_ways_and_ping,
};
const EGRESS: Case = Case {
    name: "default deny egress",
    policies: |fixture| vec![cilium(json!({"endpointSelector": fixture.selector(), "egress": [{}]}))],
    cells: both_ways_and_ping,
};

/// An empty ingress rule.
pub const DEFAULT_DENY_INGRESS: PolicyCheck = PolicyCheck {
    id: "policy::default_deny_ingress",
    text: CheckText {
        title: "A policy with an empty ingress rule denies all ingress and leaves egress open",
        proves: "The nodes of the selected pods enforce ingress policies for TCP, UDP and ICMP. Egress of the same \
                 pods, with its replies, is not affected.",
        how: "A policy with one empty ingress rule selects a group of pods. Every cell (source, destination, traffic) \
              is probed before the policy, while it is in force, and after its deletion, and compared with the \
              expectation that the harness computes from the policy.",
        control: "Each cell must be open before the policy and after its deletion. A denied cell must be a silent \
                  drop, neither refused nor reset, and the egress cells must stay open.",
        when_red: "The finding names the cells and the deciding rule. `kubectl --context CONTEXT -n kube-system exec \
                   AGENT_POD -c cilium-agent -- cilium-dbg endpoint list` shows whether ingress enforcement is on for \
                   the pod, and `cilium-dbg bpf policy get --all` what the data path enforces.",
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

/// An empty egress rule.
pub const DEFAULT_DENY_EGRESS: PolicyCheck = PolicyCheck {
    id: "policy::default_deny_egress",
    text: CheckText {
        title: "A policy with an empty egress rule denies all egress and leaves ingress open",
        proves: "The nodes of the selected pods enforce egress policies for TCP, UDP and ICMP. Ingress of the same \
                 pods, with its replies, is not affected.",
        how: "A policy with one empty egress rule selects a group of pods. Every cell is probed before the policy, \
              while it is in force, and after its deletion.",
        control: "Each cell must be open before the policy and after its deletion. A denied cell must be a silent \
                  drop, and the ingress cells must stay open.",
        when_red: "`kubectl --context CONTEXT -n kube-system exec AGENT_POD -c cilium-agent -- cilium-dbg endpoint \
                   list` shows whether egress enforcement is on for the pod.",
    },
    scope: Scope::Cluster,
    claim: ClaimKind::Policy,
    faults: &["policy-egress-ignored", "policy-default-deny-missing"],
    cases: &[EGRESS],
};

/// Both, between clusters.
pub const DEFAULT_DENY_ACROSS: PolicyCheck = PolicyCheck {
    id: "policy::default_deny_across",
    text: CheckText {
        title: "Default deny holds between pods of two clusters, for ingress and egress",
        proves: "Policies are enforced for traffic over the mesh as for local traffic, on ingress and egress, until \
                 they are deleted.",
        how: "The subject pods are in the cluster where the direction ends, their peers in both. A policy with an \
              empty ingress rule is tested, then one with an empty egress rule; every cell is probed before, under \
              and after each.",
        control: "Each cell must be open before the policy and after its deletion, so the path over the mesh works. A \
                  denied cell must be a silent drop.",
        when_red: "If only cells with the other cluster are red: `kubectl --context CONTEXT -n kube-system exec \
                   AGENT_POD -c cilium-agent -- cilium-dbg bpf ipcache list` on the subject pod's node must list the \
                   other cluster's pods with their identities.",
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

/// Deny rules beside allow rules.
pub const DENY_OVER_ALLOW: PolicyCheck = PolicyCheck {
    id: "policy::deny_over_allow",
    text: CheckText {
        title: "A deny rule overrides every allow rule, in the same policy or another",
        proves: "Deny rules are enforced, take precedence over rules that allow the same traffic, the local host's \
                 own admission among them, and deny nothing else.",
        how: "One policy admits everybody and denies pods of one label. Then two policies are applied together: one \
              admits everybody, the other denies one port, also to the agents on the nodes' own network. Every cell \
              is probed before, under and after.",
        control: "Cells that only the allow rule matches stay open. Denied cells must be open before the policy and \
                  after its deletion.",
        when_red: "`kubectl --context CONTEXT -n kube-system exec AGENT_POD -c cilium-agent -- cilium-dbg policy get` \
                   must list the deny rule, and `cilium-dbg bpf policy get --all` must show it as Deny.",
    },
    scope: Scope::Cluster,
    claim: ClaimKind::Policy,
    faults: &["policy-deny-ignored"],
    cases: &[
        Case {
            name: "deny by label over allow all",
            policies: |fixture| {
                vec![cilium(json!({
                    "endpointSelector": fixture.selector(),
                    "ingress": [{"fromEntities": ["all"]}],
                    "ingressDeny": [{"fromEndpoints": [{"matchLabels": {"role": "other-peer"}}]}],
                }))]
            },
            cells: inbound,
        },
        Case {
            name: "deny of a port by a second policy",
            policies: |fixture| {
                vec![
                    cilium(json!({"endpointSelector": fixture.selector(), "ingress": [{"fromEntities": ["all"]}]})),
                    cilium(json!({
                        "endpointSelector": fixture.selector(),
                        "ingressDeny": [{"toPorts": [{"ports": [{"port": "8081", "protocol": "TCP"}]}]}],
                    })),
                ]
            },
            // The local host is admitted without a rule, and a deny rule overrides that, too (semantics A5).
            cells: |fixture, peers| {
                let mut cells = inbound(fixture, peers);
                cells.extend(Fixture::cells(&fixture.hosts, &fixture.subjects, &[GET, Traffic::Tcp]));
                cells
            },
        },
    ],
};

/// Policies that switch default deny off.
pub const NO_DEFAULT_DENY: PolicyCheck = PolicyCheck {
    id: "policy::no_default_deny",
    text: CheckText {
        title: "A policy with enableDefaultDeny set to false blocks only what it denies",
        proves: "With `enableDefaultDeny: {ingress: false, egress: false}` the selected pods stay open to traffic \
                 that no rule matches, while the policy's deny rules hold.",
        how: "A policy allows one peer, denies another and switches default deny off, in both directions. Every cell \
              is probed before, under and after.",
        control: "The denied peer's cells show that the policy is in force, while all others stay open.",
        when_red: "`kubectl --context CONTEXT get ciliumnetworkpolicies -A` and `kubectl --context CONTEXT -n \
                   kube-system exec AGENT_POD -c cilium-agent -- cilium-dbg version`: the field exists since Cilium \
                   1.16.",
    },
    scope: Scope::Cluster,
    claim: ClaimKind::Policy,
    faults: &["policy-default-deny-forced", "policy-deny-ignored"],
    cases: &[Case {
        name: "default deny switched off",
        policies: |fixture| {
            vec![cilium(json!({
                "endpointSelector": fixture.selector(),
                "enableDefaultDeny": {"ingress": false, "egress": false},
                "ingress": [{"fromEndpoints": [{"matchLabels": {"role": "peer"}}]}],
                "ingressDeny": [{"fromEndpoints": [{"matchLabels": {"role": "other-peer"}}]}],
                "egress": [{"toEndpoints": [{"matchLabels": {"role": "peer"}}]}],
                "egressDeny": [{"toEndpoints": [{"matchLabels": {"role": "other-peer"}}]}],
            }))]
        },
        cells: both_ways,
    }],
};
