//! The values that Cilium's chart knows: those of its defaults, and those that only its templates read.

use crate::{
    place::Place,
    yaml::{Node, Value},
};
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};

/// The version of the chart that the tables describe.
pub const CHART_VERSION: &str = "1.18.3";

const DEFAULTS: &str = include_str!("../data/values-1.18.3.tsv");
const TEMPLATE_ONLY: &str = include_str!("../data/template-only-1.18.3.txt");

/// Keys under which Kubernetes' own structures stand: anything may be below them.
const FREE: &[&str] = &[
    "affinity",
    "annotations",
    "capabilities",
    "image",
    "labels",
    "lifecycle",
    "nodeSelector",
    "podAnnotations",
    "podLabels",
    "podSecurityContext",
    "resources",
    "securityContext",
    "serviceAnnotations",
    "tolerations",
    "updateStrategy",
];

/// What a value of the chart may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A boolean.
    Bool,
    /// A number.
    Number,
    /// Text, or what Helm prints as text.
    Text,
    /// A list.
    List,
    /// A map with any keys.
    Open,
    /// Anything: the default is `null`, or the templates alone know it.
    Any,
}

/// How the chart knows a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// A value.
    Value(Shape),
    /// A map with keys of its own.
    Branch,
    /// Below a map that takes any keys.
    Below,
    /// Not at all.
    Unknown,
}

/// The chart's values.
#[derive(Debug)]
pub struct Chart {
    values: BTreeMap<String, (Shape, Node)>,
    branches: BTreeSet<String>,
}

impl Chart {
    /// The tables of [`CHART_VERSION`].
    pub fn new() -> Self {
        let mut chart = Self {
            values: BTreeMap::new(),
            branches: BTreeSet::new(),
        };
        let rows = DEFAULTS.lines().skip(1).filter_map(|line| line.split_once('\t'));
        for (path, default) in rows {
            // A default that the table shortens is a list.
            let json: Json = serde_json::from_str(default).unwrap_or(Json::Array(Vec::new()));
            chart.add(path, shape(&json), node(&json));
        }
        for path in TEMPLATE_ONLY.lines().filter(|line| !line.is_empty()) {
            chart.add(path, Shape::Any, node(&Json::Null));
        }
        chart
    }

    /// The chart of a release: its own defaults, and what templates of [`CHART_VERSION`] read beside them.
    pub fn of_defaults(defaults: &Json) -> Self {
        let mut chart = Self {
            values: BTreeMap::new(),
            branches: BTreeSet::new(),
        };
        chart.add_all(&mut String::new(), defaults);
        for path in TEMPLATE_ONLY.lines().filter(|line| !line.is_empty()) {
            chart.add(path, Shape::Any, node(&Json::Null));
        }
        chart
    }

    fn add_all(&mut self, path: &mut String, json: &Json) {
        let length = path.len();
        for (key, value) in json.as_object().into_iter().flatten() {
            if length > 0 {
                path.push('.');
            }
            path.push_str(key);
            match value {
                Json::Object(map) if !map.is_empty() => self.add_all(path, value),
                _ => self.add(path, shape(value), node(value)),
            }
            path.truncate(length);
        }
    }

    fn add(&mut self, path: &str, shape: Shape, default: Node) {
        self.values.entry(path.to_owned()).or_insert((shape, default));
        for (at, _) in path.match_indices('.') {
            self.branches.insert(path[..at].to_owned());
        }
    }

    /// How the chart knows the value under these keys.
    pub fn know(&self, keys: &[&str]) -> Known {
        let mut path = String::new();
        for (depth, key) in keys.iter().enumerate() {
            let is_last = depth + 1 == keys.len();
            let parent_known = depth == 0 || self.branches.contains(path.as_str());
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(key);
            let is_free = FREE.contains(key) || key.ends_with("Image");
            if is_free && parent_known {
                return if is_last {
                    Known::Value(Shape::Any)
                } else {
                    Known::Below
                };
            }
            match self.values.get(path.as_str()) {
                Some((shape, _)) if is_last => {
                    return if self.branches.contains(path.as_str()) {
                        Known::Branch
                    } else {
                        Known::Value(*shape)
                    };
                }
                Some((Shape::Open | Shape::Any, _)) if !self.branches.contains(path.as_str()) => return Known::Below,
                _ if self.branches.contains(path.as_str()) => {}
                _ => return Known::Unknown,
            }
        }
        Known::Branch
    }

    /// The default of a value.
    pub fn default_of(&self, path: &str) -> Option<&Node> {
        self.values.get(path).map(|(_, default)| default)
    }

    /// The path that was probably meant by one that the chart does not know.
    pub fn suggestion(&self, path: &str) -> Option<&str> {
        let all = || self.values.keys().chain(&self.branches).map(String::as_str);
        let last = path.rsplit('.').next().unwrap_or(path);
        let parent = path.strip_suffix(last).unwrap_or_default();
        let closeness = |candidate: &str| strsim::normalized_damerau_levenshtein(candidate, path);
        let sibling = all()
            .filter(|candidate| candidate.strip_prefix(parent).is_some_and(|rest| !rest.contains('.')))
            .map(|candidate| {
                (
                    strsim::normalized_damerau_levenshtein(&candidate[parent.len()..], last),
                    candidate,
                )
            })
            .filter(|(close, _)| *close >= 0.75)
            .max_by(|a, b| a.0.total_cmp(&b.0));
        if let Some((_, sibling)) = sibling {
            return Some(sibling);
        }
        // A key in the wrong place: the same name, long enough to mean something, elsewhere and nowhere else.
        let same: Vec<_> = all()
            .filter(|candidate| candidate.rsplit('.').next() == Some(last))
            .collect();
        if let ([one], 7..) = (same.as_slice(), last.len()) {
            return Some(one);
        }
        let close = all().map(|candidate| (closeness(candidate), candidate));
        let best = close.max_by(|a, b| a.0.total_cmp(&b.0));
        best.filter(|(close, _)| *close >= 0.85).map(|(_, candidate)| candidate)
    }

    /// The first keys of the chart's paths, by which a file of values is recognised.
    pub fn has_top_key(&self, key: &str) -> bool {
        self.values.contains_key(key) || self.branches.contains(key)
    }
}

impl Default for Chart {
    fn default() -> Self {
        Self::new()
    }
}

fn shape(json: &Json) -> Shape {
    match json {
        Json::Null => Shape::Any,
        Json::Bool(_) => Shape::Bool,
        Json::Number(_) => Shape::Number,
        Json::String(_) => Shape::Text,
        Json::Array(_) => Shape::List,
        Json::Object(_) => Shape::Open,
    }
}

/// JSON as a node without a place.
pub fn node(json: &Json) -> Node {
    let value = match json {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(number) => number
            .as_i64()
            .map_or_else(|| Value::Float(number.as_f64().unwrap_or_default()), Value::Int),
        Json::String(text) => Value::Text(text.clone()),
        Json::Array(items) => Value::List(items.iter().map(node).collect()),
        Json::Object(map) => Value::Map(
            map.iter()
                .map(|(key, value)| crate::yaml::Entry {
                    key: key.clone(),
                    place: Place::default(),
                    node: node(value),
                })
                .collect(),
        ),
    };
    Node {
        place: Place::default(),
        value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn know(path: &str) -> Known {
        Chart::new().know(&path.split('.').collect::<Vec<_>>())
    }

    #[test]
    fn keys_are_known_by_defaults_by_templates_and_below_open_maps() {
        assert_eq!(know("encryption.nodeEncryption"), Known::Value(Shape::Bool));
        assert_eq!(know("encryption"), Known::Branch);
        assert_eq!(know("loadBalancer.mode"), Known::Value(Shape::Any));
        assert_eq!(know("maglev.tableSize"), Known::Value(Shape::Any));
        assert_eq!(know("podAnnotations.anything"), Known::Below);
        assert_eq!(know("hubble.relay.image.tag"), Known::Below);
        assert_eq!(know("operator.nodeSelector.pool"), Known::Below);
        assert_eq!(know("extraConfig.some-key"), Known::Below);
        for path in [
            "dnsProxy.enabled",
            "hostPort.enabled",
            "clustermesh.cacheTTL",
            "nodeEncryption",
            "no.image.tag",
        ] {
            assert_eq!(know(path), Known::Unknown, "{path}");
        }
    }

    #[test]
    fn the_key_probably_meant_is_named_and_no_other() {
        let chart = Chart::new();
        for (wrong, meant) in [
            ("kubeProxyReplacment", Some("kubeProxyReplacement")),
            ("nodeEncryption", Some("encryption.nodeEncryption")),
            ("encryption.nodeEncrypt", Some("encryption.nodeEncryption")),
            ("l2Announcements.enabled", Some("l2announcements.enabled")),
            ("clusterMesh", Some("clustermesh")),
            ("dnsProxy.enabled", None),
            ("somethingElse", None),
        ] {
            assert_eq!(chart.suggestion(wrong), meant, "{wrong}");
        }
    }
}
