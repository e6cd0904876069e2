//! Authentication modes of rules (docs.cilium.io, "Mutual Authentication").

use super::inbound;
use crate::policy::case::{Case, Family};
use crate::kit::object::policy::cilium;
use crate::policy::scene::Scene;
use meshproof_contract::{CheckText, ClaimKind, Scope};
use serde_json::{Value, json};

const CONTROL: &str = "Each cell must be open before the policy and after it; neighbours that the rule is not about are dropped without a word, so the policy is seen in force.";
const WHEN_RED: &str = "`kubectl -n kube-system exec CILIUM-POD-OF-THE-NODE -- cilium-dbg status | grep -i auth`, `kubectl -n cilium-spire get pods`; drops show as `Authentication required` in `hubble observe --verdict DROPPED`.";

fn admitting(scene: &Scene, mode: &str) -> Vec<Value> {
    vec![cilium(json!({"endpointSelector": scene.selector(), "ingress": [{
        "fromEndpoints": [{"matchLabels": {"role": "caller"}}],
        "authentication": {"mode": mode},
    }]}))]
}

/// `required`.
pub const REQUIRED: Family = Family {
    id: "policy::authentication_required",
    text: CheckText {
        title: "A rule that requires authentication admits pods that can authenticate",
        proves: "Mutual authentication works between the identities of the mesh: with it required, admitted traffic passes.",
        how: "A policy admits pods of one label with `authentication.mode: required`; every cell before, under and after. The first packets wait for the handshake, so cells are looked at until they pass.",
        control: CONTROL,
        when_red: WHEN_RED,
    },
    scope: Scope::Cluster,
    claim: ClaimKind::MutualAuth,
    faults: &["policy-ingress-ignored"],
    cases: &[Case {
        name: "authentication required",
        policies: |scene| admitting(scene, "required"),
        cells: inbound,
    }],
};

/// `test-always-fail`.
pub const ALWAYS_FAILS: Family = Family {
    id: "policy::authentication_fails",
    text: CheckText {
        title: "A rule whose authentication always fails admits nobody",
        proves: "Authentication is really asked for: with mode `test-always-fail`, made for this, traffic that the rule would admit is dropped.",
        how: "The twin of the policy that requires authentication, with `authentication.mode: test-always-fail`; every cell before, under and after.",
        control: CONTROL,
        when_red: WHEN_RED,
    },
    scope: Scope::Cluster,
    claim: ClaimKind::Policy,
    faults: &["policy-auth-ignored"],
    cases: &[Case {
        name: "authentication always fails",
        policies: |scene| admitting(scene, "test-always-fail"),
        cells: inbound,
    }],
};
