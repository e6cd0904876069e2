//! Selectors across clusters, and what a selector without a cluster selects in the running version.

use super::both_ways;
use crate::{
    kit::object::policy::cilium,
    policy::{
        case::{Case, PolicyCheck},
        fixture::Fixture,
    },
};
use meshproof_contract::{CheckText, ClaimKind, Scope};
use serde_json::{Value, json};

/// The label of a pod's cluster.
const CLUSTER: &str = "io.cilium.k8s.policy.cluster";

/// Admits these peers in both directions.
fn admitting(fixture: &Fixture, labels: Value) -> Vec<Value> {
    let peers = json!([{"matchLabels": labels}]);
    vec![cilium(json!({
        "endpointSelector": fixture.selector(),
        "ingress": [{"fromEndpoints": peers}],
        "egress": [{"toEndpoints": peers}],
    }))]
}

/// The cluster label, and its absence.
pub const CLUSTERS: PolicyCheck = PolicyCheck {
    id: "policy::clusters",
    text: CheckText {
        title: "Policies select clusters by label, and an unnamed cluster means what the version documents",
        proves: "`io.cilium.k8s.policy.cluster` selects pods of one cluster. A selector without it selects pods of \
                 every cluster up to Cilium 1.18, and only of the policy's own since 1.19 (or with \
                 `policy-default-local-cluster`).",
        how: "Three policies are tested side by side, on ingress and egress: they admit pods of a label in the \
              other cluster, in the own cluster, and without naming a cluster. Every cell is probed before, under and \
              after each, and the expectation follows the version that the cluster runs.",
        control: "Peers in both clusters are reached before the policy and after its deletion. Under it those of the \
                  selected cluster stay open, the others must be silently dropped.",
        when_red: "`kubectl --context CONTEXT -n kube-system exec AGENT_POD -c cilium-agent -- cilium-dbg identity \
                   list` must show the other cluster's pods with its cluster label. `kubectl --context OTHER_CONTEXT \
                   -n kube-system get configmap cilium-config -o yaml` shows whether `policy-default-local-cluster` \
                   is set, and `cilium-dbg version` the version.",
    },
    scope: Scope::Direction,
    claim: ClaimKind::Policy,
    faults: &["policy-cluster-label-ignored"],
    cases: &[
        Case {
            name: "the other cluster by its label",
            policies: |fixture| admitting(fixture, json!({"role": "peer", CLUSTER: fixture.peer_mesh})),
            cells: both_ways,
        },
        Case {
            name: "the own cluster by its label",
            policies: |fixture| admitting(fixture, json!({"role": "peer", CLUSTER: fixture.mesh})),
            cells: both_ways,
        },
        Case {
            name: "no cluster named",
            policies: |fixture| admitting(fixture, json!({"role": "peer"})),
            cells: both_ways,
        },
    ],
};
