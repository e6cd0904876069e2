//! Helm's values of one cluster: files merged as Helm merges them, every leaf with its place.

use crate::{
    chart::Chart,
    place::Place,
    yaml::{Entry, Node, Value},
};

/// Puts `over` on top of `base`: maps deep, everything else replaced. A `null` stays, and removes the chart's default.
pub fn merge(base: &mut Node, over: Node) {
    match (&mut base.value, over) {
        (
            Value::Map(known),
            Node {
                value: Value::Map(entries),
                ..
            },
        ) => {
            for entry in entries {
                match known.iter_mut().find(|candidate| candidate.key == entry.key) {
                    Some(found) => {
                        if !(matches!(found.node.value, Value::Map(_)) && matches!(entry.node.value, Value::Map(_))) {
                            found.place = entry.place;
                        }
                        merge(&mut found.node, entry.node);
                    }
                    None => known.push(entry),
                }
            }
        }
        (_, over) => *base = over,
    }
}

/// `a.b.c` with a value, as the maps that `--set` makes of it.
pub fn nested(path: &str, value: &Node) -> Node {
    let typed = match &value.value {
        // `--set` reads the text's type.
        Value::Text(text) => match text.as_str() {
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            text => text.parse().map_or_else(|_| value.value.clone(), Value::Int),
        },
        other => other.clone(),
    };
    let leaf = Node {
        place: value.place,
        value: typed,
    };
    path.rsplit('.').fold(leaf, |node, key| Node {
        place: value.place,
        value: Value::Map(vec![Entry {
            key: key.to_owned(),
            place: value.place,
            node,
        }]),
    })
}

/// What stands at a path.
#[derive(Clone, Copy, Debug)]
pub enum Stated<'a> {
    /// A value that is given.
    Given(&'a Node),
    /// The chart's default.
    Default(&'a Node),
    /// Neither, or the default removed by `null`.
    Nothing,
    /// Known only elsewhere: encrypted, or filled in when it is rendered.
    Opaque,
}

impl Stated<'_> {
    /// Its text, as a template prints it: lists joined by blanks, nothing for `null`; `None` where it is not known.
    pub fn text(&self) -> Option<String> {
        match self {
            Stated::Given(node) | Stated::Default(node) => Some(printed(node)),
            Stated::Nothing => Some(String::new()),
            Stated::Opaque => None,
        }
    }

    /// What Helm's `if` takes it for; `None` where it is not known.
    pub fn is_truthy(&self) -> Option<bool> {
        match self {
            Stated::Given(node) | Stated::Default(node) => Some(node.is_truthy()),
            Stated::Nothing => Some(false),
            Stated::Opaque => None,
        }
    }
}

fn printed(node: &Node) -> String {
    match &node.value {
        Value::List(items) => items.iter().map(printed).collect::<Vec<_>>().join(" "),
        _ => node.scalar().unwrap_or_default(),
    }
}

/// The values of a cluster on top of the chart's defaults.
#[derive(Clone, Copy, Debug)]
pub struct Values<'a> {
    /// The chart.
    pub chart: &'a Chart,
    /// What is given, merged.
    pub given: &'a Node,
}

impl<'a> Values<'a> {
    /// The entry that is given at a path.
    pub fn entry(&self, path: &str) -> Option<&'a Entry> {
        let (parents, last) = path.rsplit_once('.').unwrap_or(("", path));
        let mut parents = parents.split('.').filter(|key| !key.is_empty());
        let map = parents.try_fold(self.given, |node, key| node.get(key));
        map?.entry(last)
    }

    /// The value that is given at a path.
    pub fn get(&self, path: &str) -> Option<&'a Node> {
        self.entry(path).map(|entry| &entry.node)
    }

    /// What stands at a path, defaults included.
    pub fn stated(&self, path: &str) -> Stated<'a> {
        match self.get(path) {
            Some(node) if node.is_opaque() => Stated::Opaque,
            Some(node) if node.is_null() => Stated::Nothing,
            Some(node) => Stated::Given(node),
            None if self.is_hidden(path) => Stated::Opaque,
            None => self
                .chart
                .default_of(path)
                .map_or(Stated::Nothing, |default| match default.value {
                    Value::Null => Stated::Nothing,
                    _ => Stated::Default(default),
                }),
        }
    }

    /// Whether a parent of the path is opaque.
    fn is_hidden(&self, path: &str) -> bool {
        path.match_indices('.')
            .any(|(at, _)| self.get(&path[..at]).is_some_and(Node::is_opaque))
    }

    /// Where a path is stated: its own key, or the nearest one above it.
    pub fn place(&self, path: &str) -> Place {
        let mut path = path;
        loop {
            if let Some(entry) = self.entry(path) {
                return entry.place;
            }
            match path.rsplit_once('.') {
                Some((parent, _)) => path = parent,
                None => return self.given.place,
            }
        }
    }

    /// Whether the path is given and not `null`.
    pub fn is_given(&self, path: &str) -> bool {
        self.get(path).is_some_and(|node| !node.is_null())
    }

    /// Its text; see [`Stated::text`].
    pub fn text(&self, path: &str) -> Option<String> {
        self.stated(path).text()
    }

    /// Whether Helm takes it for true; `false` too where it is not known.
    pub fn is_on(&self, path: &str) -> bool {
        self.stated(path).is_truthy() == Some(true)
    }
}

/// A leaf that is given: its path, and whether it is a map or list without content.
pub struct Leaf<'a> {
    /// The keys from the top.
    pub keys: Vec<&'a str>,
    /// Where its key stands.
    pub place: Place,
    /// Its value; lists are leaves.
    pub node: &'a Node,
}

impl Leaf<'_> {
    /// The path with dots.
    pub fn path(&self) -> String {
        self.keys.join(".")
    }
}

/// Every leaf of the values, in the order of the files.
pub fn leaves(node: &Node) -> Vec<Leaf<'_>> {
    fn collect<'a>(node: &'a Node, keys: &mut Vec<&'a str>, found: &mut Vec<Leaf<'a>>) {
        for entry in node.entries() {
            keys.push(&entry.key);
            if entry.node.entries().is_empty() {
                found.push(Leaf {
                    keys: keys.clone(),
                    place: entry.place,
                    node: &entry.node,
                });
            } else {
                collect(&entry.node, keys, found);
            }
            keys.pop();
        }
    }
    let mut found = Vec::new();
    collect(node, &mut Vec::new(), &mut found);
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{place::FileId, yaml::read};

    fn parse(text: &str, file: u32) -> Node {
        read(text, FileId(file), 1, &mut Vec::new())
            .expect("YAML")
            .expect("a map")
    }

    #[test]
    fn later_files_win_maps_deep_lists_replaced_null_removes() {
        let mut base = parse(
            "hubble:\n  enabled: true\n  metrics:\n    enabled: [dns, drop]\nenvoy: {enabled: true}\n",
            0,
        );
        let over = parse(
            "hubble:\n  metrics:\n    enabled: [tcp]\nl7Proxy: null\nenvoy: null\n",
            1,
        );
        merge(&mut base, over);
        let chart = Chart::new();
        let values = Values {
            chart: &chart,
            given: &base,
        };
        assert_eq!(values.text("hubble.metrics.enabled").as_deref(), Some("tcp"));
        assert_eq!(values.place("hubble.metrics.enabled").file, FileId(1));
        assert_eq!(
            values.place("hubble.enabled"),
            Place {
                file: FileId(0),
                line: 2,
                column: 3
            }
        );
        assert!(values.is_on("hubble.enabled"));
        assert!(!values.is_on("l7Proxy"), "null removes the default true");
        assert!(values.get("envoy").expect("envoy").is_null());
        assert_eq!(
            values.text("bpf.policyMapMax").as_deref(),
            Some("16384"),
            "the chart's default"
        );
    }

    #[test]
    fn what_is_encrypted_or_rendered_is_not_known() {
        let given = parse("cluster: {id: \"${ID}\"}\nencryption: \"{{ .x }}\"\n", 0);
        let chart = Chart::new();
        let values = Values {
            chart: &chart,
            given: &given,
        };
        assert_eq!(values.stated("cluster.id").is_truthy(), None);
        assert_eq!(values.text("encryption.type"), None);
    }
}
