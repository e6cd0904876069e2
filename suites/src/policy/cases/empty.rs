//! Empty rules and empty selectors: the classic misreadings.

use super::{both_ways, inbound};
use crate::policy::case::{Case, Family};
use crate::kit::object::policy::{cilium, cilium_specs};
use meshproof_contract::{CheckText, ClaimKind, Scope};
use serde_json::json;

/// Empty lists, empty rules, empty selectors.
pub const EMPTY: Family = Family {
    id: "policy::empty_rules",
    text: CheckText {
        title: "Empty lists, rules and selectors mean what the documentation says, not what they look like",
        proves: "An empty list of rules denies nothing; a rule with an empty list of peers admits nobody; an empty selector among peers admits every pod of the policy's namespace and nobody of another.",
        how: "Three policies one after the other: `ingress: []` beside a closing egress section, `fromEndpoints: []`, and `fromEndpoints: [{}]`. Every cell before, under and after.",
        control: "In each case some cells close while others stay open, so the policy is seen in force; all are open before and after.",
        when_red: "Compare with docs.cilium.io, Layer 3 Policies; `kubectl -n kube-system exec CILIUM-POD-OF-THE-NODE -- cilium-dbg policy get` shows the rules as the agent read them.",
    },
    scope: Scope::Cluster,
    claim: ClaimKind::Policy,
    faults: &["policy-ingress-ignored", "policy-namespace-ignored"],
    cases: &[
        Case {
            name: "an empty list of ingress rules",
            policies: |scene| {
                vec![cilium_specs(&[
                    json!({"endpointSelector": scene.selector(), "ingress": [], "egress": [{}]}),
                ])]
            },
            cells: both_ways,
        },
        Case {
            name: "an empty list of peers",
            policies: |scene| {
                vec![cilium(
                    json!({"endpointSelector": scene.selector(), "ingress": [{"fromEndpoints": []}]}),
                )]
            },
            cells: inbound,
        },
        Case {
            name: "an empty selector among peers",
            policies: |scene| {
                vec![cilium(
                    json!({"endpointSelector": scene.selector(), "ingress": [{"fromEndpoints": [{}]}]}),
                )]
            },
            cells: inbound,
        },
    ],
};
