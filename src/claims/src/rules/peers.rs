//! Selectors that select nothing of what the repository knows, or less than their policy's name promises.

use super::Context;
use crate::{
    finding::{Findings, Rule, Severity},
    policy::{Direction, Group, Kind, Selector, Spec},
    yaml::Entry,
};

/// A label that the pods have by another name.
pub const SELECTS_NOTHING: Rule = Rule {
    id: "policy-selects-nothing",
    severity: Severity::Error,
    finds: "A policy selects pods by a label that none has, and other pods have its value under another key.",
    reason: "Labels are compared by key and value. The labels are those of the repository's workloads and Services.",
};

/// Pods that the repository does not know.
pub const SELECTS_UNKNOWN: Rule = Rule {
    id: "policy-selects-unknown",
    severity: Severity::Warning,
    finds: "A policy selects pods that no workload and no Service of the repository has.",
    reason: "Said only of namespaces whose workloads the repository spells out and in which nothing else is installed.",
};

/// An empty selector that is thought to be larger.
pub const OWN_NAMESPACE: Rule = Rule {
    id: "policy-own-namespace",
    severity: Severity::Error,
    finds: "A policy is named after other clusters or namespaces and admits pods of its own namespace only.",
    reason: "An empty selector in a CiliumNetworkPolicy means the pods of the policy's namespace, in every cluster \
             (A33). Name the namespace (k8s:io.kubernetes.pod.namespace) and the cluster \
             (io.cilium.k8s.policy.cluster).",
};

pub(super) fn check(context: &Context<'_>, out: &mut Findings) {
    for spec in &context.policies.specs {
        let subject = spec.subject.iter().filter(|_| !spec.is_for_nodes).cloned();
        let peers = Direction::BOTH.into_iter().flat_map(|direction| spec.allows(direction));
        let peers: Vec<_> = peers.flat_map(|allow| allow.selectors()).collect();
        for selector in subject.chain(peers) {
            selects(context, &selector, out);
        }
        own_namespace(context, spec, out);
    }
}

fn selects(context: &Context<'_>, selector: &Selector<'_>, out: &mut Findings) {
    // Cluster DNS and Cilium itself are installed by others.
    let Some(namespace) = selector
        .namespace
        .filter(|namespace| !namespace.is_empty() && *namespace != "kube-system")
    else {
        return;
    };
    let groups: Vec<&Group> = context.policies.pods.in_namespace(namespace).collect();
    for (name, entry) in &selector.labels {
        let wanted = entry.node.scalar().unwrap_or_default();
        let has = |key: &str, value: &str| {
            groups
                .iter()
                .any(|group| group.labels.iter().any(|(k, v)| k == key && v == value))
        };
        if entry.node.is_opaque() || has(name, &wanted) {
            continue;
        }
        if let Some((key, group)) = under_another_key(&groups, name, &wanted) {
            let what = format!(
                "{name}: {wanted} selects nothing in namespace {namespace}: {} calls its pods {key}: {wanted}",
                group.by
            );
            out.add(&SELECTS_NOTHING, entry.place, what);
            return;
        }
    }
    unknown(context, selector, namespace, &groups, out);
}

fn under_another_key<'a>(groups: &[&'a Group], name: &str, wanted: &str) -> Option<(&'a str, &'a Group)> {
    // Words that are the value of many keys tell nothing.
    if wanted.len() < 3 || ["true", "false", "primary", "default"].contains(&wanted) {
        return None;
    }
    groups.iter().find_map(|group| {
        let mut labels = group.labels.iter();
        let other = labels.find(|(key, value)| value == wanted && key != name);
        other.map(|(key, _)| (key.as_str(), *group))
    })
}

fn unknown(context: &Context<'_>, selector: &Selector<'_>, namespace: &str, groups: &[&Group], out: &mut Findings) {
    if selector.labels.is_empty() || !context.policies.pods.is_spelt_out(namespace) {
        return;
    }
    let can_match = |group: &&&Group| {
        selector.labels.iter().all(|(name, entry): &(&str, &Entry)| {
            let wanted = entry.node.scalar().unwrap_or_default();
            let known = group.labels.iter().find(|(key, _)| key == name);
            entry.node.is_opaque() || known.map_or(!group.is_whole, |(_, value)| *value == wanted)
        })
    };
    if !groups.iter().any(|group| can_match(&group)) {
        let labels: Vec<_> = selector
            .labels
            .iter()
            .map(|(name, entry)| format!("{name}: {}", entry.node.scalar().unwrap_or_default()))
            .collect();
        let what = format!(
            "no workload and no Service of namespace {namespace} has pods with {}",
            labels.join(", ")
        );
        out.add(&SELECTS_UNKNOWN, selector.labels[0].1.place, what);
    }
}

fn own_namespace(context: &Context<'_>, spec: &Spec<'_>, out: &mut Findings) {
    if spec.kind != Kind::Cilium {
        return;
    }
    let path = context.sources.path(spec.document.file());
    let file = path.rsplit('/').next().unwrap_or(path);
    let name = &spec.document.name;
    let clusters = context.layout.clusters.iter();
    let of_cluster =
        clusters.flat_map(|cluster| [format!("{}-cluster", cluster.role), format!("cluster-{}", cluster.role)]);
    let of_many = [
        "cross-cluster",
        "cross-namespace",
        "clustermesh",
        "multicluster",
        "multi-cluster",
    ]
    .map(str::to_owned);
    let mut promises = of_cluster.chain(of_many);
    let Some(promise) = promises.find(|promise| name.contains(promise) || file.contains(promise)) else {
        return;
    };
    for direction in Direction::BOTH {
        let allows = spec.allows(direction);
        let selectors: Vec<_> = allows.iter().flat_map(|allow| allow.selectors()).collect();
        let own = |selector: &Selector<'_>| selector.namespace == spec.namespace() && selector.cluster.is_none();
        let others = |key| allows.iter().any(|allow| !allow.texts(key).is_empty());
        let is_only_own =
            !selectors.is_empty() && selectors.iter().all(own) && !others("fromEntities") && !others("toEntities");
        if let (true, Some(empty)) = (is_only_own, selectors.iter().find(|selector| selector.is_empty())) {
            let namespace = &spec.document.namespace;
            let what = format!(
                "{{}} means the pods of namespace {namespace}, not those of all: {name} is about {promise} and admits \
                 no other namespace"
            );
            out.add(&OWN_NAMESPACE, empty.place, what);
        }
    }
}
