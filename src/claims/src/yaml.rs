//! YAML as a tree whose every node knows where it stands. Reads what Helm, Flux and Kubernetes read, and no more.

mod read;
mod scalar;
#[cfg(test)]
mod tests;

pub use read::{Duplicate, Malformed, read, read_until, with_holes};

use crate::place::Place;

/// A node with its position.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Where it begins.
    pub place: Place,
    /// What it is.
    pub value: Value,
}

/// What a node is, by Helm's reading of YAML (1.1 words for booleans included).
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing, or `null`.
    Null,
    /// `true`, `no`, ...
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f64),
    /// Everything else that is a scalar, and all that is quoted.
    Text(String),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping, in the order of the file.
    Map(Vec<Entry>),
}

/// One key of a mapping.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The key's text.
    pub key: String,
    /// Where the key stands.
    pub place: Place,
    /// Its value.
    pub node: Node,
}

impl Node {
    /// A mapping without keys.
    pub fn empty_map(place: Place) -> Self {
        Self {
            place,
            value: Value::Map(Vec::new()),
        }
    }

    /// The keys of a mapping; none of anything else.
    pub fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The items of a sequence; none of anything else.
    pub fn items(&self) -> &[Node] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    /// The entry of a key.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.node)
    }

    /// The value under these keys, one below the other.
    pub fn dig(&self, path: &[&str]) -> Option<&Node> {
        path.iter().try_fold(self, |node, key| node.get(key))
    }

    /// The items of the sequence under these keys.
    pub fn items_at(&self, path: &[&str]) -> &[Node] {
        self.dig(path).map_or(&[], Node::items)
    }

    /// The text of a scalar that is text.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The text under these keys.
    pub fn text_at(&self, path: &[&str]) -> Option<&str> {
        self.dig(path).and_then(Node::text)
    }

    /// A scalar as text, as a template would print it; nothing of `null` and of collections.
    pub fn scalar(&self) -> Option<String> {
        match &self.value {
            Value::Bool(value) => Some(value.to_string()),
            Value::Int(value) => Some(value.to_string()),
            Value::Float(value) => Some(value.to_string()),
            Value::Text(text) => Some(text.clone()),
            Value::Null | Value::List(_) | Value::Map(_) => None,
        }
    }

    /// Whether it is `null`.
    pub fn is_null(&self) -> bool {
        self.value == Value::Null
    }

    /// What Helm's `if` takes it for.
    pub fn is_truthy(&self) -> bool {
        match &self.value {
            Value::Null => false,
            Value::Bool(value) => *value,
            Value::Int(value) => *value != 0,
            Value::Float(value) => *value != 0.0,
            Value::Text(text) => !text.is_empty(),
            Value::List(items) => !items.is_empty(),
            Value::Map(entries) => !entries.is_empty(),
        }
    }

    /// Whether its value is only known elsewhere: encrypted by SOPS, or filled in by a template or by Flux.
    pub fn is_opaque(&self) -> bool {
        let hidden = ["ENC[", "{{", "${", read::HOLE_OPEN];
        self.text()
            .is_some_and(|text| hidden.iter().any(|mark| text.contains(mark)))
    }

    /// The node as YAML on one line.
    pub fn inline(&self) -> String {
        match &self.value {
            Value::Map(entries) => {
                let entries: Vec<_> = entries
                    .iter()
                    .map(|entry| format!("{}: {}", entry.key, entry.node.inline()))
                    .collect();
                format!("{{{}}}", entries.join(", "))
            }
            Value::List(items) => {
                let items: Vec<_> = items.iter().map(Node::inline).collect();
                format!("[{}]", items.join(", "))
            }
            Value::Null => "null".to_owned(),
            Value::Text(text) => match scalar::plain(text) {
                Value::Text(_) if text.chars().all(|c| c.is_alphanumeric() || "./_-:".contains(c)) => text.clone(),
                _ => format!("{text:?}"),
            },
            Value::Bool(_) | Value::Int(_) | Value::Float(_) => self.scalar().unwrap_or_default(),
        }
    }

    /// The node as JSON.
    pub fn json(&self) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(value) => (*value).into(),
            Value::Int(value) => (*value).into(),
            Value::Float(value) => (*value).into(),
            Value::Text(text) => text.clone().into(),
            Value::List(items) => items.iter().map(Node::json).collect(),
            Value::Map(entries) => {
                let entries = entries.iter().map(|entry| (entry.key.clone(), entry.node.json()));
                serde_json::Value::Object(entries.collect())
            }
        }
    }

    /// The node's kind in plain words.
    pub fn kind(&self) -> &'static str {
        match &self.value {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Int(_) | Value::Float(_) => "a number",
            Value::Text(_) => "text",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }
}
