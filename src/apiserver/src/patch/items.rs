//! Whether the lists of an applied object can be merged at all.

use super::{
    fieldset::item_edge,
    schema::{ListKind, MapKind, Schema, key_value},
};
use serde_json::Value;
use std::collections::HashSet;

/// Every item of a list that merges by key has its keys, and none is there twice; the reason otherwise, as
/// structured-merge-diff words it.
pub(super) fn check<'a>(schema: Schema<'_>, path: &mut Vec<&'a str>, value: &'a Value) -> Result<(), String> {
    match value {
        Value::Object(fields) if schema.map(path) == MapKind::Granular => {
            for (field, value) in fields {
                path.push(field);
                check(schema, path, value)?;
                path.pop();
            }
        }
        Value::Array(items) => {
            let kind = schema.list(path);
            if kind == ListKind::Atomic {
                return Ok(());
            }
            let mut seen = HashSet::new();
            for (index, item) in items.iter().enumerate() {
                let wrong = |why: &str| Err(format!(".{}: element {index}: {why}", path.join(".")));
                match item_edge(kind, item) {
                    None => {
                        let why = "associative list with keys has an element that omits key field";
                        return wrong(&format!(
                            "{why} {:?} (and doesn't have default value)",
                            missing_key(kind, item)
                        ));
                    }
                    Some(edge) if seen.contains(&edge) => return wrong(&format!("duplicate entries for key [{edge}]")),
                    Some(edge) => seen.insert(edge),
                };
                check(schema, path, item)?;
            }
        }
        _ => {}
    }
    Ok(())
}

fn missing_key(kind: ListKind, item: &Value) -> &'static str {
    let ListKind::ByKey(keys) = kind else { return "" };
    let missing = keys.iter().find(|key| key_value(item, key).is_none());
    missing.copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn checked(containers: Value) -> Result<(), String> {
        let pod = json!({"metadata": {"finalizers": ["x/y", "x/z"]}, "spec": {"containers": containers}});
        check(Schema::Builtin("Pod"), &mut Vec::new(), &pod)
    }

    #[test]
    fn items_have_their_keys_once() {
        let ports = json!([{"containerPort": 53}, {"containerPort": 53, "protocol": "UDP"}]);
        assert_eq!(checked(json!([{"name": "a", "ports": ports}, {"name": "b"}])), Ok(()));
        assert_eq!(
            checked(json!([{"name": "a"}, {"image": "i"}])),
            Err(
                ".spec.containers: element 1: associative list with keys has an element that omits key field \"name\" \
                 (and doesn't have default value)"
                    .to_owned()
            )
        );
        let twice = json!([{"containerPort": 53}, {"containerPort": 53, "protocol": "TCP"}]);
        let error = checked(json!([{"name": "a", "ports": twice}])).expect_err("the same port");
        assert!(
            error.starts_with(".spec.containers.ports: element 1: duplicate entries"),
            "{error}"
        );
    }
}
