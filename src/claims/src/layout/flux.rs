//! Flux: HelmReleases of Cilium, their values and the versions that they follow.

use super::{Layer, Members, Pin};
use crate::{
    finding::Findings,
    place::{FileId, Place},
    rules::references::{CONFIG_MAP_KEY_MISSING, VALUES_FROM_MISSING},
    sources::{Document, Note, Sources, beside, folder},
    version::Range,
    yaml::{Node, read},
};
use std::collections::BTreeSet;

/// A HelmRelease of Cilium.
#[derive(Clone, Debug)]
pub struct Release {
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub place: Place,
    /// The clusters that its path names; none means that nothing says so.
    pub roles: BTreeSet<String>,
    document: Document,
}

/// Whether a chart's name or address is Cilium's own chart.
pub fn is_cilium_chart(chart: &str) -> bool {
    chart.trim_end_matches('/').rsplit('/').next() == Some("cilium")
}

/// The HelmReleases of Cilium; their pins go to `pins`.
pub(super) fn releases(
    sources: &Sources,
    members: &Members,
    pins: &mut Vec<Pin>,
    unpinned: &mut Vec<(Place, String)>,
) -> Vec<Release> {
    let mut found = Vec::new();
    for document in sources
        .documents
        .iter()
        .filter(|document| document.kind == "HelmRelease")
    {
        let chart = document.node.text_at(&["spec", "chart", "spec", "chart"]);
        let reference = document.node.dig(&["spec", "chartRef"]);
        let source = reference.and_then(|reference| source(sources, document, reference));
        let release_name = document
            .node
            .text_at(&["spec", "releaseName"])
            .unwrap_or(&document.name);
        let is_cilium = match (chart, source) {
            (Some(chart), _) => is_cilium_chart(chart),
            (None, Some(source)) => is_cilium_chart(source.node.text_at(&["spec", "url"]).unwrap_or_default()),
            (None, None) => reference.is_some() && release_name == "cilium",
        };
        if !is_cilium {
            continue;
        }
        let roles = members.roles(document.file());
        let version = document.node.dig(&["spec", "chart", "spec", "version"]);
        if let Some(version) = version {
            let place = document.place_of(&["spec", "chart", "spec", "version"]);
            pins.push(pin(
                version,
                place,
                format!("HelmRelease {}", document.name),
                roles.clone(),
            ));
        }
        if version.is_none() && chart.is_some() {
            let place = document.place_of(&["spec", "chart", "spec"]);
            unpinned.push((place, format!("HelmRelease {}", document.name)));
        }
        if let Some(source) = source {
            if source.node.dig(&["spec", "ref"]).is_none() {
                unpinned.push((source.place, format!("OCIRepository {}", source.name)));
            }
            for key in ["semver", "tag"] {
                let Some(version) = source.node.dig(&["spec", "ref", key]) else {
                    continue;
                };
                let place = source.place_of(&["spec", "ref", key]);
                let by = format!("OCIRepository {}", source.name);
                let already = pins.iter_mut().find(|pin| pin.place == place);
                match already {
                    Some(known) if roles.is_empty() || known.roles.is_empty() => known.roles.clear(),
                    Some(known) => known.roles.extend(roles.clone()),
                    None => pins.push(pin(version, place, by, roles.clone())),
                }
            }
        }
        found.push(Release {
            name: document.name.clone(),
            place: document.place,
            roles,
            document: document.clone(),
        });
    }
    found
}

fn pin(version: &Node, place: Place, by: String, roles: BTreeSet<String>) -> Pin {
    let text = version.scalar().unwrap_or_default();
    Pin {
        range: if version.is_opaque() { None } else { Range::parse(&text) },
        text,
        place,
        by,
        roles,
    }
}

/// The OCIRepository that a `chartRef` names.
fn source<'a>(sources: &'a Sources, release: &Document, reference: &Node) -> Option<&'a Document> {
    let name = reference.text_at(&["name"])?;
    let namespace = reference.text_at(&["namespace"]).unwrap_or(&release.namespace);
    let named = |document: &&Document| document.kind == "OCIRepository" && document.name == name;
    let mut all = sources.documents.iter().filter(named);
    all.clone()
        .find(|document| document.namespace == namespace)
        .or_else(|| all.next())
}

impl Release {
    /// The layers of its values for a cluster, and whether all of them are in the repository.
    pub(super) fn layers(
        &self,
        sources: &mut Sources,
        members: &Members,
        role: &str,
        findings: &mut Findings,
    ) -> (Vec<Layer>, bool) {
        let (mut layers, mut is_complete) = (Vec::new(), true);
        for from in self.document.node.items_at(&["spec", "valuesFrom"]) {
            let layer = self.from(sources, members, role, from, findings);
            is_complete &= layer.is_some();
            layers.extend(layer);
        }
        if let Some(values) = self.document.node.dig(&["spec", "values"]) {
            layers.push(Layer::Inline(values.clone()));
        }
        (layers, is_complete)
    }

    fn from(
        &self,
        sources: &mut Sources,
        members: &Members,
        role: &str,
        from: &Node,
        findings: &mut Findings,
    ) -> Option<Layer> {
        let (kind, name) = (from.text_at(&["kind"])?, from.text_at(&["name"])?);
        let key = from.text_at(&["valuesKey"]).unwrap_or("values.yaml");
        let place = from.entry("name").map_or(from.place, |entry| entry.place);
        if from.get("targetPath").is_some() || kind != "ConfigMap" || from.get("name").is_some_and(Node::is_opaque) {
            let what = format!("HelmRelease {}: values of {kind} {name} are not read", self.name);
            sources.notes.push(Note {
                file: self.place.file,
                what,
            });
            return None;
        }
        let mut made = generators(sources, name);
        made.retain(|(file, _)| {
            let roles = members.roles(*file);
            roles.is_empty() || roles.contains(role)
        });
        let written = sources
            .documents
            .iter()
            .find(|document| document.kind == "ConfigMap" && document.name == name);
        if let Some((file, generator)) = made.first() {
            let base = folder(sources.path(*file)).to_owned();
            let Some(path) = file_of_key(generator, key) else {
                let what = format!("ConfigMap {name} is generated without the key {key}");
                findings.add(&CONFIG_MAP_KEY_MISSING, place, what);
                return None;
            };
            let found = beside(&base, &path).and_then(|path| sources.file(&path));
            if found.is_none() {
                findings.add(
                    &CONFIG_MAP_KEY_MISSING,
                    generator.place,
                    format!("{path} is not in the repository"),
                );
            }
            return found.map(Layer::File);
        }
        let Some(document) = written else {
            let is_optional = from.get("optional").is_some_and(Node::is_truthy);
            if !is_optional {
                let what = format!(
                    "ConfigMap {name} is made nowhere in the repository: Flux waits for it, and the release stays as \
                     it is"
                );
                findings.add(&VALUES_FROM_MISSING, place, what);
            }
            return None;
        };
        let data = document.node.dig(&["data", key])?;
        let (text, line) = (data.text()?.to_owned(), data.place.line);
        match read(&text, document.file(), line, &mut sources.duplicates) {
            Ok(node) => node.map(Layer::Inline),
            Err(malformed) => {
                sources.malformed.push(malformed);
                None
            }
        }
    }
}

/// The configMapGenerators of this name, each with its file.
fn generators(sources: &Sources, name: &str) -> Vec<(FileId, Node)> {
    let kustomizations = sources
        .documents
        .iter()
        .filter(|document| document.kind == "Kustomization");
    let all = kustomizations.flat_map(|document| {
        let generators = document.node.items_at(&["configMapGenerator"]).iter();
        generators.map(|generator| (document.file(), generator))
    });
    let named = all.filter(|(_, generator)| generator.text_at(&["name"]) == Some(name));
    named.map(|(file, generator)| (file, generator.clone())).collect()
}

/// The path that a generator stores under a key.
fn file_of_key(generator: &Node, key: &str) -> Option<String> {
    let mut files = generator.items_at(&["files"]).iter().filter_map(Node::text);
    files.find_map(|file| match file.split_once('=') {
        Some((name, path)) => (name == key).then(|| path.to_owned()),
        None => (file.rsplit('/').next() == Some(key)).then(|| file.to_owned()),
    })
}
