//! Selectors across clusters, with what the running version means by one that names no cluster.

use super::both_ways;
use crate::policy::case::{Case, Family};
use crate::kit::object::policy::cilium;
use meshproof_contract::{CheckText, ClaimKind, Scope};
use serde_json::json;

const CLUSTER: &str = "io.cilium.k8s.policy.cluster";

/// The cluster label, and its absence.
pub const CLUSTERS: Family = Family {
    id: "policy::clusters",
    text: CheckText {
        title: "Policies tell the clusters of the mesh apart, and mean by an unnamed cluster what this version says",
        proves: "`io.cilium.k8s.policy.cluster` selects pods of one cluster; without it a selector means pods of every cluster up to Cilium 1.18, and only of the own one since 1.19 (or with `policy-default-local-cluster`).",
        how: "Three policies one after the other admit pods of a label: of the other cluster, of the own one, and of no named cluster; in both directions of traffic. Every cell before, under and after, expectations by the version that the cluster runs.",
        control: "Neighbours in both clusters are reached before the policy and after it; under it those of the selected cluster stay open, the others must be dropped without a word.",
        when_red: "`kubectl -n kube-system exec CILIUM-POD -- cilium-dbg identity list` must show the other cluster's pods with their cluster's label; `cilium-dbg version` and `kubectl -n kube-system get configmap cilium-config -o yaml | grep policy-default-local-cluster` tell which meaning applies.",
    },
    scope: Scope::Direction,
    claim: ClaimKind::Policy,
    faults: &["policy-cluster-label-ignored"],
    cases: &[
        Case {
            name: "the other cluster by its label",
            policies: |scene| {
                let peer = json!([{"matchLabels": {"role": "caller", CLUSTER: scene.peer_mesh}}]);
                vec![cilium(json!({
                    "endpointSelector": scene.selector(),
                    "ingress": [{"fromEndpoints": peer}],
                    "egress": [{"toEndpoints": peer}],
                }))]
            },
            cells: both_ways,
        },
        Case {
            name: "the own cluster by its label",
            policies: |scene| {
                let peer = json!([{"matchLabels": {"role": "caller", CLUSTER: scene.mesh}}]);
                vec![cilium(json!({
                    "endpointSelector": scene.selector(),
                    "ingress": [{"fromEndpoints": peer}],
                    "egress": [{"toEndpoints": peer}],
                }))]
            },
            cells: both_ways,
        },
        Case {
            name: "no cluster named",
            policies: |scene| {
                let peer = json!([{"matchLabels": {"role": "caller"}}]);
                vec![cilium(json!({
                    "endpointSelector": scene.selector(),
                    "ingress": [{"fromEndpoints": peer}],
                    "egress": [{"toEndpoints": peer}],
                }))]
            },
            cells: both_ways,
        },
    ],
};
