//! Documents of which only a part is asked about, cut down to it: there are tens of thousands of them.

use super::Workload;
use crate::{
    place::Place,
    yaml::{Entry, Node, Value},
};

/// What is needed of a workload.
pub(super) fn workload(kind: &str, node: &Node) -> Option<Workload> {
    let template: &[&str] = match kind {
        "Pod" => &["metadata"],
        "CronJob" => &["spec", "jobTemplate", "spec", "template", "metadata"],
        _ => &["spec", "template", "metadata"],
    };
    let labels = node.dig(template)?.get("labels")?.entries().iter();
    let text = |key: &str| node.dig(&["metadata", key]).and_then(Node::scalar).unwrap_or_default();
    Some(Workload {
        file: node.place.file,
        namespace: text("namespace"),
        name: format!("{kind} {}", text("name")),
        labels: labels
            .filter_map(|entry| Some((entry.key.clone(), entry.node.scalar()?)))
            .collect(),
    })
}

/// A Service without what is not needed.
pub(super) fn service(node: &Node) -> Node {
    let mut entries = kept(node, &["apiVersion"]);
    let metadata = node
        .entry("metadata")
        .map(|entry| part(entry, &["name", "namespace", "annotations"]));
    let spec = node
        .entry("spec")
        .map(|entry| part(entry, &["selector", "ports", "loadBalancerClass"]));
    entries.extend(metadata.into_iter().chain(spec));
    map(node.place, entries)
}

fn kept(node: &Node, keys: &[&str]) -> Vec<Entry> {
    node.entries()
        .iter()
        .filter(|entry| keys.contains(&entry.key.as_str()))
        .cloned()
        .collect()
}

fn part(entry: &Entry, keys: &[&str]) -> Entry {
    Entry {
        key: entry.key.clone(),
        place: entry.place,
        node: map(entry.node.place, kept(&entry.node, keys)),
    }
}

/// A mapping of these entries.
pub(super) fn map(place: Place, entries: Vec<Entry>) -> Node {
    Node {
        place,
        value: Value::Map(entries),
    }
}
