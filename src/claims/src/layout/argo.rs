//! Argo CD: Applications of Cilium's chart with values of their own.

use super::{Layer, Members, Origin, Pin, ValueSet, flux::is_cilium_chart, merged};
use crate::{
    place::FileId,
    sources::{Document, Sources, normal},
    values::nested,
    version::Range,
    yaml::{Node, read},
};
use std::collections::{BTreeMap, BTreeSet};

/// One source of an Application that is Cilium's chart.
struct Source {
    file: FileId,
    name: String,
    node: Node,
    cluster: Option<String>,
}

fn sources_of(document: &Document) -> Vec<Source> {
    let spec: &[&str] = match document.kind.as_str() {
        "ApplicationSet" => &["spec", "template", "spec"],
        _ => &["spec"],
    };
    let Some(spec) = document.node.dig(spec) else {
        return Vec::new();
    };
    let single = spec.get("source").into_iter();
    let is_cilium = |source: &&Node| {
        let chart = source.text_at(&["chart"]).or_else(|| source.text_at(&["repoURL"]));
        chart.is_some_and(is_cilium_chart)
    };
    let all = single.chain(spec.items_at(&["sources"])).filter(is_cilium);
    let cluster = spec
        .text_at(&["destination", "name"])
        .filter(|name| !name.contains("{{"));
    all.map(|node| Source {
        file: document.file(),
        name: document.name.clone(),
        node: node.clone(),
        cluster: cluster.map(str::to_owned),
    })
    .collect()
}

fn all(sources: &Sources) -> Vec<Source> {
    let documents = sources.documents.iter();
    let applications = documents.filter(|document| {
        document.group() == "argoproj.io" && ["Application", "ApplicationSet"].contains(&document.kind.as_str())
    });
    applications.flat_map(sources_of).collect()
}

/// The clusters that Applications of Cilium name as their destination.
pub(super) fn roles(sources: &Sources) -> Vec<String> {
    let found = all(sources).into_iter().filter_map(|source| source.cluster);
    found.filter(|name| name != "in-cluster").collect()
}

/// Adds the values and pins of the Applications.
pub(super) fn add(
    sources: &mut Sources,
    members: &Members,
    roles: &BTreeSet<String>,
    sets: &mut BTreeMap<String, Vec<ValueSet>>,
    pins: &mut Vec<Pin>,
) {
    for source in all(sources) {
        let named = source
            .cluster
            .clone()
            .filter(|name| roles.contains(name))
            .map(|name| BTreeSet::from([name]));
        let of = named.unwrap_or_else(|| members.roles(source.file));
        if let Some(entry) = source.node.entry("targetRevision") {
            let text = entry.node.scalar().unwrap_or_default();
            pins.push(Pin {
                range: if entry.node.is_opaque() {
                    None
                } else {
                    Range::parse(&text)
                },
                text,
                place: entry.place,
                by: format!("Application {}", source.name),
                roles: of.clone(),
            });
        }
        let layers = layers(sources, &source.node);
        let for_all = if of.is_empty() { roles.clone() } else { of };
        for role in for_all {
            let set = merged(sources, Origin::Application, layers.clone());
            sets.entry(role).or_default().push(set);
        }
    }
}

/// Argo CD's order: files, then `values`, then `valuesObject`, then parameters.
fn layers(sources: &mut Sources, node: &Node) -> Vec<Layer> {
    let mut layers = Vec::new();
    let Some(helm) = node.get("helm") else { return layers };
    for path in helm.items_at(&["valueFiles"]) {
        // `$values/path` is a path of another source, mostly this repository.
        let text = path.text().unwrap_or_default();
        let text = text
            .strip_prefix('$')
            .and_then(|text| text.split_once('/'))
            .map_or(text, |(_, path)| path);
        let file = normal(text).and_then(|path| sources.file(&path));
        layers.push(file.map_or(Layer::Unreadable, Layer::File));
    }
    if let Some(values) = helm.get("values") {
        let text = values.text().unwrap_or_default();
        match read(text, values.place.file, values.place.line, &mut sources.duplicates) {
            Ok(values) => layers.extend(values.map(Layer::Inline)),
            Err(malformed) => {
                sources.malformed.push(malformed);
                layers.push(Layer::Unreadable);
            }
        }
    }
    layers.extend(helm.get("valuesObject").map(|values| Layer::Inline(values.clone())));
    for parameter in helm.items_at(&["parameters"]) {
        let (Some(name), Some(value)) = (parameter.text_at(&["name"]), parameter.get("value")) else {
            continue;
        };
        layers.push(Layer::Inline(nested(name, value)));
    }
    layers
}
