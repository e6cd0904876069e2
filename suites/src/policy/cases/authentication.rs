//! Authentication modes of rules (docs.cilium.io, "Mutual Authentication").

use super::inbound;
use crate::{
    kit::object::policy::cilium,
    policy::{
        case::{Case, PolicyCheck},
        fixture::Fixture,
    },
};
use meshproof_contract::{CheckText, ClaimKind, Scope};
use serde_json::{Value, json};

const CONTROL: &str = "Each cell must be open before the policy and after its deletion. Peers that the rule does not \
                       match are silently dropped, so the policy is seen in force.";
const WHEN_RED: &str = "`kubectl --context CONTEXT -n kube-system exec AGENT_POD -c cilium-agent -- cilium-dbg \
                        status` shows the authentication mode, `kubectl --context CONTEXT -n cilium-spire get pods` \
                        the SPIRE server. Drops appear as `Authentication required` in `hubble observe --verdict \
                        DROPPED`.";

fn admitting(fixture: &Fixture, mode: &str) -> Vec<Value> {
    vec![cilium(json!({"endpointSelector": fixture.selector(), "ingress": [{
        "fromEndpoints": [{"matchLabels": {"role": "peer"}}],
        "authentication": {"mode": mode},
    }]}))]
}

/// `required`.
pub const REQUIRED: PolicyCheck = PolicyCheck {
    id: "policy::authentication_required",
    text: CheckText {
        title: "A rule that requires authentication admits pods that can authenticate",
        proves: "Mutual authentication works between the identities of the mesh: traffic that a rule admits with \
                 authentication required passes.",
        how: "A policy admits pods of one label with `authentication.mode: required`; every cell is probed before, \
              under and after. The first packets wait for the handshake, so cells are probed until they pass.",
        control: CONTROL,
        when_red: WHEN_RED,
    },
    scope: Scope::Cluster,
    claim: ClaimKind::MutualAuth,
    faults: &["policy-ingress-ignored"],
    cases: &[Case {
        name: "authentication required",
        policies: |fixture| admitting(fixture, "required"),
        cells: inbound,
    }],
};

/// `test-always-fail`.
pub const ALWAYS_FAILS: PolicyCheck = PolicyCheck {
    id: "policy::authentication_fails",
    text: CheckText {
        title: "A rule whose authentication always fails admits nobody",
        proves: "Authentication is enforced: with mode `test-always-fail`, which exists for tests, traffic that the \
                 rule would admit is dropped.",
        how: "The policy of `policy::authentication_required` is applied with `authentication.mode: \
              test-always-fail`. Every cell is probed before, under and after.",
        control: CONTROL,
        when_red: WHEN_RED,
    },
    scope: Scope::Cluster,
    claim: ClaimKind::Policy,
    faults: &["policy-auth-ignored"],
    cases: &[Case {
        name: "authentication always fails",
        policies: |fixture| admitting(fixture, "test-always-fail"),
        cells: inbound,
    }],
};
