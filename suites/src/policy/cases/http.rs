//! HTTP rules: methods, paths, headers (docs.cilium.io, "Layer 7 Policies").

use crate::policy::actor::Actor;
use crate::policy::case::{Case, Family};
use crate::policy::cell::{Ask, Cell, GET};
use crate::kit::object::policy::cilium;
use crate::policy::scene::Scene;
use meshproof_contract::{CheckText, ClaimKind, Scope};
use serde_json::{Value, json};
use std::sync::Arc;

const ASKS: [Ask; 6] = [
    GET,
    Ask::Http {
        method: "GET",
        path: "/public/page",
        header: None,
    },
    Ask::Http {
        method: "POST",
        path: "/public/page",
        header: None,
    },
    Ask::Http {
        method: "GET",
        path: "/private",
        header: None,
    },
    Ask::Http {
        method: "GET",
        path: "/private",
        header: Some(("x-meshproof", "let-me-in")),
    },
    Ask::Tcp,
];

fn inward(scene: &Scene, others: &[Arc<Actor>]) -> Vec<Cell> {
    Scene::cells(others, &scene.wards, &ASKS)
}

fn outward(scene: &Scene, others: &[Arc<Actor>]) -> Vec<Cell> {
    Scene::cells(&scene.wards, others, &ASKS)
}

fn rules(rules: Value) -> Value {
    json!([{"ports": [{"port": "8080", "protocol": "TCP"}], "rules": {"http": rules}}])
}

const CONTROL: &str = "Each request is answered before the policy and after it; requests that a rule names are answered by the pod under it, others by the proxy with 403, and another port is dropped without a word.";
const WHEN_RED: &str = "`kubectl -n kube-system get daemonset cilium-envoy` and `kubectl -n kube-system exec CILIUM-POD-OF-THE-NODE -- cilium-dbg status --verbose` (Proxy Status) tell whether the proxy runs and has the redirect.";

/// Methods and paths.
pub const METHOD_AND_PATH: Family = Family {
    id: "policy::http_method_and_path",
    text: CheckText {
        title: "HTTP rules admit the methods and paths that they name and answer the rest with 403",
        proves: "The L7 proxy parses requests and enforces method and path, on ingress and on egress, and paths are whole expressions.",
        how: "A policy with an HTTP rule on one port, on ingress and then on egress; every request before, under and after.",
        control: CONTROL,
        when_red: WHEN_RED,
    },
    scope: Scope::Cluster,
    claim: ClaimKind::L7Policy,
    faults: &["policy-l7-ignored"],
    cases: &[
        Case {
            name: "HTTP on ingress",
            policies: |scene| {
                vec![cilium(json!({"endpointSelector": scene.selector(), "ingress": [{
                    "fromEndpoints": [{"matchLabels": {"role": "caller"}}],
                    "toPorts": rules(json!([{"method": "GET", "path": "/public/.*"}])),
                }]}))]
            },
            cells: inward,
        },
        Case {
            name: "HTTP on egress",
            policies: |scene| {
                vec![cilium(json!({"endpointSelector": scene.selector(), "egress": [{
                    "toPorts": rules(json!([{"method": "POST"}, {"method": "GET", "path": "/"}])),
                }]}))]
            },
            cells: outward,
        },
    ],
};

/// Headers.
pub const HEADERS: Family = Family {
    id: "policy::http_headers",
    text: CheckText {
        title: "HTTP rules with a header admit requests that carry it and answer the rest with 403",
        proves: "The L7 proxy enforces headers together with the other parts of a rule, and rules are alternatives.",
        how: "A policy admits GET below one path, and anything that carries a header; every request before, under and after.",
        control: CONTROL,
        when_red: WHEN_RED,
    },
    scope: Scope::Cluster,
    claim: ClaimKind::L7Policy,
    faults: &["policy-l7-ignored"],
    cases: &[Case {
        name: "HTTP headers",
        policies: |scene| {
            vec![cilium(json!({"endpointSelector": scene.selector(), "ingress": [{
                "toPorts": rules(json!([{"headers": ["X-Meshproof: let-me-in"]}, {"method": "GET", "path": "/public/[a-z]+"}])),
            }]}))]
        },
        cells: inward,
    }],
};
