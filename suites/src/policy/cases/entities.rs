//! Entities: all, world, cluster, host, remote-node, kube-apiserver (docs.cilium.io, "Entities Based").

use super::PLAIN;
use crate::{
    kit::object::policy::cilium,
    policy::{
        case::{Case, PolicyCheck},
        cell::{Cell, GET},
        fixture::Fixture,
        participant::Participant,
    },
};
use meshproof_contract::{CheckText, ClaimKind, Scope};
use serde_json::{Value, json};
use std::sync::Arc;

const CONTROL: &str = "Each cell must be open before the policy and after its deletion. Cells of the entity stay open \
                       under it, and the others must be silently dropped, except from the local host, which is always \
                       admitted.";
const WHEN_RED: &str = "`kubectl --context CONTEXT -n kube-system exec AGENT_POD -c cilium-agent -- cilium-dbg \
                        identity list` shows the reserved identities, `cilium-dbg bpf ipcache list` the identity of \
                        each address.";

fn inward(fixture: &Fixture, peers: &[Arc<Participant>]) -> Vec<Cell> {
    let mut cells = Fixture::cells(peers, &fixture.subjects, &PLAIN);
    cells.extend(Fixture::cells(&fixture.hosts, &fixture.subjects, &[GET]));
    cells
}

fn outward(fixture: &Fixture, peers: &[Arc<Participant>]) -> Vec<Cell> {
    let mut cells = Fixture::cells(&fixture.subjects, peers, &PLAIN);
    cells.extend(Fixture::cells(&fixture.subjects, &fixture.hosts, &[GET]));
    cells
}

fn from(fixture: &Fixture, entities: &[&str]) -> Vec<Value> {
    vec![cilium(
        json!({"endpointSelector": fixture.selector(), "ingress": [{"fromEntities": entities}]}),
    )]
}

fn to(fixture: &Fixture, entities: &[&str]) -> Vec<Value> {
    vec![cilium(
        json!({"endpointSelector": fixture.selector(), "egress": [{"toEntities": entities}]}),
    )]
}

/// Entities on ingress.
pub const FROM_ENTITIES: PolicyCheck = PolicyCheck {
    id: "policy::from_entities",
    text: CheckText {
        title: "Ingress rules with entities admit world, hosts and the cluster as documented",
        proves: "Pods and nodes have the right reserved identities: pods are not `world`, the local host is always \
                 admitted, and another node only as `remote-node` or `cluster`.",
        how: "Three policies are tested side by side: they admit `world`, `host` with `remote-node`, and `all` \
              on one port. Agents on the nodes' own network take part where they run, and every cell is probed \
              before, under and after each.",
        control: CONTROL,
        when_red: WHEN_RED,
    },
    scope: Scope::Cluster,
    claim: ClaimKind::Policy,
    faults: &["policy-entities-ignored", "policy-ingress-ignored"],
    cases: &[
        Case {
            name: "from world",
            policies: |fixture| from(fixture, &["world"]),
            cells: inward,
        },
        Case {
            name: "from host and remote nodes",
            policies: |fixture| from(fixture, &["host", "remote-node"]),
            cells: inward,
        },
        Case {
            name: "from all, on one port",
            policies: |fixture| {
                vec![cilium(json!({"endpointSelector": fixture.selector(), "ingress": [{
                    "fromEntities": ["all"], "toPorts": [{"ports": [{"port": "8080", "protocol": "TCP"}]}],
                }]}))]
            },
            cells: inward,
        },
    ],
};

/// Entities on egress.
pub const TO_ENTITIES: PolicyCheck = PolicyCheck {
    id: "policy::to_entities",
    text: CheckText {
        title: "Egress rules with entities open the cluster, hosts and the API server as documented",
        proves: "On egress `cluster` covers pods and nodes, `host` the own node only, `kube-apiserver` the API \
                 server's addresses only, and `world` none of these.",
        how: "Three policies are tested side by side: they allow egress to `cluster` on one port, to `host` \
              with `kube-apiserver`, and to `world`. Agents on the nodes' own network take part where they run; a note \
              says where all or none of their nodes serve the API. Every cell is probed before, under and after each.",
        control: CONTROL,
        when_red: WHEN_RED,
    },
    scope: Scope::Cluster,
    claim: ClaimKind::Policy,
    faults: &["policy-entities-ignored", "policy-egress-ignored"],
    cases: &[
        Case {
            name: "to the cluster, on one port",
            policies: |fixture| {
                vec![cilium(json!({"endpointSelector": fixture.selector(), "egress": [{
                    "toEntities": ["cluster"], "toPorts": [{"ports": [{"port": "8081", "protocol": "TCP"}]}],
                }]}))]
            },
            cells: outward,
        },
        Case {
            name: "to host and API server",
            policies: |fixture| to(fixture, &["host", "kube-apiserver"]),
            cells: outward,
        },
        Case {
            name: "to world",
            policies: |fixture| to(fixture, &["world"]),
            cells: outward,
        },
    ],
};
