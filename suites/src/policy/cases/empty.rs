//! Empty rules and empty selectors, which are easily misread.

use super::{both_ways, inbound};
use crate::{
    kit::object::policy::{cilium, cilium_specs},
    policy::case::{Case, PolicyCheck},
};
use meshproof_contract::{CheckText, ClaimKind, Scope};
use serde_json::json;

/// Empty lists, empty rules, empty selectors.
pub const EMPTY: PolicyCheck = PolicyCheck {
    id: "policy::empty_rules",
    text: CheckText {
        title: "Empty lists, rules and selectors mean what the documentation says",
        proves: "An empty list of rules denies nothing, and a rule with an empty list of peers admits nobody. An \
                 empty selector among peers admits every pod of the policy's namespace and nobody else.",
        how: "Three policies are tested side by side: `ingress: []` beside an egress section that denies, \
              `fromEndpoints: []`, and `fromEndpoints: [{}]`. Every cell is probed before, under and after each.",
        control: "In each case some cells are denied while others stay open, so the policy is seen in force. All are \
                  open before the policy and after its deletion.",
        when_red: "`kubectl --context CONTEXT -n kube-system exec AGENT_POD -c cilium-agent -- cilium-dbg policy get` \
                   shows the rules as the agent read them. Compare with docs.cilium.io, \"Layer 3 Policies\".",
    },
    scope: Scope::Cluster,
    claim: ClaimKind::Policy,
    faults: &["policy-ingress-ignored", "policy-namespace-ignored"],
    cases: &[
        Case {
            name: "an empty list of ingress rules",
            policies: |fixture| {
                vec![cilium_specs(&[
                    json!({"endpointSelector": fixture.selector(), "ingress": [], "egress": [{}]}),
                ])]
            },
            cells: both_ways,
        },
        Case {
            name: "an empty list of peers",
            policies: |fixture| {
                vec![cilium(
                    json!({"endpointSelector": fixture.selector(), "ingress": [{"fromEndpoints": []}]}),
                )]
            },
            cells: inbound,
        },
        Case {
            name: "an empty selector among peers",
            policies: |fixture| {
                vec![cilium(
                    json!({"endpointSelector": fixture.selector(), "ingress": [{"fromEndpoints": [{}]}]}),
                )]
            },
            cells: inbound,
        },
    ],
};
