//! The other kinds of policy: cluster-wide ones and Kubernetes' own.

use super::{both_ways, inbound, other_namespace};
use crate::policy::case::{Case, Family};
use crate::kit::object::policy::{cluster_wide, kubernetes};
use crate::policy::scene::Scene;
use crate::policy::ward::LABEL;
use meshproof_contract::{CheckText, ClaimKind, Scope};
use serde_json::{Value, json};

const CONTROL: &str = "Each cell must be open before the policy and after it; those that the rule admits stay open under it, the others must be dropped without a word.";

/// The ward and nobody else, in whatever namespace others have such a label.
fn own(scene: &Scene) -> Value {
    let mut selector = scene.selector();
    selector["matchLabels"]["k8s:io.kubernetes.pod.namespace"] = json!(scene.namespace);
    debug_assert!(selector["matchLabels"][LABEL].is_string());
    selector
}

/// CiliumClusterwideNetworkPolicy.
pub const CLUSTER_WIDE: Family = Family {
    id: "policy::cluster_wide",
    text: CheckText {
        title: "Cluster-wide policies are enforced, and their selectors mean every namespace",
        proves: "CiliumClusterwideNetworkPolicy acts on the pods that it selects; a peer's label there admits pods of every namespace.",
        how: "A cluster-wide policy whose selector names only the group admits pods of one label in any namespace and lets it ask one namespace; every cell before, under and after.",
        control: CONTROL,
        when_red: "`kubectl get ciliumclusterwidenetworkpolicies`; `kubectl -n kube-system exec CILIUM-POD-OF-THE-NODE -- cilium-dbg policy get` must list it.",
    },
    scope: Scope::Cluster,
    claim: ClaimKind::Policy,
    faults: &["policy-ccnp-ignored"],
    cases: &[Case {
        name: "cluster-wide by label",
        policies: |scene| {
            vec![cluster_wide(json!({
                "endpointSelector": own(scene),
                "ingress": [{"fromEndpoints": [{"matchLabels": {"role": "caller"}}]}],
                "egress": [{"toEndpoints": [{"matchLabels": {"k8s:io.kubernetes.pod.namespace": other_namespace(scene)}}]}],
            }))]
        },
        cells: both_ways,
    }],
};

/// NetworkPolicy.
pub const KUBERNETES: Family = Family {
    id: "policy::kubernetes",
    text: CheckText {
        title: "Kubernetes NetworkPolicies are enforced as Kubernetes documents them",
        proves: "Pod and namespace selectors, ports, ranges and policyTypes of NetworkPolicy hold, and several policies on one pod add up.",
        how: "Three sets of policies one after the other: pods of a label on two ports; namespaces by label or pods by label; and a policy that has only policyTypes. Every cell before, under and after.",
        control: CONTROL,
        when_red: "`kubectl -n meshproof get networkpolicies`; `kubectl -n kube-system exec CILIUM-POD-OF-THE-NODE -- cilium-dbg policy get` must list it; `enable-k8s-networkpolicy` must not be false.",
    },
    scope: Scope::Cluster,
    claim: ClaimKind::Policy,
    faults: &["policy-knp-ignored"],
    cases: &[
        Case {
            name: "NetworkPolicy: pods of a label on two ports",
            policies: |scene| {
                vec![kubernetes(json!({
                    "podSelector": scene.selector(),
                    "policyTypes": ["Ingress"],
                    "ingress": [{
                        "from": [{"podSelector": {"matchLabels": {"role": "caller"}}}],
                        "ports": [{"protocol": "TCP", "port": 8080}, {"protocol": "UDP", "port": 8082}],
                    }],
                }))]
            },
            cells: inbound,
        },
        Case {
            name: "NetworkPolicy: a namespace, and another policy that adds a label",
            policies: |scene| {
                vec![
                    kubernetes(json!({
                        "podSelector": scene.selector(),
                        "policyTypes": ["Ingress"],
                        "ingress": [{"from": [{"namespaceSelector": {
                            "matchLabels": {"kubernetes.io/metadata.name": other_namespace(scene)},
                        }}]}],
                    })),
                    kubernetes(json!({
                        "podSelector": scene.selector(),
                        "policyTypes": ["Ingress"],
                        "ingress": [{
                            "from": [{"podSelector": {"matchLabels": {"role": "stranger"}}}],
                            "ports": [{"protocol": "TCP", "port": "mp-tcp"}],
                        }],
                    })),
                ]
            },
            cells: inbound,
        },
        Case {
            name: "NetworkPolicy: only policyTypes",
            policies: |scene| {
                vec![kubernetes(
                    json!({"podSelector": scene.selector(), "policyTypes": ["Egress"]}),
                )]
            },
            cells: both_ways,
        },
    ],
};
