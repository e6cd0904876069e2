//! The other kinds of policy: cluster-wide ones and Kubernetes' own.

use super::{both_ways, inbound};
use crate::{
    kit::object::policy::{cluster_wide, kubernetes},
    policy::case::{Case, PolicyCheck},
};
use meshproof_contract::{CheckText, ClaimKind, Scope};
use serde_json::json;

const CONTROL: &str = "Each cell must be open before the policy and after its deletion. Cells that the rule admits \
                       stay open under it, and the others must be silently dropped.";

/// CiliumClusterwideNetworkPolicy.
pub const CLUSTER_WIDE: PolicyCheck = PolicyCheck {
    id: "policy::cluster_wide",
    text: CheckText {
        title: "Cluster-wide policies are enforced, and their peers are in every namespace",
        proves: "CiliumClusterwideNetworkPolicy applies to the pods that it selects. A peer's label there matches \
                 pods of every namespace.",
        how: "A cluster-wide policy that selects only the subject pods admits pods of one label from any namespace \
              and allows egress to one namespace. Every cell is probed before, under and after.",
        control: CONTROL,
        when_red: "`kubectl --context CONTEXT get ciliumclusterwidenetworkpolicies`; `kubectl --context CONTEXT -n \
                   kube-system exec AGENT_POD -c cilium-agent -- cilium-dbg policy get` must list the policy.",
    },
    scope: Scope::Cluster,
    claim: ClaimKind::Policy,
    faults: &["policy-ccnp-ignored"],
    cases: &[Case {
        name: "cluster-wide by label",
        policies: |fixture| {
            vec![cluster_wide(json!({
                "endpointSelector": fixture.cluster_wide_selector(),
                "ingress": [{"fromEndpoints": [{"matchLabels": {"role": "peer"}}]}],
                "egress": [{"toEndpoints": [{
                    "matchLabels": {"k8s:io.kubernetes.pod.namespace": fixture.other_namespace()},
                }]}],
            }))]
        },
        cells: both_ways,
    }],
};

/// NetworkPolicy.
pub const KUBERNETES: PolicyCheck = PolicyCheck {
    id: "policy::kubernetes",
    text: CheckText {
        title: "Kubernetes NetworkPolicies are enforced as Kubernetes documents them",
        proves: "Pod and namespace selectors, ports and policyTypes of NetworkPolicy hold, and several policies on \
                 one pod add up.",
        how: "Three sets of policies are tested side by side: pods of a label on two ports; a namespace by its \
              label together with pods by theirs; and a policy that has only policyTypes. Every cell is probed \
              before, under and after each.",
        control: CONTROL,
        when_red: "`kubectl --context CONTEXT -n NAMESPACE get networkpolicies`; `kubectl --context CONTEXT -n \
                   kube-system exec AGENT_POD -c cilium-agent -- cilium-dbg policy get` must list the policy. \
                   `enable-k8s-networkpolicy` in ConfigMap cilium-config must not be false.",
    },
    scope: Scope::Cluster,
    claim: ClaimKind::Policy,
    faults: &["policy-knp-ignored"],
    cases: &[
        Case {
            name: "NetworkPolicy: pods of a label on two ports",
            policies: |fixture| {
                vec![kubernetes(json!({
                    "podSelector": fixture.selector(),
                    "policyTypes": ["Ingress"],
                    "ingress": [{
                        "from": [{"podSelector": {"matchLabels": {"role": "peer"}}}],
                        "ports": [{"protocol": "TCP", "port": 8080}, {"protocol": "UDP", "port": 8082}],
                    }],
                }))]
            },
            cells: inbound,
        },
        Case {
            name: "NetworkPolicy: a namespace, and a second policy that adds a label",
            policies: |fixture| {
                vec![
                    kubernetes(json!({
                        "podSelector": fixture.selector(),
                        "policyTypes": ["Ingress"],
                        "ingress": [{"from": [{"namespaceSelector": {
                            "matchLabels": {"kubernetes.io/metadata.name": fixture.other_namespace()},
                        }}]}],
                    })),
                    kubernetes(json!({
                        "podSelector": fixture.selector(),
                        "policyTypes": ["Ingress"],
                        "ingress": [{
                            "from": [{"podSelector": {"matchLabels": {"role": "other-peer"}}}],
                            "ports": [{"protocol": "TCP", "port": "mp-tcp"}],
                        }],
                    })),
                ]
            },
            cells: inbound,
        },
        Case {
            name: "NetworkPolicy: only policyTypes",
            policies: |fixture| {
                vec![kubernetes(
                    json!({"podSelector": fixture.selector(), "policyTypes": ["Egress"]}),
                )]
            },
            cells: both_ways,
        },
    ],
};
