//! What a helmfile says of Cilium: the version and the values of each environment. Templates are read as text.

use super::{Layer, Pin, flux::is_cilium_chart, pattern::Pattern, roles};
use crate::{
    finding::Findings,
    place::{FileId, Place},
    rules::references::VALUES_MISSING,
    sources::{Sources, beside, folder},
    values::nested,
    version::Range,
    yaml::{Node, Value},
};
use std::collections::{BTreeMap, BTreeSet};

/// Cilium's release in a helmfile.
#[derive(Debug)]
pub(super) struct Bootstrap {
    layers: Vec<Part>,
}

#[derive(Debug)]
enum Part {
    /// A file an environment.
    Each(BTreeMap<String, FileId>),
    /// The same for all.
    All(Layer),
}

/// Cilium's releases in the helmfiles, and their pins.
pub(super) fn read(
    sources: &Sources,
    findings: &mut Findings,
    unpinned: &mut Vec<(Place, String)>,
) -> (Vec<Bootstrap>, Vec<Pin>) {
    let (mut bootstraps, mut pins) = (Vec::new(), Vec::new());
    for document in sources.documents.iter().filter(|document| document.kind == "Helmfile") {
        for release in document.node.items_at(&["releases"]) {
            let chart = release.text_at(&["chart"]).unwrap_or_default();
            if !is_cilium_chart(chart) {
                continue;
            }
            if let Some(version) = release.get("version") {
                let text = version.scalar().unwrap_or_default();
                pins.push(Pin {
                    range: if version.is_opaque() { None } else { Range::parse(&text) },
                    text,
                    place: release.entry("version").map_or(version.place, |entry| entry.place),
                    by: "the bootstrap's helmfile".to_owned(),
                    roles: BTreeSet::new(),
                });
            } else if !chart.starts_with('.') {
                unpinned.push((release.place, "the bootstrap's helmfile".to_owned()));
            }
            let base = folder(sources.path(document.file()));
            let layers = release.items_at(&["values"]).iter();
            let mut layers: Vec<Part> = layers.map(|layer| part(sources, base, layer, findings)).collect();
            for set in release.items_at(&["set"]) {
                let (Some(name), Some(value)) = (set.text_at(&["name"]), set.get("value")) else {
                    continue;
                };
                layers.push(Part::All(Layer::Inline(nested(name, value))));
            }
            // Files of `secrets` are encrypted.
            if !release.items_at(&["secrets"]).is_empty() {
                layers.push(Part::All(Layer::Unreadable));
            }
            bootstraps.push(Bootstrap { layers });
        }
    }
    (bootstraps, pins)
}

fn part(sources: &Sources, base: &str, layer: &Node, findings: &mut Findings) -> Part {
    let path = match &layer.value {
        Value::Text(path) => path,
        Value::Map(_) => return Part::All(Layer::Inline(layer.clone())),
        _ => return Part::All(Layer::Unreadable),
    };
    let Some(path) = beside(base, path) else {
        return Part::All(Layer::Unreadable);
    };
    let pattern = Pattern::of(&path);
    if !pattern.has_hole() {
        let file = sources.file(&path);
        if file.is_none() {
            missing(findings, layer.place, &path);
        }
        return Part::All(file.map_or(Layer::Unreadable, Layer::File));
    }
    let each: BTreeMap<_, _> = sources
        .paths()
        .filter_map(|(file, path)| pattern.role(path).map(|role| (role, file)))
        .collect();
    if each.is_empty() {
        missing(findings, layer.place, &path);
    }
    Part::Each(each)
}

fn missing(findings: &mut Findings, place: Place, path: &str) {
    findings.add(
        &VALUES_MISSING,
        place,
        format!("{path} is not in the repository: helmfile stops there"),
    );
}

impl Bootstrap {
    /// The layers of each cluster.
    pub(super) fn by_role(&self, sources: &mut Sources) -> Vec<(String, Vec<Layer>)> {
        let mut names: BTreeSet<String> = BTreeSet::new();
        for part in &self.layers {
            if let Part::Each(each) = part {
                names.extend(each.keys().cloned());
            }
        }
        if names.is_empty() {
            let files: Vec<FileId> = self
                .layers
                .iter()
                .filter_map(|part| match part {
                    Part::All(Layer::File(file)) => Some(*file),
                    _ => None,
                })
                .collect();
            names.extend(
                files
                    .iter()
                    .rev()
                    .find_map(|file| roles::role_of_values(sources, *file)),
            );
        }
        let layers = |role: &String| {
            let layers = self.layers.iter().filter_map(|part| match part {
                Part::All(layer) => Some(layer.clone()),
                Part::Each(each) => each.get(role).map(|file| Layer::File(*file)),
            });
            (role.clone(), layers.collect())
        };
        names.iter().map(layers).collect()
    }
}
