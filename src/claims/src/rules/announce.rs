//! Announcements that are switched on and announce nothing.

use super::Context;
use crate::{
    finding::{Findings, Rule, Severity},
    sources::Document,
    yaml::Node,
};

/// A feature without its objects.
pub const NOTHING_ANNOUNCED: Rule = Rule {
    id: "nothing-announced",
    severity: Severity::Warning,
    finds: "BGP or L2 announcements are on, and the repository has no object that says what to announce.",
    reason: "bgpControlPlane needs a CiliumBGPClusterConfig, l2announcements a CiliumL2AnnouncementPolicy. Not said of \
             a repository that has no Kubernetes objects at all.",
};

/// An L2 policy for nothing.
pub const L2_NOTHING: Rule = Rule {
    id: "l2-policy-announces-nothing",
    severity: Severity::Warning,
    finds: "A CiliumL2AnnouncementPolicy has neither loadBalancerIPs nor externalIPs.",
    reason: "Both are off unless they are set to true: the policy selects Services and announces none of their \
             addresses.",
};

/// A peer without its configuration.
pub const PEER_CONFIG_MISSING: Rule = Rule {
    id: "bgp-peer-config-missing",
    severity: Severity::Error,
    finds: "A CiliumBGPClusterConfig refers to a CiliumBGPPeerConfig that the repository does not have.",
    reason: "The peer is not configured; condition cilium.io/MissingPeerConfigs of the object says so (B21).",
};

const NEEDS: &[(&str, &[&str])] = &[
    (
        "bgpControlPlane.enabled",
        &["CiliumBGPClusterConfig", "CiliumBGPPeeringPolicy"],
    ),
    ("l2announcements.enabled", &["CiliumL2AnnouncementPolicy"]),
];
/// Kinds that say nothing about whether the repository holds a cluster's objects.
const PACKAGING: &[&str] = &[
    "Helmfile",
    "MachineConfig",
    "Kustomization",
    "ClusterConfiguration",
    "ConfigMap",
];

pub(super) fn check(context: &Context<'_>, out: &mut Findings) {
    let has_workloads = !context.sources.workloads.is_empty();
    let has_objects = has_workloads
        || context
            .sources
            .documents
            .iter()
            .any(|document| !PACKAGING.contains(&document.kind.as_str()));
    if !has_objects {
        return;
    }
    for policy in context.of_kind("CiliumL2AnnouncementPolicy") {
        l2(policy, out);
    }
    for config in context.of_kind("CiliumBGPClusterConfig") {
        peers(context, config, out);
    }
    for (cluster, values) in context.clusters() {
        for (value, kinds) in NEEDS {
            let of_cluster = |kind: &&str| {
                context
                    .of_kind(kind)
                    .any(|document| context.roles(document.file()).contains(&cluster.role))
            };
            if values.is_given(value) && values.is_on(value) && !kinds.iter().any(of_cluster) {
                let what = format!(
                    "{value} is on, and no {} is in the repository: nothing is announced",
                    kinds[0]
                );
                out.add(&NOTHING_ANNOUNCED, values.place(value), what);
            }
        }
    }
}

fn l2(policy: &Document, out: &mut Findings) {
    let fields = ["loadBalancerIPs", "externalIPs"].map(|field| policy.node.dig(&["spec", field]));
    let can_be_on = |field: &Option<&Node>| field.is_some_and(|field| field.is_truthy() || field.is_opaque());
    if !fields.iter().any(can_be_on) {
        let what = format!(
            "{} has neither loadBalancerIPs nor externalIPs: it announces nothing",
            policy.name
        );
        out.add(&L2_NOTHING, policy.place_of(&["spec"]), what);
    }
}

fn peers(context: &Context<'_>, config: &Document, out: &mut Findings) {
    let instances = config.node.items_at(&["spec", "bgpInstances"]).iter();
    for peer in instances.flat_map(|instance| instance.items_at(&["peers"])) {
        let Some(reference) = peer.dig(&["peerConfigRef", "name"]).filter(|name| !name.is_opaque()) else {
            continue;
        };
        let name = reference.scalar().unwrap_or_default();
        if !context.of_kind("CiliumBGPPeerConfig").any(|found| found.name == name) {
            let what = format!("no CiliumBGPPeerConfig {name} is in the repository: the peer is not configured");
            out.add(&PEER_CONFIG_MISSING, reference.place, what);
        }
    }
}
