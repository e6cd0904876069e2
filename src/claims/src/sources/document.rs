//! The documents of a file that matter here. What they are is seen from the text, so that the rest is never parsed.

use super::{Note, trim};
use crate::{
    place::{FileId, Place},
    yaml::{Duplicate, Entry, Malformed, Node, Value, read as parse, with_holes},
};
use std::{fs, path::Path};

/// Kinds that claims are made in, or that tell what claims refer to.
const KINDS: &[&str] = &[
    "Application",
    "ApplicationSet",
    "CiliumBGPAdvertisement",
    "CiliumBGPClusterConfig",
    "CiliumBGPNodeConfigOverride",
    "CiliumBGPPeerConfig",
    "CiliumBGPPeeringPolicy",
    "CiliumCIDRGroup",
    "CiliumClusterwideNetworkPolicy",
    "CiliumEgressGatewayPolicy",
    "CiliumL2AnnouncementPolicy",
    "CiliumLoadBalancerIPPool",
    "CiliumLocalRedirectPolicy",
    "CiliumNetworkPolicy",
    "Cluster",
    "ClusterConfiguration",
    "ConfigMap",
    "CronJob",
    "DaemonSet",
    "Deployment",
    "Gateway",
    "HTTPRoute",
    "HelmRelease",
    "HelmRepository",
    "Ingress",
    "Job",
    "Kustomization",
    "List",
    "Namespace",
    "NetworkPolicy",
    "OCIRepository",
    "Pod",
    "ReplicaSet",
    "Rollout",
    "Service",
    "StatefulSet",
];
/// Kinds of which the pods' labels are all that counts.
const WORKLOADS: &[&str] = &[
    "CronJob",
    "DaemonSet",
    "Deployment",
    "Job",
    "Pod",
    "ReplicaSet",
    "Rollout",
    "StatefulSet",
];
/// Kubernetes accepts no ConfigMap larger than this.
const LARGEST_CONFIG_MAP: usize = 1 << 20;
/// A file larger than this is not read.
const LARGEST_FILE: u64 = 64 << 20;

/// A document of a kind that matters.
#[derive(Clone, Debug)]
pub struct Document {
    /// `kind`; of documents without one `Helmfile`, `Kustomization`, `MachineConfig`, or nothing for values.
    pub kind: String,
    /// `apiVersion`.
    pub api: String,
    /// `metadata.name`.
    pub name: String,
    /// `metadata.namespace`, empty where there is none.
    pub namespace: String,
    /// Where it begins.
    pub place: Place,
    /// All of it; of Services what rules ask about.
    pub node: Node,
}

impl Document {
    fn of(kind: &str, node: Node) -> Self {
        let text = |path: &[&str]| node.dig(path).and_then(Node::scalar).unwrap_or_default();
        Self {
            kind: kind.to_owned(),
            api: text(&["apiVersion"]),
            name: text(&["metadata", "name"]),
            namespace: text(&["metadata", "namespace"]),
            place: node.place,
            node,
        }
    }

    /// The file.
    pub fn file(&self) -> FileId {
        self.place.file
    }

    /// The group of `apiVersion`.
    pub fn group(&self) -> &str {
        self.api.split_once('/').map_or("", |(group, _)| group)
    }

    /// Where the value under these keys stands, or the nearest key above it.
    pub fn place_of(&self, path: &[&str]) -> Place {
        let (mut node, mut place) = (&self.node, self.place);
        for key in path {
            let Some(entry) = node.entry(key) else { break };
            (node, place) = (&entry.node, entry.place);
        }
        place
    }
}

/// A Deployment, StatefulSet, Job, ...: of these the pods' labels are all that counts.
#[derive(Clone, Debug)]
pub struct Workload {
    /// The file.
    pub file: FileId,
    /// Its namespace, empty where there is none.
    pub namespace: String,
    /// Kind and name.
    pub name: String,
    /// Its pods' labels.
    pub labels: Vec<(String, String)>,
}

/// What a file holds.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub documents: Vec<Document>,
    pub workloads: Vec<Workload>,
    pub malformed: Vec<Malformed>,
    pub duplicates: Vec<Duplicate>,
    pub notes: Vec<Note>,
}

impl Contents {
    fn noted(file: FileId, what: impl Into<String>) -> Self {
        let what = what.into();
        Self {
            notes: vec![Note { file, what }],
            ..Self::default()
        }
    }

    /// Parses a document; a template that is no YAML before it is rendered is read with holes, or not at all.
    fn parse(&mut self, text: &str, file: FileId, line: u32) -> Option<Node> {
        let malformed = match parse(text, file, line, &mut self.duplicates) {
            Ok(node) => return node,
            Err(malformed) => malformed,
        };
        if !text.contains("{{") {
            self.malformed.push(malformed);
            return None;
        }
        match parse(&with_holes(text), file, line, &mut self.duplicates) {
            Ok(node) => node,
            Err(_) => {
                let what = format!("line {line}: a template that is no YAML before it is rendered: not read");
                self.notes.push(Note { file, what });
                None
            }
        }
    }
}

/// The file's text, without a byte order mark.
fn text(path: &Path, file: FileId) -> Result<String, Contents> {
    let size = fs::metadata(path).map_or(0, |meta| meta.len());
    if size > LARGEST_FILE {
        return Err(Contents::noted(
            file,
            format!("{} MiB: too large, not read", size >> 20),
        ));
    }
    let bytes = fs::read(path).map_err(|error| Contents::noted(file, format!("not read: {error}")))?;
    let text = String::from_utf8(bytes).map_err(|_| Contents::noted(file, "not UTF-8: not read"))?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

/// The documents that matter of a file.
pub(super) fn read(path: &Path, name: &str, file: FileId) -> Contents {
    let text = match text(path, file) {
        Ok(text) => text,
        Err(contents) => return contents,
    };
    let mut contents = Contents::default();
    for (chunk, line) in chunks(&text) {
        let Some(kind) = kind(chunk, name) else { continue };
        if kind == "ConfigMap" && chunk.len() > LARGEST_CONFIG_MAP {
            continue;
        }
        let cheap = match kind.as_str() {
            "ConfigMap" => named_only(chunk, file, line),
            kind if WORKLOADS.contains(&kind) => trim::head(kind, chunk, file, line),
            _ => None,
        };
        if let Some(node) = cheap.or_else(|| contents.parse(chunk, file, line)) {
            add(&mut contents, &kind, node);
        }
    }
    contents
}

/// A ConfigMap without values in it, such as a dashboard: that it exists is all that counts, so it is not parsed.
fn named_only(chunk: &str, file: FileId, line: u32) -> Option<Node> {
    let has_values = [".yaml:", ".yml:", "values:"].iter().any(|key| chunk.contains(key));
    let mut metadata = chunk.lines().skip_while(|line| line.trim_end() != "metadata:").skip(1);
    let name = metadata.find_map(|line| {
        line.strip_prefix("  name:")
            .or_else(|| (!line.starts_with(' ')).then_some(""))
    });
    let name = name.map(|name| name.trim().trim_matches(['"', '\'']))?;
    if has_values || name.is_empty() {
        return None;
    }
    let place = Place { file, line, column: 1 };
    let leaf = |text: &str| Node {
        place,
        value: Value::Text(text.to_owned()),
    };
    let entry = |key: &str, node| Entry {
        key: key.to_owned(),
        place,
        node,
    };
    let metadata = trim::map(place, vec![entry("name", leaf(name))]);
    Some(trim::map(
        place,
        vec![entry("apiVersion", leaf("v1")), entry("metadata", metadata)],
    ))
}

/// The first document of a file of values, as a document without a kind.
pub(super) fn read_values(path: &Path, file: FileId) -> Contents {
    let text = match text(path, file) {
        Ok(text) => text,
        Err(contents) => return contents,
    };
    let mut contents = Contents::default();
    for (chunk, line) in chunks(&text) {
        if let Some(node) = contents.parse(chunk, file, line) {
            contents.documents.push(Document::of("", node));
            break;
        }
    }
    contents
}

fn add(contents: &mut Contents, kind: &str, node: Node) {
    if kind == "List" {
        for item in node.items_at(&["items"]) {
            if let Some(kind) = item.text_at(&["kind"]).filter(|kind| KINDS.contains(kind)) {
                add(contents, kind, item.clone());
            }
        }
        return;
    }
    let kind = match kind {
        "" => node.text_at(&["kind"]).unwrap_or_default().to_owned(),
        kind => kind.to_owned(),
    };
    if !(KINDS.contains(&kind.as_str()) || ["Helmfile", "MachineConfig"].contains(&kind.as_str())) {
        return;
    }
    if WORKLOADS.contains(&kind.as_str()) {
        contents.workloads.extend(trim::workload(&kind, &node));
        return;
    }
    let mut document = Document::of(&kind, node);
    if kind == "Service" {
        document.node = trim::service(&document.node);
    }
    contents.documents.push(document);
}

/// The documents of a text, each with the line on which it begins.
fn chunks(text: &str) -> Vec<(&str, u32)> {
    let mut found = Vec::new();
    let (mut start, mut line) = (0, 1);
    let mut push = |from: usize, to: usize, line: &mut u32| {
        let chunk = &text[from..to];
        // Directives alone are no document.
        let has_content = chunk
            .lines()
            .any(|line| !line.trim_start().is_empty() && !line.starts_with(['%', '#']));
        if has_content {
            found.push((chunk, *line));
        }
        let lines = chunk.bytes().filter(|byte| *byte == b'\n').count();
        *line += u32::try_from(lines).unwrap_or_default();
    };
    for (at, _) in text.match_indices("\n---") {
        let after = text[at + 4..].bytes().next();
        if after.is_none_or(|byte| byte.is_ascii_whitespace()) {
            push(start, at + 1, &mut line);
            start = at + 1;
        }
    }
    push(start, text.len(), &mut line);
    found
}

/// The kind of a document that matters, from its text; an empty one is seen once it is parsed.
fn kind(chunk: &str, name: &str) -> Option<String> {
    let file = name.rsplit('/').next().unwrap_or(name);
    // A Component is one, too, and the kind may be left out.
    if ["kustomization.yaml", "kustomization.yml"].contains(&file) {
        return Some("Kustomization".to_owned());
    }
    if let Some(kind) = top_key(chunk, "kind:") {
        return KINDS.contains(&kind).then(|| kind.to_owned());
    }
    if chunk.trim_start().starts_with('{') {
        return chunk.contains("\"kind\"").then(String::new);
    }
    if chunk.contains("releases:") && chunk.contains("chart:") {
        return Some("Helmfile".to_owned());
    }
    chunk.contains("podSubnets:").then(|| "MachineConfig".to_owned())
}

/// The text of a key at the first column.
fn top_key<'a>(chunk: &'a str, key: &str) -> Option<&'a str> {
    let after_break = format!("\n{key}");
    let mut rest = chunk;
    loop {
        let line = if let Some(line) = rest.strip_prefix(key) {
            line
        } else {
            &rest[rest.find(&after_break)? + after_break.len()..]
        };
        let value = line.lines().next().unwrap_or_default();
        let value = value
            .split(" #")
            .next()
            .unwrap_or_default()
            .trim()
            .trim_matches(['"', '\'']);
        if !value.is_empty() {
            return Some(value);
        }
        rest = line;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_split_with_their_lines() {
        let text = "%YAML 1.1\n# head\n---\na: 1\n---  # next\nb: 2\n--- \nc: |\n  ---\n  x\n";
        let found: Vec<_> = chunks(text)
            .into_iter()
            .map(|(chunk, line)| (chunk.lines().count(), line))
            .collect();
        assert_eq!(found, [(2, 3), (2, 5), (4, 7)]);
    }

    #[test]
    fn the_kind_is_seen_without_parsing() {
        assert_eq!(
            kind("apiVersion: v1\nkind: Service\n", "a.yaml").as_deref(),
            Some("Service")
        );
        assert_eq!(kind("kind: \"Service\" # x\r\n", "a.yaml").as_deref(), Some("Service"));
        assert_eq!(kind("apiVersion: v1\nkind: Secret\n", "a.yaml"), None);
        assert_eq!(kind("data:\n  kind: Service\n", "a.yaml"), None);
        assert_eq!(
            kind("resources: []\n", "x/kustomization.yaml").as_deref(),
            Some("Kustomization")
        );
        assert_eq!(kind("{\"kind\": \"Service\"}", "a.yaml").as_deref(), Some(""));
    }
}
