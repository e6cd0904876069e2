//! HTTP rules: methods, paths, headers (docs.cilium.io, "Layer 7 Policies").

use crate::{
    kit::object::policy::cilium,
    policy::{
        case::{Case, PolicyCheck},
        cell::{Cell, GET, Traffic},
        fixture::Fixture,
        participant::Participant,
    },
};
use meshproof_contract::{CheckText, ClaimKind, Scope};
use serde_json::{Value, json};
use std::sync::Arc;

const REQUESTS: [Traffic; 6] = [
    GET,
    Traffic::Http {
        method: "GET",
        path: "/public/page",
        header: None,
    },
    Traffic::Http {
        method: "POST",
        path: "/public/page",
        header: None,
    },
    Traffic::Http {
        method: "GET",
        path: "/private",
        header: None,
    },
    Traffic::Http {
        method: "GET",
        path: "/private",
        header: Some(("x-meshproof", "let-me-in")),
    },
    Traffic::Tcp,
];

fn inward(fixture: &Fixture, peers: &[Arc<Participant>]) -> Vec<Cell> {
    Fixture::cells(peers, &fixture.subjects, &REQUESTS)
}

fn outward(fixture: &Fixture, peers: &[Arc<Participant>]) -> Vec<Cell> {
    Fixture::cells(&fixture.subjects, peers, &REQUESTS)
}

fn rules(rules: Value) -> Value {
    json!([{"ports": [{"port": "8080", "protocol": "TCP"}], "rules": {"http": rules}}])
}

const CONTROL: &str = "Each request is answered before the policy and after its deletion. Under it, requests that a \
                       rule names are answered by the pod and others by the proxy with 403, while another port is \
                       silently dropped.";
const WHEN_RED: &str = "`kubectl --context CONTEXT -n kube-system get daemonset cilium-envoy` and `kubectl --context \
                        CONTEXT -n kube-system exec AGENT_POD -c cilium-agent -- cilium-dbg status --verbose` (Proxy \
                        Status) show whether the proxy runs and has the redirect.";

/// Methods and paths.
pub const METHOD_AND_PATH: PolicyCheck = PolicyCheck {
    id: "policy::http_method_and_path",
    text: CheckText {
        title: "HTTP rules admit the methods and paths that they name and answer the rest with 403",
        proves: "The L7 proxy parses requests and enforces method and path, on ingress and egress. A path is matched \
                 as a whole.",
        how: "One policy has HTTP rules for a port on ingress, another on egress. Every request is sent before, under \
              and after each.",
        control: CONTROL,
        when_red: WHEN_RED,
    },
    scope: Scope::Cluster,
    claim: ClaimKind::L7Policy,
    faults: &["policy-l7-ignored"],
    cases: &[
        Case {
            name: "HTTP on ingress",
            policies: |fixture| {
                vec![cilium(json!({"endpointSelector": fixture.selector(), "ingress": [{
                    "fromEndpoints": [{"matchLabels": {"role": "peer"}}],
                    "toPorts": rules(json!([{"method": "GET", "path": "/public/.*"}])),
                }]}))]
            },
            cells: inward,
        },
        Case {
            name: "HTTP on egress",
            policies: |fixture| {
                vec![cilium(json!({"endpointSelector": fixture.selector(), "egress": [{
                    "toPorts": rules(json!([{"method": "POST"}, {"method": "GET", "path": "/"}])),
                }]}))]
            },
            cells: outward,
        },
    ],
};

/// Headers.
pub const HEADERS: PolicyCheck = PolicyCheck {
    id: "policy::http_headers",
    text: CheckText {
        title: "HTTP rules with a header admit requests that carry it and answer the rest with 403",
        proves: "The L7 proxy enforces headers together with the other parts of a rule, and rules are alternatives.",
        how: "A policy admits GET below one path, and any request that carries a header. Every request is sent \
              before, under and after it.",
        control: CONTROL,
        when_red: WHEN_RED,
    },
    scope: Scope::Cluster,
    claim: ClaimKind::L7Policy,
    faults: &["policy-l7-ignored"],
    cases: &[Case {
        name: "HTTP headers",
        policies: |fixture| {
            vec![cilium(json!({"endpointSelector": fixture.selector(), "ingress": [{
                "toPorts": rules(json!([
                        {"headers": ["X-Meshproof: let-me-in"]},
                        {"method": "GET", "path": "/public/[a-z]+"},
                    ])),
            }]}))]
        },
        cells: inward,
    }],
};
