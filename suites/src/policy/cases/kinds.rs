//! The other kinds of policy: cluster-wide ones and Kubernetes' own.

use super::{both_ways, inbound};
use crate::{
    kit::object::policy::{cluster_wide, kubernetes},
    policy::case::{self, Case, PolicyCheck},
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

/// NetworkPolicy with an `ipBlock`.
pub const IP_BLOCK: PolicyCheck = PolicyCheck {
    id: case::IP_BLOCK,
    text: CheckText {
        title: "A NetworkPolicy with an ipBlock is in force, and the range opens nothing between pods",
        proves: "A NetworkPolicy that admits an address range besides pods denies everybody else. Cilium gives pods \
                 identities of their own, so the range and its exceptions open and close nothing between pods.",
        how: "A NetworkPolicy admits half of all addresses but for an exception, and pods of one label, and allows \
              egress to an address range only. Every cell is probed before, under and after. What Kubernetes \
              documents is expected whatever `policy-default-local-cluster` says.",
        control: CONTROL,
        when_red: "Every cell stays open: `policy-default-local-cluster: true` in ConfigMap cilium-config \
                   (`clustermesh.policyDefaultLocalCluster`) makes Cilium refuse each NetworkPolicy that has an \
                   ipBlock under ingress; `kubectl --context CONTEXT -n kube-system logs AGENT_POD -c cilium-agent` \
                   then says \"Combining FromEndpoints and FromCIDRSet is not supported yet\". Write such peers as \
                   CiliumNetworkPolicy. One pod is open: compare its identity in `cilium-dbg bpf ipcache list`.",
    },
    scope: Scope::Cluster,
    claim: ClaimKind::Policy,
    faults: &[
        "policy-ip-block-refused",
        "policy-knp-ignored",
        "policy-cidr-matches-pods",
    ],
    cases: &[Case {
        name: "NetworkPolicy: an address range with an exception, and pods of a label",
        policies: |fixture| {
            vec![kubernetes(json!({
                "podSelector": fixture.selector(),
                "policyTypes": ["Ingress", "Egress"],
                "ingress": [{"from": [
                    {"ipBlock": {"cidr": "0.0.0.0/1", "except": ["10.0.0.0/16"]}},
                    {"podSelector": {"matchLabels": {"role": "other-peer"}}},
                ]}],
                "egress": [{"to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}],
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
