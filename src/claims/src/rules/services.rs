//! Global Services: their annotations, and their namesakes in the other clusters.

use super::Context;
use crate::{
    finding::{Findings, Rule, Severity},
    place::Place,
    sources::Document,
    yaml::{Entry, Node, Value},
};
use std::collections::BTreeSet;

/// Old annotations.
pub const LEGACY_ANNOTATION: Rule = Rule {
    id: "legacy-annotation",
    severity: Severity::Warning,
    finds: "A Service has an annotation of the old names io.cilium/...",
    reason: "They still count for merging backends and not for synchronising EndpointSlices, and are on their way out \
             (B7). The new names are service.cilium.io/global, shared and affinity.",
};

/// A global Service that exists once.
pub const NO_NAMESAKE: Rule = Rule {
    id: "global-service-alone",
    severity: Severity::Error,
    finds: "A Service is global in one cluster and has no global namesake in another.",
    reason: "Services are merged by namespace and name, and each cluster needs its own (B7): without it the name does \
             not resolve there; one that is not global keeps to its own backends.",
};

/// Namesakes without a common port.
pub const PORTS_DIFFER: Rule = Rule {
    id: "global-service-ports",
    severity: Severity::Error,
    finds: "A global Service and its namesake have no port in common.",
    reason: "Ports are matched by name and protocol; the number does not count (B8).",
};

/// Affinity that Cilium does not know.
pub const AFFINITY: Rule = Rule {
    id: "service-affinity",
    severity: Severity::Error,
    finds: "service.cilium.io/affinity is neither local nor remote.",
    reason: "With any other text, `none` included, backends of other clusters are not used at all in 1.18.3 (B9, \
             cilium/cilium#46623). Leave the annotation out instead.",
};

/// Annotations that are no text, or no word that counts.
pub const SHARED: Rule = Rule {
    id: "service-annotation-value",
    severity: Severity::Error,
    finds: "An annotation of a global Service is not the text \"true\" or \"false\".",
    reason: "Annotations are text: Kubernetes refuses a bare true. Any text but \"true\" counts as false (B7).",
};

const GLOBAL: [&str; 2] = ["service.cilium.io/global", "io.cilium/global-service"];
const LEGACY: [(&str, &str); 3] = [
    ("io.cilium/global-service", "service.cilium.io/global"),
    ("io.cilium/shared-service", "service.cilium.io/shared"),
    ("io.cilium/service-affinity", "service.cilium.io/affinity"),
];

pub(super) fn check(context: &Context<'_>, out: &mut Findings) {
    let services: Vec<_> = context.of_kind("Service").collect();
    let roles: BTreeSet<&str> = context
        .layout
        .clusters
        .iter()
        .map(|cluster| cluster.role.as_str())
        .collect();
    for service in &services {
        annotations_of(service, out);
        if is_global(service) {
            let stated = context.layout.members.roles(service.file());
            let elsewhere = roles
                .iter()
                .filter(|role| !stated.is_empty() && !stated.contains(**role));
            for other in elsewhere {
                namesake(context, service, other, &services, out);
            }
        }
    }
}

fn annotation<'a>(service: &'a Document, key: &str) -> Option<&'a Entry> {
    service
        .node
        .dig(&["metadata", "annotations"])
        .and_then(|annotations| annotations.entry(key))
}

fn is_global(service: &Document) -> bool {
    let mut values = GLOBAL.iter().filter_map(|key| annotation(service, key));
    values.any(|entry| entry.node.scalar().as_deref() == Some("true"))
}

fn annotations_of(service: &Document, out: &mut Findings) {
    for (old, new) in LEGACY {
        if let Some(entry) = annotation(service, old) {
            let what = format!("{}: {old} is the old name of {new}", service.name);
            out.add(&LEGACY_ANNOTATION, entry.place, what);
        }
    }
    for key in ["service.cilium.io/affinity", "io.cilium/service-affinity"] {
        let Some(entry) = annotation(service, key).filter(|entry| !entry.node.is_opaque()) else {
            continue;
        };
        let text = entry.node.scalar().unwrap_or_default();
        if !["local", "remote"].contains(&text.as_str()) {
            let what = format!(
                "{}: with affinity {text}, backends of other clusters are not used",
                service.name
            );
            out.add(&AFFINITY, entry.place, what);
        }
    }
    for key in GLOBAL
        .into_iter()
        .chain(["service.cilium.io/shared", "io.cilium/shared-service"])
    {
        let Some(entry) = annotation(service, key).filter(|entry| !entry.node.is_opaque()) else {
            continue;
        };
        let what = match &entry.node.value {
            Value::Text(text) if text == "true" || text == "false" => continue,
            Value::Text(text) => format!("{}: {key} is {text:?}, which counts as \"false\"", service.name),
            _ => format!(
                "{}: {key} is {}: Kubernetes refuses annotations that are no text",
                service.name,
                entry.node.kind()
            ),
        };
        out.add(&SHARED, entry.place, what);
    }
}

fn place_of_global(service: &Document) -> Place {
    GLOBAL
        .iter()
        .find_map(|key| annotation(service, key))
        .map_or(service.place, |entry| entry.place)
}

fn namesake(context: &Context<'_>, service: &Document, other: &str, services: &[&Document], out: &mut Findings) {
    let is_there = |candidate: &&&Document| {
        let roles = context.layout.members.roles(candidate.file());
        candidate.name == service.name
            && candidate.namespace == service.namespace
            && candidate.file() != service.file()
            && (roles.is_empty() || roles.contains(other))
    };
    let own = context.layout.members.roles(service.file());
    let own: Vec<_> = own.iter().map(String::as_str).collect();
    let own = own.join(" and ");
    let Some(found) = services.iter().find(is_there) else {
        let what = format!(
            "{} is global in {own} and has no namesake in {other}: its name does not resolve there",
            service.name
        );
        out.add(&NO_NAMESAKE, service.place, what);
        return;
    };
    if !is_global(found) {
        let what = format!(
            "{} is global in {own} and its namesake in {other} is not: it keeps to its own backends",
            service.name
        );
        out.add(&NO_NAMESAKE, place_of_global(service), what);
    } else if !have_common_port(service, found) {
        let what = format!("{}: no port has the name and protocol of one in {other}", service.name);
        out.add(&PORTS_DIFFER, service.place_of(&["spec", "ports"]), what);
    }
}

/// By name and protocol; an unnamed port goes with every port of its protocol.
fn have_common_port(a: &Document, b: &Document) -> bool {
    let ports = |service: &Document| -> Vec<(String, String)> {
        let ports = service.node.items_at(&["spec", "ports"]).iter();
        let text = |port: &Node, key: &str| port.get(key).and_then(Node::scalar);
        ports
            .map(|port| {
                let protocol = text(port, "protocol").unwrap_or_else(|| "TCP".to_owned());
                (text(port, "name").unwrap_or_default(), protocol)
            })
            .collect()
    };
    let (ours, theirs) = (ports(a), ports(b));
    let fits =
        |a: &(String, String), b: &(String, String)| a.1 == b.1 && (a.0 == b.0 || a.0.is_empty() || b.0.is_empty());
    ours.is_empty() || theirs.is_empty() || ours.iter().any(|a| theirs.iter().any(|b| fits(a, b)))
}
