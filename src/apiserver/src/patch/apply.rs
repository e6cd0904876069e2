//! Server-side apply: the object gets what the manager applies, loses what it no longer applies and nobody else owns,
//! and fields of other managers are taken over only by force. Source: the Kubernetes documentation "Server-Side Apply",
//! and structured-merge-diff for the order of things.

use super::{
    fieldset::{FieldSet, item_edge},
    items,
    ownership::{self, Entry, Method},
    schema::{ListKind, MapKind, Schema, reorder},
};
use crate::{
    error::{ApiError, Cause, CauseKind, Reason},
    resource::{ResourceDef, Subresource},
};
use serde_json::{Map, Value, json};

/// Who applies, and how.
pub(crate) struct Request<'a> {
    pub def: &'a ResourceDef,
    pub manager: &'a str,
    pub subresource: Option<Subresource>,
    pub force: bool,
}

/// The object to store, with its `managedFields`.
pub(crate) struct Applied {
    pub object: Value,
    pub managed: Value,
}

/// Applies onto a stored object.
pub(crate) fn onto(request: &Request<'_>, live: &Value, applied: Value) -> Result<Applied, ApiError> {
    let schema = ownership::schema_of(request.def);
    let applied = checked(request, applied)?;
    let name = live["metadata"]["name"].as_str().unwrap_or_default();
    check_name(&applied, "name", Some(name))?;
    check_name(&applied, "namespace", live["metadata"]["namespace"].as_str())?;

    let wanted = ownership::writable(request.def, FieldSet::of(schema, &applied), request.subresource);
    let changed = wanted.changed(schema, live, &applied);
    let mut entries = ownership::entries(live);
    let mut mine = Entry::new(request.def, request.manager, Method::Apply, request.subresource);
    resolve_conflicts(request, &mut entries, &mine, &changed, name)?;

    let mut object = live.clone();
    merge(schema, &mut Vec::new(), &mut object, &applied);
    let others = entries.iter().filter(|entry| !entry.is_of(&mine));
    let others = others.fold(FieldSet::default(), |all, entry| all.union(&entry.fields));
    let at = entries.iter().position(|entry| entry.is_of(&mine));
    if let Some(at) = at {
        let dropped = entries[at].fields.minus(&wanted);
        dropped.remove_from(schema, &mut object, &others.union(&wanted));
    }
    mine.fields = wanted;
    match at {
        Some(at) if entries[at].fields == mine.fields && changed.is_empty() => {}
        Some(at) => entries[at] = mine,
        None => entries.push(mine),
    }
    // What the removal took with it belongs to nobody any more.
    let present = FieldSet::of(schema, &object);
    for entry in &mut entries {
        entry.fields = entry.fields.intersect(&present);
    }
    // A uid or resourceVersion that was applied is in the object now, and is compared when the object is stored.
    Ok(Applied {
        managed: ownership::render(&entries),
        object,
    })
}

/// Applies where nothing is: the object is what is applied.
pub(crate) fn create(
    request: &Request<'_>,
    namespace: Option<&str>,
    name: &str,
    applied: Value,
) -> Result<Applied, ApiError> {
    let mut object = checked(request, applied)?;
    check_name(&object, "name", Some(name))?;
    check_name(&object, "namespace", namespace)?;
    if object["metadata"]["uid"].is_string() || object["metadata"]["resourceVersion"].is_string() {
        let why = "the object to apply names a uid or resourceVersion but does not exist";
        return Err(ApiError::conflict(request.def, name, why));
    }
    object["metadata"]["name"] = json!(name);
    if let Some(namespace) = namespace {
        object["metadata"]["namespace"] = json!(namespace);
    }
    let schema = ownership::schema_of(request.def);
    let mut entry = Entry::new(request.def, request.manager, Method::Apply, None);
    entry.fields = ownership::writable(request.def, FieldSet::of(schema, &object), None);
    Ok(Applied {
        managed: ownership::render(&[entry]),
        object,
    })
}

/// The applied object without nulls; 400 when it is none or tries to set `managedFields`.
fn checked(request: &Request<'_>, mut applied: Value) -> Result<Value, ApiError> {
    if !applied.is_object() {
        return Err(ApiError::bad_request("the body of an apply must be an object"));
    }
    if applied["kind"].as_str() != Some(&request.def.kind) || applied["apiVersion"].is_null() {
        return Err(ApiError::bad_request(format!(
            "invalid object type: apply needs kind {} and its apiVersion, got kind {} and apiVersion {}",
            request.def.kind, applied["kind"], applied["apiVersion"],
        )));
    }
    if applied["metadata"]["managedFields"]
        .as_array()
        .is_some_and(|list| !list.is_empty())
    {
        return Err(ApiError::bad_request("metadata.managedFields must be nil"));
    }
    drop_nulls(&mut applied);
    if !applied["metadata"].is_object() {
        applied["metadata"] = json!({});
    }
    let schema = ownership::schema_of(request.def);
    items::check(schema, &mut Vec::new(), &applied).map_err(|why| {
        let (metadata, def) = (&applied["metadata"], request.def);
        let whose = |field: &str| metadata[field].as_str().unwrap_or_default();
        let object = format!(
            "({}/{}; {}, Kind={})",
            whose("namespace"),
            whose("name"),
            def.api_version(),
            def.kind
        );
        let message = format!("failed to create typed patch object {object}: {why}");
        ApiError::new(Reason::InternalError, message)
    })?;
    Ok(applied)
}

fn check_name(applied: &Value, field: &str, expected: Option<&str>) -> Result<(), ApiError> {
    match (applied["metadata"][field].as_str(), expected) {
        (Some(given), Some(expected)) if given != expected && !given.is_empty() => Err(ApiError::bad_request(format!(
            "the {field} of the object ({given}) does not match the {field} on the URL ({expected})"
        ))),
        _ => Ok(()),
    }
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// 409 when others own what would change; with force they lose it.
fn resolve_conflicts(
    request: &Request<'_>,
    entries: &mut [Entry],
    mine: &Entry,
    changed: &FieldSet,
    name: &str,
) -> Result<(), ApiError> {
    let mut conflicts = Vec::new();
    for entry in entries.iter_mut().filter(|entry| !entry.is_of(mine)) {
        let contested = entry.fields.intersect(changed);
        if contested.is_empty() {
            continue;
        }
        if request.force {
            entry.fields = entry.fields.minus(&contested);
        } else {
            conflicts.push((entry.clone(), contested.paths()));
        }
    }
    if conflicts.is_empty() {
        return Ok(());
    }
    let whom = |entry: &Entry| {
        let mut whom = format!("{:?}", entry.manager);
        if !entry.subresource.is_empty() {
            whom.push_str(&format!(" with subresource {:?}", entry.subresource));
        }
        whom.push_str(&format!(" using {}", entry.api_version));
        if entry.method == Method::Update {
            whom.push_str(&format!(" at {}", entry.time));
        }
        whom
    };
    let count: usize = conflicts.iter().map(|(_, paths)| paths.len()).sum();
    let described: Vec<String> = conflicts
        .iter()
        .map(|(entry, paths)| match paths.as_slice() {
            [only] => format!("conflict with {}: {only}", whom(entry)),
            several => {
                let list: String = several.iter().map(|path| format!("\n- {path}")).collect();
                format!("conflicts with {}:{list}", whom(entry))
            }
        })
        .collect();
    let plural = if count == 1 { "" } else { "s" };
    let message = format!("Apply failed with {count} conflict{plural}: {}", described.join("\n"));
    let mut error = ApiError::new(Reason::Conflict, message).about(&request.def.group, &request.def.plural, name);
    if let Some(details) = &mut error.details {
        details.causes = conflicts
            .iter()
            .flat_map(|(entry, paths)| {
                let message = format!("conflict with {}", whom(entry));
                paths.iter().map(move |path| Cause {
                    kind: CauseKind::ManagerConflict,
                    field: path.clone(),
                    message: message.clone(),
                })
            })
            .collect();
    }
    Err(error)
}

fn merge<'a>(schema: Schema<'_>, path: &mut Vec<&'a str>, live: &mut Value, applied: &'a Value) {
    let Value::Object(fields) = applied else {
        *live = applied.clone();
        return;
    };
    if !live.is_object() {
        *live = Value::Object(Map::new());
    }
    for (field, value) in fields {
        path.push(field);
        match value {
            Value::Object(map) if !map.is_empty() && schema.map(path) == MapKind::Granular => {
                merge(schema, path, &mut live[field.as_str()], value);
            }
            Value::Array(items) => {
                let kind = schema.list(path);
                match (&mut live[field.as_str()], kind) {
                    (Value::Array(present), ListKind::ByKey(_) | ListKind::Set) => {
                        merge_list(schema, path, kind, present, items);
                    }
                    (slot, _) => *slot = value.clone(),
                }
            }
            _ => live[field.as_str()] = value.clone(),
        }
        path.pop();
    }
}

fn merge_list<'a>(
    schema: Schema<'_>,
    path: &mut Vec<&'a str>,
    kind: ListKind,
    present: &mut Vec<Value>,
    applied: &'a [Value],
) {
    for item in applied {
        let edge = item_edge(kind, item);
        let found = present
            .iter_mut()
            .find(|candidate| edge.is_some() && item_edge(kind, candidate) == edge);
        match found {
            Some(found) => merge(schema, path, found, item),
            None => present.push(item.clone()),
        }
    }
    let order: Vec<Option<String>> = applied.iter().map(|item| item_edge(kind, item)).collect();
    let identified = std::mem::take(present)
        .into_iter()
        .map(|item| (item_edge(kind, &item), item))
        .collect();
    *present = reorder(identified, &order);
}

#[cfg(test)]
mod tests {
    use crate::{
        error::CauseKind,
        resource::names::{CONFIG_MAPS, DEPLOYMENTS},
        store::{Patch, Store},
    };
    use serde_json::{Value, json};

    fn deployment(containers: &Value, replicas: &Value) -> Value {
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "namespace": "default"},
            "spec": {
                "replicas": replicas, "selector": {"matchLabels": {"app": "d"}},
                "template": {"metadata": {"labels": {"app": "d"}}, "spec": {"containers": containers}},
            },
        })
    }

    fn apply(store: &Store, manager: &str, object: Value, force: bool) -> Result<crate::Object, crate::ApiError> {
        let patch = Patch::Apply { object, force };
        store
            .writing_as(manager)
            .patch(&DEPLOYMENTS, Some("default"), "d", patch)
    }

    #[test]
    fn what_is_no_longer_applied_goes() {
        let store = Store::new();
        let both =
            json!([{"name": "a", "image": "x:1", "env": [{"name": "E", "value": "1"}]}, {"name": "b", "image": "x:1"}]);
        let first = apply(&store, "one", deployment(&both, &json!(2)), false).expect("applied");
        assert_eq!(first["metadata"]["managedFields"][0]["operation"], "Apply");
        let only = json!([{"name": "a", "image": "x:2"}]);
        let second = apply(&store, "one", deployment(&only, &Value::Null), false).expect("applied again");
        let containers = &second["spec"]["template"]["spec"]["containers"];
        assert_eq!(
            containers.as_array().map(Vec::len),
            Some(1),
            "container b is gone: {containers}"
        );
        assert_eq!(containers[0]["image"], "x:2");
        assert!(containers[0]["env"].is_null(), "the environment is gone: {containers}");
        assert_eq!(second["spec"]["replicas"], 1, "replicas are back at their default");
        assert_eq!(second.generation(), 2);
    }

    #[test]
    fn an_apply_of_the_same_changes_nothing() {
        let store = Store::new();
        let object = deployment(&json!([{"name": "a", "image": "x:1"}]), &json!(2));
        let first = apply(&store, "one", object.clone(), false).expect("applied");
        let second = apply(&store, "one", object, false).expect("applied again");
        assert_eq!(first.resource_version(), second.resource_version());
    }

    #[test]
    fn fields_of_others_conflict_unless_forced() {
        let store = Store::new();
        let container = json!([{"name": "a", "image": "x:1"}]);
        apply(&store, "one", deployment(&container, &json!(2)), false).expect("applied");
        let error = apply(&store, "two", deployment(&container, &json!(3)), false).expect_err("one owns replicas");
        assert_eq!(
            error.message,
            "Apply failed with 1 conflict: conflict with \"one\" using apps/v1: .spec.replicas"
        );
        let details = error.details.expect("there are details");
        assert_eq!(
            (details.causes[0].kind, details.causes[0].field.as_str()),
            (CauseKind::ManagerConflict, ".spec.replicas")
        );

        let forced = apply(&store, "two", deployment(&container, &json!(3)), true).expect("forced");
        assert_eq!(forced["spec"]["replicas"], 3);
        let error = apply(&store, "one", deployment(&container, &json!(2)), false).expect_err("two owns replicas now");
        assert!(error.message.contains("conflict with \"two\""), "{}", error.message);
        let shared = apply(&store, "one", deployment(&container, &json!(3)), false);
        shared.expect("the same value is no conflict");
        let given_up = apply(&store, "two", deployment(&container, &Value::Null), false).expect("applied");
        assert_eq!(given_up["spec"]["replicas"], 3, "one still wants it");
    }

    #[test]
    fn an_update_takes_fields_over() {
        let store = Store::new();
        let object = deployment(&json!([{"name": "a", "image": "x:1"}]), &json!(2));
        apply(&store, "one", object.clone(), false).expect("applied");
        let editor = store.writing_as("editor");
        editor
            .modify(&DEPLOYMENTS, Some("default"), "d", |d| d["spec"]["replicas"] = json!(5))
            .expect("updated");
        let error = apply(&store, "one", object, false).expect_err("the editor owns replicas");
        assert!(
            error.message.contains("conflict with \"editor\" using apps/v1 at "),
            "{}",
            error.message
        );
    }

    #[test]
    fn data_of_two_managers_lives_together() {
        let store = Store::new();
        let map =
            |key: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {key: "1"}});
        let apply = |manager: &str, key: &str| {
            let patch = Patch::Apply {
                object: map(key),
                force: false,
            };
            store
                .writing_as(manager)
                .patch(&CONFIG_MAPS, Some("default"), "m", patch)
                .expect("applied")
        };
        apply("one", "a");
        assert_eq!(apply("two", "b")["data"], json!({"a": "1", "b": "1"}));
        assert_eq!(apply("one", "c")["data"], json!({"b": "1", "c": "1"}));
    }
}
