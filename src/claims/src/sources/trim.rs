//! Documents of which only a part is asked about, cut down to it: there are tens of thousands of them.

use super::Workload;
use crate::{
    place::{FileId, Place},
    yaml::{Entry, Node, Value, read_until},
};

/// The keys of a workload's pods' labels.
fn labels_of(kind: &str) -> &'static [&'static str] {
    match kind {
        "Pod" => &["metadata", "labels"],
        "CronJob" => &["spec", "jobTemplate", "spec", "template", "metadata", "labels"],
        _ => &["spec", "template", "metadata", "labels"],
    }
}

/// The head of a workload, up to its pods' labels: its containers are most of it, and are not asked about. Nothing if
/// that head has no name, or cannot be read.
pub(super) fn head(kind: &str, text: &str, file: FileId, line: u32) -> Option<Node> {
    let node = read_until(text, file, line, labels_of(kind), &mut Vec::new()).ok()??;
    (kind != "Pod" && node.dig(&["metadata", "name"]).is_some()).then_some(node)
}

/// What is needed of a workload.
pub(super) fn workload(kind: &str, node: &Node) -> Option<Workload> {
    let labels = node.dig(labels_of(kind))?.entries().iter();
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

/// A Service without what is not needed: of one without annotations of Cilium only whom it selects.
pub(super) fn service(node: &Node) -> Node {
    let annotations = node.dig(&["metadata", "annotations"]).map_or(&[][..], Node::entries);
    let is_of_cilium = annotations.iter().any(|entry| entry.key.contains("cilium"));
    let spec: &[&str] = if is_of_cilium {
        &["selector", "ports", "loadBalancerClass"]
    } else {
        &["selector", "loadBalancerClass"]
    };
    let metadata = node
        .entry("metadata")
        .filter(|_| is_of_cilium)
        .map(|entry| part(entry, &["annotations"]));
    let spec = node.entry("spec").map(|entry| part(entry, spec));
    map(node.place, metadata.into_iter().chain(spec).collect())
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
