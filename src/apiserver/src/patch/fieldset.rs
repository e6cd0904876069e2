//! Sets of fields, as server-side apply keeps them per manager: a tree whose edges are `f:name`, `k:{"name":"x"}`
//! (list item by key) and `v:"x"` (item of a set), printed as FieldsV1.

use super::schema::{ListKind, MapKind, Schema, key_value};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// A set of paths into an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FieldSet(BTreeMap<String, Node>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Node {
    /// The path itself is a member, not only what is below.
    member: bool,
    below: FieldSet,
}

/// Fields of metadata that belong to the server, and so to no manager.
const SERVER_OWNED: [&str; 11] = [
    "name",
    "namespace",
    "generateName",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "managedFields",
    "selfLink",
];

/// The edge to an item of a list, if the list has edges and the item its keys.
pub(crate) fn item_edge(kind: ListKind, item: &Value) -> Option<String> {
    match kind {
        ListKind::ByKey(keys) => {
            let mut sorted = keys.to_vec();
            sorted.sort_unstable();
            let pairs = sorted
                .into_iter()
                .map(|key| Some(format!("{}:{}", Value::from(key), key_value(item, key)?)))
                .collect::<Option<Vec<_>>>()?;
            Some(format!("k:{{{}}}", pairs.join(",")))
        }
        ListKind::Set => Some(format!("v:{item}")),
        ListKind::Atomic => None,
    }
}

impl FieldSet {
    /// Every field of an object that a manager can own.
    pub fn of(schema: Schema<'_>, object: &Value) -> Self {
        let mut set = Self::default();
        for (name, value) in object.as_object().into_iter().flatten() {
            match name.as_str() {
                "kind" | "apiVersion" => {}
                "metadata" => {
                    let owned = value.as_object().into_iter().flatten();
                    let owned = owned.filter(|(field, _)| !SERVER_OWNED.contains(&field.as_str()));
                    let mut below = Self::default();
                    for (field, value) in owned {
                        below.add(schema, &mut vec!["metadata", field], format!("f:{field}"), value);
                    }
                    if !below.is_empty() {
                        set.0.insert("f:metadata".to_owned(), Node { member: false, below });
                    }
                }
                field => set.add(schema, &mut vec![field], format!("f:{field}"), value),
            }
        }
        set
    }

    fn add<'a>(&mut self, schema: Schema<'_>, path: &mut Vec<&'a str>, edge: String, value: &'a Value) {
        let mut node = Node::default();
        match value {
            Value::Object(map) if !map.is_empty() && schema.map(path) == MapKind::Granular => {
                for (field, value) in map {
                    path.push(field);
                    node.below.add(schema, path, format!("f:{field}"), value);
                    path.pop();
                }
            }
            Value::Array(items) if !items.is_empty() => match schema.list(path) {
                ListKind::Atomic => node.member = true,
                kind => {
                    for item in items {
                        let Some(edge) = item_edge(kind, item) else { continue };
                        let mut below = Self::default();
                        if kind != ListKind::Set {
                            for (field, value) in item.as_object().into_iter().flatten() {
                                path.push(field);
                                below.add(schema, path, format!("f:{field}"), value);
                                path.pop();
                            }
                        }
                        node.below.0.insert(edge, Node { member: true, below });
                    }
                }
            },
            _ => node.member = true,
        }
        self.0.insert(edge, node);
    }

    /// From FieldsV1; what is not understood is left out.
    pub fn parse(fields: &Value) -> Self {
        let mut set = Self::default();
        for (edge, below) in fields.as_object().into_iter().flatten() {
            if edge == "." {
                continue;
            }
            let children = below.as_object();
            let member = children.is_none_or(|map| map.is_empty() || map.contains_key("."));
            set.0.insert(
                edge.clone(),
                Node {
                    member,
                    below: Self::parse(below),
                },
            );
        }
        set
    }

    /// As FieldsV1.
    pub fn render(&self) -> Value {
        let mut map = Map::new();
        for (edge, node) in &self.0 {
            let mut below = match node.below.render() {
                Value::Object(map) => map,
                _ => Map::new(),
            };
            if node.member && !below.is_empty() {
                below.insert(".".to_owned(), Value::Object(Map::new()));
            }
            map.insert(edge.clone(), Value::Object(below));
        }
        Value::Object(map)
    }

    /// True when nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is in either.
    pub fn union(mut self, other: &Self) -> Self {
        for (edge, theirs) in &other.0 {
            let ours = self.0.entry(edge.clone()).or_default();
            ours.member |= theirs.member;
            ours.below = std::mem::take(&mut ours.below).union(&theirs.below);
        }
        self
    }

    /// What is in this one and not in the other.
    pub fn minus(&self, other: &Self) -> Self {
        self.combine(other, |ours, theirs| ours && !theirs)
    }

    /// What is in both.
    pub fn intersect(&self, other: &Self) -> Self {
        self.combine(other, |ours, theirs| ours && theirs)
    }

    fn combine(&self, other: &Self, keep: fn(bool, bool) -> bool) -> Self {
        let none = Node::default();
        let mut set = Self::default();
        for (edge, ours) in &self.0 {
            let theirs = other.0.get(edge).unwrap_or(&none);
            let node = Node {
                member: keep(ours.member, theirs.member),
                below: ours.below.combine(&theirs.below, keep),
            };
            if node.member || !node.below.is_empty() {
                set.0.insert(edge.clone(), node);
            }
        }
        set
    }

    /// Only what is below one field of the object (`status`), or only what is not.
    pub fn restricted(mut self, field: &str, inside: bool) -> Self {
        let edge = format!("f:{field}");
        self.0.retain(|key, _| (*key == edge) == inside);
        self
    }

    /// The members of `self` (fields of `new`) that are not the same in `old`.
    pub fn changed(&self, schema: Schema<'_>, old: &Value, new: &Value) -> Self {
        self.changed_below(schema, &mut Vec::new(), old, new)
    }

    fn changed_below(&self, schema: Schema<'_>, path: &mut Vec<String>, old: &Value, new: &Value) -> Self {
        let mut set = Self::default();
        for (edge, node) in &self.0 {
            let field = edge.strip_prefix("f:");
            let list = list_kind(schema, path);
            let old_value = step(list, edge, old);
            let Some(new_value) = step(list, edge, new) else {
                continue;
            };
            if let Some(field) = field {
                path.push(field.to_owned());
            }
            let below = node
                .below
                .changed_below(schema, path, old_value.unwrap_or(&Value::Null), new_value);
            if field.is_some() {
                path.pop();
            }
            // A list item that is there in both has only changed where its fields have.
            let member = node.member
                && match (field, old_value) {
                    (None, Some(_)) => false,
                    (_, old_value) => old_value != Some(new_value),
                };
            if member || !below.is_empty() {
                set.0.insert(edge.clone(), Node { member, below });
            }
        }
        set
    }

    /// Takes the members out of a value, except where `keep` has them or something below them.
    pub fn remove_from(&self, schema: Schema<'_>, value: &mut Value, keep: &Self) {
        self.remove_below(schema, &mut Vec::new(), value, keep);
    }

    fn remove_below(&self, schema: Schema<'_>, path: &mut Vec<String>, value: &mut Value, keep: &Self) {
        let none = Node::default();
        for (edge, node) in &self.0 {
            let kept = keep.0.get(edge).unwrap_or(&none);
            let list = list_kind(schema, path);
            if node.member && !kept.member && kept.below.is_empty() {
                cut(list, edge, value);
                continue;
            }
            let Some(inner) = step_mut(list, edge, value) else {
                continue;
            };
            let field = edge.strip_prefix("f:");
            if let Some(field) = field {
                path.push(field.to_owned());
            }
            node.below.remove_below(schema, path, inner, &kept.below);
            if field.is_some() {
                path.pop();
            }
            let emptied = inner.as_object().is_some_and(Map::is_empty) || inner.as_array().is_some_and(Vec::is_empty);
            if emptied && !kept.member && kept.below.is_empty() && edge != "f:metadata" && edge != "f:spec" {
                cut(list, edge, value);
            }
        }
    }

    /// Every member as a path, such as `.spec.containers[name="a"].image`.
    pub fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        for (edge, node) in &self.0 {
            let shown = shown(edge);
            if node.member {
                paths.push(shown.clone());
            }
            paths.extend(node.below.paths().into_iter().map(|below| format!("{shown}{below}")));
        }
        paths
    }
}

fn list_kind(schema: Schema<'_>, path: &[String]) -> ListKind {
    let names: Vec<&str> = path.iter().map(String::as_str).collect();
    schema.list(&names)
}

fn step<'a>(list: ListKind, edge: &str, value: &'a Value) -> Option<&'a Value> {
    match edge.strip_prefix("f:") {
        Some(field) => value.get(field),
        None => value
            .as_array()?
            .iter()
            .find(|item| item_edge(list, item).as_deref() == Some(edge)),
    }
}

fn step_mut<'a>(list: ListKind, edge: &str, value: &'a mut Value) -> Option<&'a mut Value> {
    match edge.strip_prefix("f:") {
        Some(field) => value.get_mut(field),
        None => value
            .as_array_mut()?
            .iter_mut()
            .find(|item| item_edge(list, item).as_deref() == Some(edge)),
    }
}

fn cut(list: ListKind, edge: &str, value: &mut Value) {
    match (edge.strip_prefix("f:"), value) {
        (Some(field), Value::Object(map)) => {
            map.remove(field);
        }
        (None, Value::Array(items)) => items.retain(|item| item_edge(list, item).as_deref() != Some(edge)),
        _ => {}
    }
}

fn shown(edge: &str) -> String {
    if let Some(field) = edge.strip_prefix("f:") {
        return format!(".{field}");
    }
    if let Some(value) = edge.strip_prefix("v:") {
        return format!("[={value}]");
    }
    let keys: Map<String, Value> = edge
        .strip_prefix("k:")
        .and_then(|json| serde_json::from_str(json).ok())
        .unwrap_or_default();
    format!(
        "[{}]",
        keys.iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect::<Vec<_>>()
            .join(",")
    )
}

#[cfg(test)]
mod tests {
    use super::{FieldSet, Schema};
    use serde_json::json;

    #[test]
    fn fields_are_printed_as_kubernetes_does() {
        let pod = json!({
            "kind": "Pod", "metadata": {"name": "p", "labels": {"a": "1"}},
            "spec": {"containers": [{"name": "c", "ports": [{"containerPort": 80}], "args": ["x"]}]},
        });
        let set = FieldSet::of(Schema::Builtin("Pod"), &pod);
        let expected = json!({
            "f:metadata": {"f:labels": {"f:a": {}}},
            "f:spec": {"f:containers": {"k:{\"name\":\"c\"}": {
                ".": {}, "f:name": {}, "f:args": {},
                "f:ports": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}},
            }}},
        });
        assert_eq!(set.render(), expected);
        assert_eq!(FieldSet::parse(&expected), set);
        assert!(set.paths().contains(&".spec.containers[name=\"c\"].args".to_owned()));
    }
}
