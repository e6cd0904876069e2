//! What the clusters of a mesh must agree on.

use super::Context;
use crate::{
    finding::{Findings, Rule, Severity},
    layout::Cluster,
    values::Values,
    yaml::Node,
};

/// A mesh of one.
pub const NO_MEMBERS: Rule = Rule {
    id: "mesh-without-members",
    severity: Severity::Error,
    finds: "clustermesh.config is on and lists no clusters.",
    reason: "The Secrets of the mesh are empty: a mesh without peers, and everything says that it is healthy (D8).",
};

/// A cluster that is not listed.
pub const MEMBER_MISSING: Rule = Rule {
    id: "mesh-member-missing",
    severity: Severity::Error,
    finds: "clustermesh.config.clusters does not list another cluster of the repository that is in the mesh.",
    reason: "A cluster connects to those that it lists. Connections are needed in both directions.",
};

/// Names and ids.
pub const NAME_OR_ID: Rule = Rule {
    id: "cluster-name-id",
    severity: Severity::Error,
    finds: "cluster.name or cluster.id is that of another cluster, or not one that a mesh accepts.",
    reason: "A cluster with the name or id of another is rejected; ids go from 1 to clustermesh.maxConnectedClusters, \
             names have at most 32 lower-case letters, digits and hyphens (D4).",
};

/// Settings that must be equal.
pub const SETTINGS_DIFFER: Rule = Rule {
    id: "mesh-settings-differ",
    severity: Severity::Error,
    finds: "A setting that must be equal in all clusters of a mesh is not.",
    reason: "Identities have as many bits for the cluster as clustermesh.maxConnectedClusters asks for; packets \
             between clusters need one way of routing, one tunnel protocol, one encryption and one trust domain.",
};

/// Authorities.
pub const CA_DIFFERS: Rule = Rule {
    id: "mesh-ca-differs",
    severity: Severity::Error,
    finds: "tls.ca.cert is given in several clusters and differs.",
    reason: "Clusters trust each other's certificates through one certificate authority. Its content is not shown.",
};

/// Values that must be equal, each with what empty means, and the value beside which it counts.
const EQUAL: &[(&str, &str, &str)] = &[
    ("clustermesh.maxConnectedClusters", "255", ""),
    ("routingMode", "tunnel", ""),
    ("tunnelProtocol", "vxlan", "routingMode=tunnel"),
    ("encryption.enabled", "false", ""),
    ("encryption.type", "ipsec", "encryption.enabled"),
    (
        "authentication.mutual.spire.trustDomain",
        "",
        "authentication.mutual.spire.enabled",
    ),
];

/// Whether a cluster's values put it into a mesh.
pub(super) fn is_member(values: &Values<'_>) -> bool {
    values.is_on("clustermesh.useAPIServer") || values.is_on("clustermesh.config.enabled")
}

/// The clusters of the mesh.
pub(super) fn members<'a>(context: &Context<'a>) -> Vec<(&'a Cluster, Values<'a>)> {
    context.clusters().filter(|(_, values)| is_member(values)).collect()
}

pub(super) fn check(context: &Context<'_>, out: &mut Findings) {
    let members = members(context);
    for (at, (cluster, values)) in members.iter().enumerate() {
        lists_others(context, cluster, values, &members, out);
        name_and_id(values, &members[..at], out);
    }
    for ((first, values), others) in members.split_first().into_iter() {
        for (other, theirs) in others {
            equal((first, values), (other, theirs), out);
        }
    }
}

fn lists_others(
    context: &Context<'_>,
    cluster: &Cluster,
    values: &Values<'_>,
    members: &[(&Cluster, Values<'_>)],
    out: &mut Findings,
) {
    const LIST: &str = "clustermesh.config.clusters";
    let is_complete = cluster.set().is_some_and(|set| set.is_complete);
    if !values.is_on("clustermesh.config.enabled") || !is_complete {
        return;
    }
    let list = values.get(LIST);
    if list.is_some_and(Node::is_opaque) {
        return;
    }
    let listed = list
        .map_or(&[][..], Node::items)
        .iter()
        .filter_map(|entry| entry.get("name").and_then(Node::scalar));
    // Newer charts take a map by name as well.
    let named = list
        .map_or(&[][..], Node::entries)
        .iter()
        .map(|entry| entry.key.clone());
    let listed: Vec<String> = listed.chain(named).collect();
    if listed.is_empty() {
        let what = format!("{LIST} is empty: {} is a mesh of its own", cluster.role);
        out.add(&NO_MEMBERS, values.place(LIST), what);
        return;
    }
    for (other, _) in members.iter().filter(|(other, _)| other.role != cluster.role) {
        let name = other.name(context.chart);
        if !listed.contains(&name) && !listed.iter().any(|name| name.contains("{{") || name.contains("${")) {
            let what = format!("{LIST} does not list {name}: {} does not connect to it", cluster.role);
            out.add(&MEMBER_MISSING, values.place(LIST), what);
        }
    }
}

fn name_and_id(values: &Values<'_>, before: &[(&Cluster, Values<'_>)], out: &mut Findings) {
    let (Some(name), Some(id)) = (values.text("cluster.name"), values.text("cluster.id")) else {
        return;
    };
    let mut wrong = |path: &str, what: String| out.add(&NAME_OR_ID, values.place(path), what);
    let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.len() > 32 || !name.chars().all(is_name) || name.starts_with('-') || name.ends_with('-') {
        wrong(
            "cluster.name",
            format!("cluster.name {name} is not one: at most 32 of a-z, 0-9 and -"),
        );
    }
    let most = values
        .text("clustermesh.maxConnectedClusters")
        .and_then(|most| most.parse::<u32>().ok())
        .unwrap_or(255);
    if !id.parse::<u32>().is_ok_and(|id| (1..=most).contains(&id)) {
        wrong(
            "cluster.id",
            format!("cluster.id {id} is not between 1 and {most}, which a mesh needs"),
        );
    }
    for (other, theirs) in before {
        if theirs.text("cluster.name").as_ref() == Some(&name) {
            wrong(
                "cluster.name",
                format!("cluster.name {name} is that of {}, too", other.role),
            );
        }
        if theirs.text("cluster.id").as_ref() == Some(&id) {
            wrong("cluster.id", format!("cluster.id {id} is that of {}, too", other.role));
        }
    }
}

fn equal((first, ours): (&Cluster, &Values<'_>), (other, theirs): (&Cluster, &Values<'_>), out: &mut Findings) {
    let text = |values: &Values<'_>, path: &str, empty: &str| {
        let text = values.text(path)?;
        Some(if text.is_empty() { empty.to_owned() } else { text })
    };
    for (path, empty, beside) in EQUAL {
        let counts = |values: &Values<'_>| match *beside {
            "" => true,
            "routingMode=tunnel" => values.text("routingMode").is_some_and(|mode| mode != "native"),
            beside => values.is_on(beside),
        };
        let (Some(a), Some(b)) = (text(ours, path, empty), text(theirs, path, empty)) else {
            continue;
        };
        if counts(ours) && counts(theirs) && a != b {
            let what = format!("{path} is {b} in {} and {a} in {}", other.role, first.role);
            out.add(&SETTINGS_DIFFER, theirs.place(path), what);
        }
    }
    let ca = |values: &Values<'_>| values.text("tls.ca.cert").filter(|cert| !cert.is_empty());
    if let (Some(a), Some(b)) = (ca(ours), ca(theirs))
        && a.trim() != b.trim()
    {
        let what = format!("tls.ca.cert of {} is not that of {}", other.role, first.role);
        out.add(&CA_DIFFERS, theirs.place("tls.ca.cert"), what);
    }
}
