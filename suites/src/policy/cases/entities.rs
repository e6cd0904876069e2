//! Entities: all, world, cluster, host, remote-node, kube-apiserver (docs.cilium.io, "Entities Based").

use crate::policy::actor::Actor;
use crate::policy::case::{Case, Family};
use crate::policy::cell::{Cell, GET};
use crate::kit::object::policy::cilium;
use crate::policy::scene::Scene;
use meshproof_contract::{CheckText, ClaimKind, Scope};
use serde_json::{Value, json};
use std::sync::Arc;

use super::PLAIN;

const CONTROL: &str = "Each cell must be open before the policy and after it; cells of the entity stay open under it, the others must be dropped without a word. The local host may always enter, which is part of the expectation.";
const WHEN_RED: &str = "`kubectl -n kube-system exec CILIUM-POD-OF-THE-NODE -- cilium-dbg identity list` shows the reserved identities, `cilium-dbg bpf ipcache list` which address has which.";

fn inward(scene: &Scene, others: &[Arc<Actor>]) -> Vec<Cell> {
    let mut cells = Scene::cells(others, &scene.wards, &PLAIN);
    cells.extend(Scene::cells(&scene.hosts, &scene.wards, &[GET]));
    cells
}

fn outward(scene: &Scene, others: &[Arc<Actor>]) -> Vec<Cell> {
    let mut cells = Scene::cells(&scene.wards, others, &PLAIN);
    cells.extend(Scene::cells(&scene.wards, &scene.hosts, &[GET]));
    cells
}

fn from(scene: &Scene, entities: &[&str]) -> Vec<Value> {
    vec![cilium(
        json!({"endpointSelector": scene.selector(), "ingress": [{"fromEntities": entities}]}),
    )]
}

fn to(scene: &Scene, entities: &[&str]) -> Vec<Value> {
    vec![cilium(
        json!({"endpointSelector": scene.selector(), "egress": [{"toEntities": entities}]}),
    )]
}

/// Entities on ingress.
pub const FROM_ENTITIES: Family = Family {
    id: "policy::from_entities",
    text: CheckText {
        title: "Rules with entities admit world, host, remote nodes and the cluster as documented",
        proves: "Reserved identities of pods and nodes are right: pods are not world, the local host always enters, another node only as remote-node or cluster.",
        how: "Policies that admit `world`, then `remote-node` and `host`, then `all` on one port. Agents on the nodes' own network take part where they run. Every cell before, under and after.",
        control: CONTROL,
        when_red: WHEN_RED,
    },
    scope: Scope::Cluster,
    claim: ClaimKind::Policy,
    faults: &["policy-entities-ignored", "policy-ingress-ignored"],
    cases: &[
        Case {
            name: "from world",
            policies: |scene| from(scene, &["world"]),
            cells: inward,
        },
        Case {
            name: "from host and remote nodes",
            policies: |scene| from(scene, &["host", "remote-node"]),
            cells: inward,
        },
        Case {
            name: "from all, on one port",
            policies: |scene| {
                vec![cilium(json!({"endpointSelector": scene.selector(), "ingress": [{
                    "fromEntities": ["all"], "toPorts": [{"ports": [{"port": "8080", "protocol": "TCP"}]}],
                }]}))]
            },
            cells: inward,
        },
    ],
};

/// Entities on egress.
pub const TO_ENTITIES: Family = Family {
    id: "policy::to_entities",
    text: CheckText {
        title: "Rules with entities let pods ask the cluster, nodes and the API server as documented",
        proves: "On egress `cluster` covers pods and nodes, `host` the own node only, `kube-apiserver` the addresses of the API server only, and `world` none of these.",
        how: "Policies that let the group ask `cluster` on one port, then `host` and `kube-apiserver`; agents on the nodes' own network take part where they run. Every cell before, under and after.",
        control: CONTROL,
        when_red: WHEN_RED,
    },
    scope: Scope::Cluster,
    claim: ClaimKind::Policy,
    faults: &["policy-entities-ignored", "policy-egress-ignored"],
    cases: &[
        Case {
            name: "to the cluster, on one port",
            policies: |scene| {
                vec![cilium(json!({"endpointSelector": scene.selector(), "egress": [{
                    "toEntities": ["cluster"], "toPorts": [{"ports": [{"port": "8081", "protocol": "TCP"}]}],
                }]}))]
            },
            cells: outward,
        },
        Case {
            name: "to host and API server",
            policies: |scene| to(scene, &["host", "kube-apiserver"]),
            cells: outward,
        },
        Case {
            name: "to world",
            policies: |scene| to(scene, &["world"]),
            cells: outward,
        },
    ],
};
