//! Bodies of built-in types, by the table of types.

use super::{
    FieldValidation,
    types::{Kind, Repeated, SPECIAL, message_of, messages},
};
use crate::{error::ApiError, resource::ResourceDef};
use serde_json::{Map, Value};
use std::{collections::HashMap, sync::OnceLock};

type Names = HashMap<&'static str, HashMap<&'static str, (Repeated, Kind)>>;

/// The fields of every message by JSON name, inlined ones included.
fn names() -> &'static Names {
    static NAMES: OnceLock<Names> = OnceLock::new();
    NAMES.get_or_init(|| messages().keys().map(|name| (*name, flattened(name))).collect())
}

fn flattened(message: &str) -> HashMap<&'static str, (Repeated, Kind)> {
    let mut fields = HashMap::new();
    for field in messages().get(message).into_iter().flat_map(HashMap::values) {
        match field.kind {
            Kind::Message(inlined) if field.name.is_empty() => fields.extend(flattened(inlined)),
            kind => {
                fields.insert(field.name, (field.repeated, kind));
            }
        }
    }
    fields
}

/// Checks a body; 400 for a wrong type, and in strict validation for unknown fields.
pub(super) fn check(
    def: &ResourceDef,
    object: &mut Value,
    validation: FieldValidation,
) -> Result<Vec<String>, ApiError> {
    let message = message_of(&def.api_version(), &def.kind);
    let Some((message, _)) = names().get_key_value(message.as_str()) else {
        return Ok(Vec::new());
    };
    let refuse = |why: String| {
        let (kind, version) = (&def.kind, &def.version);
        ApiError::bad_request(format!(
            "{kind} in version \"{version}\" cannot be handled as a {kind}: {why}"
        ))
    };
    let mut unknown = Vec::new();
    visit(message, "", object, &mut unknown).map_err(|wrong| {
        let Wrong { found, path, expected } = wrong;
        refuse(format!(
            "json: cannot unmarshal {found} into Go struct field {}.{path} of type {expected}",
            def.kind
        ))
    })?;
    let unknown: Vec<String> = unknown
        .into_iter()
        .map(|path| format!("unknown field \"{path}\""))
        .collect();
    match validation {
        FieldValidation::Strict if !unknown.is_empty() => {
            Err(refuse(format!("strict decoding error: {}", unknown.join(", "))))
        }
        FieldValidation::Warn | FieldValidation::Strict => Ok(unknown),
        FieldValidation::Ignore => Ok(Vec::new()),
    }
}

/// A value that its field cannot hold.
struct Wrong {
    found: &'static str,
    path: String,
    expected: String,
}

fn visit(message: &str, path: &str, value: &mut Value, unknown: &mut Vec<String>) -> Result<(), Wrong> {
    let Some(fields) = names().get(message) else {
        return Ok(());
    };
    let Value::Object(map) = value else {
        return Err(wrong(value, path, message));
    };
    let foreign = |map: &Map<String, Value>| {
        let known = |key: &str| fields.contains_key(key) || key.starts_with('$');
        let top = |key: &str| path.is_empty() && matches!(key, "apiVersion" | "kind" | "stringData");
        map.keys()
            .filter(|key| !known(key) && !top(key))
            .cloned()
            .collect::<Vec<_>>()
    };
    for key in foreign(map) {
        map.remove(&key);
        unknown.push(join(path, &key));
    }
    for (key, value) in map.iter_mut().filter(|(_, value)| !value.is_null()) {
        let Some((repeated, kind)) = fields.get(key.as_str()) else {
            continue;
        };
        let path = join(path, key);
        match (repeated, value) {
            (Repeated::No, value) => visit_value(*kind, &path, value, unknown)?,
            (Repeated::List, Value::Array(items)) => {
                for (index, item) in items.iter_mut().enumerate().filter(|(_, item)| !item.is_null()) {
                    visit_value(*kind, &format!("{path}[{index}]"), item, unknown)?;
                }
            }
            (Repeated::Map, Value::Object(entries)) => {
                for (key, entry) in entries
                    .iter_mut()
                    .filter(|(key, entry)| !entry.is_null() && !key.starts_with('$'))
                {
                    visit_value(*kind, &join(&path, key), entry, unknown)?;
                }
            }
            (Repeated::List, value) => return Err(wrong(value, &path, &format!("[]{}", shown(*kind)))),
            (Repeated::Map, value) => return Err(wrong(value, &path, &format!("map[string]{}", shown(*kind)))),
        }
    }
    Ok(())
}

fn visit_value(kind: Kind, path: &str, value: &mut Value, unknown: &mut Vec<String>) -> Result<(), Wrong> {
    let fits = match (kind, &*value) {
        (Kind::Message("meta.Time" | "meta.MicroTime" | "meta.Duration"), Value::String(_)) => true,
        (Kind::Message("quantity.Quantity" | "intstr.IntOrString"), Value::String(_) | Value::Number(_)) => true,
        (Kind::Message("runtime.RawExtension" | "meta.FieldsV1"), _) => true,
        (Kind::Message("authentication.ExtraValue" | "authorization.ExtraValue"), Value::Array(_)) => true,
        (Kind::Message(name), _) if SPECIAL.contains(&name) => false,
        (Kind::Message(name), _) => return visit(name, path, value, unknown),
        (Kind::Text | Kind::Bytes, Value::String(_)) | (Kind::Boolean, Value::Bool(_)) => true,
        (Kind::Integer, Value::Number(number)) => number.is_i64() || number.is_u64(),
        (Kind::Double, Value::Number(_)) => true,
        _ => false,
    };
    if fits {
        Ok(())
    } else {
        Err(wrong(value, path, &shown(kind)))
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

fn wrong(value: &Value, path: &str, expected: &str) -> Wrong {
    let found = match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    // Go prints the path without indices.
    let path = path.split('[').enumerate().map(|(at, part)| {
        if at == 0 {
            part
        } else {
            part.split_once(']').map_or("", |(_, rest)| rest)
        }
    });
    Wrong {
        found,
        path: path.collect(),
        expected: expected.to_owned(),
    }
}

fn shown(kind: Kind) -> String {
    match kind {
        Kind::Text => "string".to_owned(),
        Kind::Integer => "int".to_owned(),
        Kind::Boolean => "bool".to_owned(),
        Kind::Bytes => "[]uint8".to_owned(),
        Kind::Double => "float64".to_owned(),
        Kind::Message(name) => name.replacen("core.", "v1.", 1),
    }
}

#[cfg(test)]
mod tests {
    use super::{
        FieldValidation::{self, Strict, Warn},
        check,
    };
    use crate::{
        resource::names::{CONFIG_MAPS, DEPLOYMENTS, PODS},
        store::Store,
    };
    use serde_json::{Value, json};

    fn checked(object: Value, validation: FieldValidation) -> Result<(Value, Vec<String>), String> {
        let store = Store::new();
        let resource = match object["kind"].as_str() {
            Some("Deployment") => DEPLOYMENTS,
            Some("ConfigMap") => CONFIG_MAPS,
            _ => PODS,
        };
        let def = store.definition(&resource).expect("it is served");
        let mut object = object;
        let warnings = check(&def, &mut object, validation).map_err(|error| error.message)?;
        Ok((object, warnings))
    }

    #[test]
    fn unknown_fields_are_reported_and_taken_out() {
        let pod = json!({"kind": "Pod", "spec": {
            "containers": [{"name": "c", "imag": "x"}], "volumes": [{"name": "v", "emptyDir": {}}],
        }});
        let (kept, warnings) = checked(pod.clone(), Warn).expect("only a warning");
        assert_eq!(warnings, ["unknown field \"spec.containers[0].imag\""]);
        assert_eq!(
            kept["spec"],
            json!({"containers": [{"name": "c"}], "volumes": [{"name": "v", "emptyDir": {}}]})
        );
        let error = checked(pod, Strict).expect_err("strict");
        assert_eq!(
            error,
            "Pod in version \"v1\" cannot be handled as a Pod: strict decoding error: unknown field \
             \"spec.containers[0].imag\""
        );
    }

    #[test]
    fn wrong_types_are_refused() {
        let deployment = json!({"kind": "Deployment", "spec": {"replicas": "three"}});
        let error = checked(deployment, Warn).expect_err("a wrong type");
        assert!(
            error.ends_with("json: cannot unmarshal string into Go struct field Deployment.spec.replicas of type int"),
            "{error}"
        );
        let map = json!({"kind": "ConfigMap", "data": {"a": 1}});
        assert!(checked(map, Warn).is_err(), "data holds strings only");
        let pod = json!({"kind": "Pod", "spec": {"containers": [{
            "name": "c", "resources": {"limits": {"cpu": 1, "memory": "1Gi"}}, "env": [{"name": "A", "value": "b"}],
            "livenessProbe": {"httpGet": {"port": "web"}, "periodSeconds": 3},
        }]}});
        assert_eq!(checked(pod, Strict).map(|(_, warnings)| warnings), Ok(Vec::new()));
    }
}
