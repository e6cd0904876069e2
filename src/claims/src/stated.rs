//! What a repository says of the clusters of a run, in the words of the contract: values that the table knows, and
//! pins. Of other values only what is needed to compare them, hidden, since they may be secret.

use crate::{
    chart::{self, Known},
    check::shown_path,
    place::Place,
    repository::{Repository, Tables},
    table::shown,
    values::{Leaf, Values, leaves},
    yaml::Node,
};
use meshproof_contract::{
    ClaimSource, ClusterName, GitFacts,
    chain::{Hidden, Pin, Stated, Unshown},
};
use serde_json::Value as Json;

impl Repository {
    /// What it states of the clusters.
    pub fn stated(&self) -> GitFacts {
        let Self {
            request,
            sources,
            layout,
            tables,
            ..
        } = self;
        let at = |place: Place| ClaimSource::File {
            path: shown_path(&request.root, sources.path(place.file)),
            line: place.line,
        };
        let mut facts = GitFacts::default();
        for cluster in &layout.clusters {
            let name = ClusterName::new(&cluster.role);
            let Some(set) = cluster.set() else { continue };
            if set.is_complete {
                facts.complete.push(name.clone());
            }
            tables.read(&name, &set.values, &|leaf| at(leaf.place), &mut facts);
        }
        for pin in &layout.pins {
            facts.pins.push(Pin {
                clusters: pin.roles.iter().map(ClusterName::new).collect(),
                version: pin.text.clone(),
                by: pin.by.clone(),
                source: at(pin.place),
            });
        }
        facts.from = if self.is_repository {
            request.root.display().to_string()
        } else {
            let files = request.values.iter().map(|(_, file)| file.display().to_string());
            files.collect::<Vec<_>>().join(", ")
        };
        facts
    }
}

/// What an object in the cluster states, such as the `spec.values` of a HelmRelease: what Flux has applied of Git.
pub fn stated_by_object(cluster: &ClusterName, object: &str, values: &Json, is_complete: bool) -> GitFacts {
    let source = ClaimSource::Live {
        object: object.to_owned(),
    };
    let mut facts = GitFacts {
        from: object.to_owned(),
        complete: is_complete.then(|| cluster.clone()).into_iter().collect(),
        ..GitFacts::default()
    };
    Tables::new().read(cluster, &chart::node(values), &|_| source.clone(), &mut facts);
    facts
}

/// A value as it is compared where it may not be shown. `null`, and what has no content, are as good as nothing.
pub fn hidden(node: &Node) -> Option<Hidden> {
    let json = comparable(node.json());
    let is_empty = match &json {
        Json::Null => true,
        Json::Array(items) => items.is_empty(),
        Json::Object(map) => map.is_empty(),
        Json::String(text) => text.is_empty(),
        _ => false,
    };
    (!is_empty).then(|| Hidden::new(json.to_string()))
}

/// Numbers as Go writes them: whole ones without a point.
fn comparable(json: Json) -> Json {
    match json {
        Json::Number(number) => {
            let whole = number
                .as_f64()
                .filter(|value| value.fract() == 0.0 && value.abs() < 1e15);
            whole.map_or(Json::Number(number), |value| Json::from(value as i64))
        }
        Json::Array(items) => items.into_iter().map(comparable).collect(),
        Json::Object(map) => Json::Object(map.into_iter().map(|(key, value)| (key, comparable(value))).collect()),
        other => other,
    }
}

/// Whether something in it is known only elsewhere.
fn has_opaque(node: &Node) -> bool {
    let inner = node.entries().iter().map(|entry| &entry.node);
    node.is_opaque() || inner.chain(node.items()).any(has_opaque)
}

/// Whether the table's text of a value leaves nothing of it out.
fn is_whole(node: &Node) -> bool {
    node.scalar().is_some() || node.is_null() || node.items().iter().all(|item| item.scalar().is_some())
}

impl Tables {
    fn read(&self, cluster: &ClusterName, given: &Node, at: &dyn Fn(&Leaf<'_>) -> ClaimSource, facts: &mut GitFacts) {
        let values = Values {
            chart: &self.chart,
            given,
        };
        for leaf in leaves(given).iter().filter(|leaf| !has_opaque(leaf.node)) {
            let path = leaf.path();
            let known = self.chart.know(&leaf.keys) != Known::Unknown;
            let row = self.table.row(&path).filter(|_| known);
            if row.is_none() || !is_whole(leaf.node) {
                facts.unshown.push(Unshown {
                    cluster: cluster.clone(),
                    keys: leaf.keys.iter().map(|key| (*key).to_owned()).collect(),
                    value: hidden(leaf.node).unwrap_or_else(|| Hidden::new("")),
                    source: at(leaf),
                });
            }
            let Some(row) = row else { continue };
            facts.stated.push(Stated {
                cluster: cluster.clone(),
                claim: path,
                value: shown(leaf.node),
                source: at(leaf),
                config: row
                    .config_keys
                    .iter()
                    .filter_map(|key| self.prediction.entry(key, &values))
                    .collect(),
            });
        }
    }
}
