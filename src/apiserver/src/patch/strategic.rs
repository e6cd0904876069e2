//! Strategic merge patch: a merge patch in which lists of known types merge by key, steered by `$patch`,
//! `$setElementOrder/<list>`, `$deleteFromPrimitiveList/<list>` and `$retainKeys`.
//! Source: sig-api-machinery/strategic-merge-patch.md.

use super::schema::{ListKind, Schema, reorder};
use crate::error::ApiError;
use serde_json::{Map, Value};

const DIRECTIVE: &str = "$patch";
const RETAIN: &str = "$retainKeys";
const ORDER: &str = "$setElementOrder/";
const DELETE: &str = "$deleteFromPrimitiveList/";

/// Merges a patch into an object of a built-in kind.
pub(crate) fn merge(kind: &str, object: &mut Value, patch: Value) -> Result<(), ApiError> {
    let Value::Object(patch) = patch else {
        return Err(ApiError::bad_request("a strategic merge patch must be a JSON object"));
    };
    merge_map(Schema::Builtin(kind), &mut Vec::new(), object, patch)
}

fn merge_map(
    schema: Schema<'_>,
    path: &mut Vec<String>,
    target: &mut Value,
    mut patch: Map<String, Value>,
) -> Result<(), ApiError> {
    match patch.remove(DIRECTIVE) {
        None => {}
        Some(Value::String(directive)) => match directive.as_str() {
            "merge" => {}
            "replace" => *target = Value::Object(Map::new()),
            "delete" => {
                *target = Value::Object(Map::new());
                return Ok(());
            }
            other => return Err(wrong(path, &format!("unknown $patch directive {other:?}"))),
        },
        Some(_) => return Err(wrong(path, "$patch must be a string")),
    }
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(map) = target else { return Ok(()) };
    if let Some(retained) = patch.remove(RETAIN) {
        let retained = retained.as_array().cloned().unwrap_or_default();
        map.retain(|key, _| retained.iter().any(|kept| kept == key));
    }
    let mut orders = Vec::new();
    for (key, value) in patch {
        if let Some(list) = key.strip_prefix(ORDER) {
            orders.push((list.to_owned(), value));
            continue;
        }
        if let Some(list) = key.strip_prefix(DELETE) {
            let gone = value.as_array().cloned().unwrap_or_default();
            if let Some(Value::Array(present)) = map.get_mut(list) {
                present.retain(|item| !gone.contains(item));
            }
            continue;
        }
        path.push(key.clone());
        match value {
            Value::Null => {
                map.remove(&key);
            }
            Value::Object(inner) => {
                let is_deletion = inner.get(DIRECTIVE).is_some_and(|directive| directive == "delete");
                merge_map(schema, path, map.entry(key.clone()).or_insert(Value::Null), inner)?;
                if is_deletion {
                    map.remove(&key);
                }
            }
            Value::Array(items) => {
                let present = map.entry(key).or_insert_with(|| Value::Array(Vec::new()));
                merge_list(schema, path, present, items)?;
            }
            plain => {
                map.insert(key, plain);
            }
        }
        path.pop();
    }
    for (list, order) in orders {
        path.push(list.clone());
        if let Some(Value::Array(items)) = map.get_mut(&list) {
            let order = order.as_array().cloned().unwrap_or_default();
            sort(schema, path, items, &order);
        }
        path.pop();
    }
    Ok(())
}

fn merge_list(
    schema: Schema<'_>,
    path: &mut Vec<String>,
    target: &mut Value,
    patch: Vec<Value>,
) -> Result<(), ApiError> {
    let names: Vec<&str> = path.iter().map(String::as_str).collect();
    let kind = schema.list(&names);
    let directive = |item: &Value, wanted: &str| item[DIRECTIVE] == wanted;
    let present = match target {
        Value::Array(present) => present,
        other => {
            *other = Value::Array(Vec::new());
            return merge_list(schema, path, other, patch);
        }
    };
    if kind == ListKind::Atomic || patch.iter().any(|item| directive(item, "replace")) {
        let kept = patch.into_iter().filter(|item| item.get(DIRECTIVE).is_none());
        *present = kept.collect();
        return Ok(());
    }
    let key = match kind {
        ListKind::ByKey([key, ..]) => *key,
        ListKind::ByKey([]) | ListKind::Atomic | ListKind::Set => {
            for item in patch {
                if !present.contains(&item) {
                    present.push(item);
                }
            }
            return Ok(());
        }
    };
    for item in patch {
        let id = item.get(key).cloned();
        let Some(id) = id.filter(|id| !id.is_null()) else {
            return Err(wrong(
                path,
                &format!("map: {item} does not contain declared merge key: {key}"),
            ));
        };
        let Value::Object(changes) = item else {
            return Err(wrong(path, "the items of a list that merges by key must be objects"));
        };
        if changes.get(DIRECTIVE).is_some_and(|directive| directive == "delete") {
            present.retain(|candidate| candidate[key] != id);
            continue;
        }
        if let Some(found) = present.iter_mut().find(|candidate| candidate[key] == id) {
            merge_map(schema, path, found, changes)?;
        } else {
            let mut new = Value::Object(Map::new());
            merge_map(schema, path, &mut new, changes)?;
            present.push(new);
        }
    }
    Ok(())
}

fn sort(schema: Schema<'_>, path: &[String], items: &mut Vec<Value>, order: &[Value]) {
    let names: Vec<&str> = path.iter().map(String::as_str).collect();
    let id = |item: &Value| match schema.list(&names) {
        ListKind::ByKey([key, ..]) => item[*key].clone(),
        _ => item.clone(),
    };
    let order: Vec<Value> = order.iter().map(id).collect();
    let identified = std::mem::take(items)
        .into_iter()
        .map(|item| (id(&item), item))
        .collect();
    *items = reorder(identified, &order);
}

fn wrong(path: &[String], why: &str) -> ApiError {
    ApiError::bad_request(format!("invalid strategic merge patch at .{}: {why}", path.join(".")))
}

#[cfg(test)]
mod tests {
    use super::merge;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn merged(mut object: Value, patch: Value) -> Value {
        merge("Pod", &mut object, patch).expect("the patch applies");
        object
    }

    fn containers(list: Value) -> Value {
        json!({"spec": {"containers": list}})
    }

    #[test]
    fn lists_merge_by_key() {
        let object = containers(json!([{"name": "a", "image": "1"}, {"name": "b", "image": "1"}]));
        let patch = containers(json!([{"name": "b", "image": "2"}, {"name": "c", "image": "3"}]));
        let expected = json!([{"name": "a", "image": "1"}, {"name": "b", "image": "2"}, {"name": "c", "image": "3"}]);
        assert_eq!(merged(object, patch), containers(expected));
    }

    #[test]
    fn directives_delete_replace_and_order() {
        let object = containers(json!([{"name": "a"}, {"name": "b"}]));
        let gone = merged(object.clone(), containers(json!([{"name": "a", "$patch": "delete"}])));
        assert_eq!(gone, containers(json!([{"name": "b"}])));
        let replaced = merged(
            object.clone(),
            containers(json!([{"name": "z"}, {"$patch": "replace"}])),
        );
        assert_eq!(replaced, containers(json!([{"name": "z"}])));
        let order = json!({"spec": {
            "$setElementOrder/containers": [{"name": "c"}, {"name": "a"}],
            "containers": [{"name": "c"}],
        }});
        assert_eq!(
            merged(object, order),
            containers(json!([{"name": "c"}, {"name": "a"}, {"name": "b"}]))
        );
    }

    #[test]
    fn maps_merge_and_retain() {
        let object = json!({"metadata": {"labels": {"a": "1", "b": "2"}, "finalizers": ["x", "y"]}});
        let patch = json!({"metadata": {
            "labels": {"a": null, "c": "3"}, "$deleteFromPrimitiveList/finalizers": ["x"], "finalizers": ["z"],
        }});
        let expected = json!({"metadata": {"labels": {"b": "2", "c": "3"}, "finalizers": ["y", "z"]}});
        assert_eq!(merged(object, patch), expected);
        let volume = json!({"spec": {"volumes": [{"name": "v", "emptyDir": {}}]}});
        let change = json!({"name": "v", "$retainKeys": ["name", "configMap"], "configMap": {"name": "c"}});
        let patch = json!({"spec": {"volumes": [change]}});
        assert_eq!(
            merged(volume, patch),
            json!({"spec": {"volumes": [{"name": "v", "configMap": {"name": "c"}}]}})
        );
    }

    #[test]
    fn an_item_without_its_key_is_refused() {
        let error = merge("Pod", &mut json!({}), containers(json!([{"image": "x"}]))).expect_err("no name");
        assert_eq!(error.code(), 400);
    }

    fn document() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(json!(null)),
            any::<i8>().prop_map(|n| json!(n)),
            "[a-c]{0,2}".prop_map(|s| json!(s))
        ];
        let name = prop_oneof![
            Just("containers"),
            Just("name"),
            Just("metadata"),
            Just("finalizers"),
            Just("$patch"),
            Just("ports"),
            Just("$setElementOrder/containers"),
            Just("x"),
        ];
        leaf.prop_recursive(4, 24, 4, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
                proptest::collection::vec((name.clone(), inner), 0..4)
                    .prop_map(|entries| entries.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_patch_panics(mut object in document(), patch in document()) {
            let _ = merge("Pod", &mut object, patch);
        }

        #[test]
        fn an_empty_patch_changes_nothing(names in proptest::collection::btree_set("[a-z]{1,4}", 0..5)) {
            let list: Vec<Value> = names.iter().map(|name| json!({"name": name})).collect();
            let object = containers(json!(list));
            prop_assert_eq!(merged(object.clone(), json!({})), object.clone());
            prop_assert_eq!(merged(object.clone(), object.clone()), object);
        }
    }
}
