//! Announcements that are switched on and announce nothing.

use super::Context;
use crate::finding::{Findings, Rule, Severity};

/// A feature without its objects.
pub const NOTHING_ANNOUNCED: Rule = Rule {
    id: "nothing-announced",
    severity: Severity::Warning,
    finds: "BGP or L2 announcements are on, and the repository has no object that says what to announce.",
    reason: "bgpControlPlane needs a CiliumBGPClusterConfig, l2announcements a CiliumL2AnnouncementPolicy. Not said of \
             a repository that has no Kubernetes objects at all.",
};

const NEEDS: &[(&str, &[&str])] = &[
    ("bgpControlPlane.enabled", &["CiliumBGPClusterConfig", "CiliumBGPPeeringPolicy"]),
    ("l2announcements.enabled", &["CiliumL2AnnouncementPolicy"]),
];
/// Kinds that say nothing about whether the repository holds a cluster's objects.
const PACKAGING: &[&str] = &["Helmfile", "MachineConfig", "Kustomization", "ClusterConfiguration", "ConfigMap"];

pub(super) fn check(context: &Context<'_>, out: &mut Findings) {
    let has_workloads = !context.sources.workloads.is_empty();
    let has_objects = has_workloads || context.sources.documents.iter().any(|document| !PACKAGING.contains(&document.kind.as_str()));
    if !has_objects {
        return;
    }
    for (cluster, values) in context.clusters() {
        for (value, kinds) in NEEDS {
            let of_cluster = |kind: &&str| {
                context.of_kind(kind).any(|document| context.roles(document.file()).contains(&cluster.role))
            };
            if values.is_given(value) && values.is_on(value) && !kinds.iter().any(|kind| of_cluster(&kind)) {
                let what = format!("{value} is on, and no {} is in the repository: nothing is announced", kinds[0]);
                out.add(&NOTHING_ANNOUNCED, values.place(value), what);
            }
        }
    }
}
