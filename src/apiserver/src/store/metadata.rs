//! The part of `metadata` that belongs to the server: set on creation, kept on update.

use crate::{error::ApiError, resource::ResourceDef, time};
use serde_json::{Map, Value, json};

/// Checks that the body is an object of this resource, and completes kind and apiVersion when they are missing.
pub(super) fn check_type(def: &ResourceDef, object: &mut Value) -> Result<(), ApiError> {
    let Some(body) = object.as_object_mut() else {
        return Err(ApiError::bad_request("the body of the request is not a JSON object"));
    };
    let stored = def.api_version();
    let kind = body.get("kind").and_then(Value::as_str).unwrap_or(&def.kind);
    let version = body.get("apiVersion").and_then(Value::as_str).unwrap_or(&stored);
    let served = def
        .served
        .iter()
        .any(|v| crate::resource::api_version(&def.group, v) == version);
    if kind != def.kind || !served {
        let message = format!(
            "{} in version \"{}\" cannot be handled as a {}: expected {}, {}, got {version}, Kind={kind}",
            def.kind, def.version, def.kind, stored, def.kind,
        );
        return Err(ApiError::bad_request(message));
    }
    body.insert("kind".to_owned(), json!(def.kind));
    body.insert("apiVersion".to_owned(), json!(stored));
    match body.entry("metadata").or_insert_with(|| Value::Object(Map::new())) {
        Value::Object(_) => Ok(()),
        metadata @ Value::Null => {
            *metadata = json!({});
            Ok(())
        }
        _ => Err(ApiError::bad_request("metadata is not a JSON object")),
    }
}

/// Gives a new object its identity.
pub(super) fn begin(def: &ResourceDef, object: &mut Value) -> Result<(), ApiError> {
    let metadata = &mut object["metadata"];
    if metadata["resourceVersion"].as_str().is_some_and(|v| !v.is_empty()) {
        return Err(ApiError::bad_request(
            "resourceVersion should not be set on objects to be created",
        ));
    }
    if metadata["name"].as_str().unwrap_or_default().is_empty()
        && let Some(prefix) = metadata["generateName"].as_str().filter(|p| !p.is_empty())
    {
        // The longest prefix that leaves room for the suffix, as in k8s.io/apiserver/pkg/storage/names.
        let prefix = prefix.get(..58).unwrap_or(prefix);
        metadata["name"] = json!(format!("{prefix}{}", random_suffix()));
    }
    if let Some(metadata) = metadata.as_object_mut() {
        for server_owned in [
            "resourceVersion",
            "selfLink",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
        ] {
            metadata.remove(server_owned);
        }
        metadata.remove("generation");
        metadata.insert("uid".to_owned(), json!(uuid::Uuid::new_v4().to_string()));
        metadata.insert("creationTimestamp".to_owned(), json!(time::now()));
        if def.generation {
            metadata.insert("generation".to_owned(), json!(1));
        }
        drop_empty(metadata);
    }
    Ok(())
}

/// Puts back what an update may not change. `kept` are fields of metadata that come from the stored object.
pub(super) fn keep(old: &Value, new: &mut Value) {
    let (old, Some(new)) = (&old["metadata"], new["metadata"].as_object_mut()) else {
        return;
    };
    for field in [
        "name",
        "namespace",
        "generateName",
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
        "resourceVersion",
        "managedFields",
    ] {
        match old.get(field) {
            Some(value) => new.insert(field.to_owned(), value.clone()),
            None => new.remove(field),
        };
    }
    new.remove("selfLink");
    drop_empty(new);
}

/// Nulls and empty collections of metadata are never shown by a real server.
fn drop_empty(metadata: &mut Map<String, Value>) {
    metadata.retain(|_, value| match value {
        Value::Null => false,
        Value::Object(map) => !map.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::String(text) => !text.is_empty(),
        _ => true,
    });
}

/// Five characters from the alphabet of `k8s.io/apimachinery/pkg/util/rand`.
fn random_suffix() -> String {
    const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    let random = uuid::Uuid::new_v4();
    random.as_bytes()[..5]
        .iter()
        .map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()]))
        .collect()
}

/// `metadata.finalizers`.
pub(super) fn finalizers(object: &Value) -> Vec<&str> {
    object["metadata"]["finalizers"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

/// True when both have the same content outside `metadata` and `status`.
pub(super) fn same_spec(old: &Value, new: &Value) -> bool {
    let others = |object: &Value| {
        let mut object = object.as_object().cloned().unwrap_or_default();
        object.retain(|key, _| key != "metadata" && key != "status");
        object
    };
    if old["spec"] != new["spec"] {
        return false;
    }
    let plain = |object: &Value| object.as_object().map_or(0, Map::len);
    // Nearly every kind with a generation keeps everything in `spec`; the copies are for those that do not.
    (plain(old) <= 5 && plain(new) <= 5 && old.get("spec").is_some() && new.get("spec").is_some())
        || others(old) == others(new)
}
