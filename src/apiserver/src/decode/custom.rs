//! Bodies of custom resources, by the schema of the definition, as `k8s.io/apiextensions-apiserver` does. Of a schema
//! it reads types, properties, items and enumerations; `required` and the combinations (`anyOf`) are not checked.

use crate::{
    decode::FieldValidation,
    error::{ApiError, Cause, CauseKind},
    resource::ResourceDef,
};
use serde_json::Value;

const OPEN: &str = "x-kubernetes-preserve-unknown-fields";
const INT_OR_STRING: &str = "x-kubernetes-int-or-string";

/// Checks a body. The warnings to be sent; 400 for unknown fields in strict validation, 422 for wrong values.
pub(super) fn check(
    def: &ResourceDef,
    object: &mut Value,
    validation: FieldValidation,
) -> Result<Vec<String>, ApiError> {
    let Some(schema) = def.schema.as_deref().filter(|schema| schema["properties"].is_object()) else {
        return Ok(Vec::new());
    };
    let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let mut findings = Findings::default();
    for (field, schema) in schema["properties"].as_object().into_iter().flatten() {
        if let Some(value) = object.get_mut(field).filter(|_| field != "metadata") {
            findings.visit(schema, field, value);
        }
    }
    if validation == FieldValidation::Strict && !findings.unknown.is_empty() {
        let (kind, version) = (&def.kind, &def.version);
        return Err(ApiError::bad_request(format!(
            "{kind} in version \"{version}\" cannot be handled as a {kind}: strict decoding error: {}",
            findings.unknown.join(", ")
        )));
    }
    if !findings.causes.is_empty() {
        return Err(ApiError::invalid(def, &name, findings.causes));
    }
    Ok(match validation {
        FieldValidation::Ignore => Vec::new(),
        FieldValidation::Warn | FieldValidation::Strict => findings.unknown,
    })
}

#[derive(Default)]
struct Findings {
    unknown: Vec<String>,
    causes: Vec<Cause>,
}

impl Findings {
    fn visit(&mut self, schema: &Value, path: &str, value: &mut Value) {
        if value.is_null() {
            return;
        }
        let expected = schema["type"].as_str().unwrap_or_default();
        if let Some(found) = mismatch(schema, expected, value) {
            let shown = Value::String(found.to_owned());
            let detail = format!("{path} in body must be of type {expected}: \"{found}\"");
            return self.causes.push(Cause::invalid(path, &shown, &detail));
        }
        if let Some(allowed) = schema["enum"].as_array().filter(|allowed| !allowed.contains(value)) {
            let listed: Vec<_> = allowed.iter().map(Value::to_string).collect();
            return self.causes.push(Cause {
                kind: CauseKind::NotSupported,
                field: path.to_owned(),
                message: format!("Unsupported value: {value}: supported values: {}", listed.join(", ")),
            });
        }
        match value {
            Value::Array(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    self.visit(&schema["items"], &format!("{path}[{index}]"), item);
                }
            }
            Value::Object(fields) => {
                let named = schema["properties"].as_object();
                let more = &schema["additionalProperties"];
                let open = schema[OPEN] == true || more.is_object() || named.is_none();
                let foreign = |key: &String| !open && named.is_none_or(|named| !named.contains_key(key));
                let unknown: Vec<_> = fields.keys().filter(|key| foreign(key)).cloned().collect();
                for key in unknown {
                    fields.remove(&key);
                    self.unknown.push(format!("unknown field \"{path}.{key}\""));
                }
                for (key, value) in fields {
                    let schema = named.and_then(|named| named.get(key)).unwrap_or(more);
                    self.visit(schema, &format!("{path}.{key}"), value);
                }
            }
            _ => {}
        }
    }
}

/// What the value is instead of what it should be.
fn mismatch(schema: &Value, expected: &str, value: &Value) -> Option<&'static str> {
    let found = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let fits = match expected {
        "" => schema[INT_OR_STRING] != true || matches!(found, "integer" | "string"),
        "number" => matches!(found, "integer" | "number"),
        expected => expected == found,
    };
    (!fits).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn visited(value: Value) -> (Value, Vec<String>, Vec<String>) {
        let text = json!({"type": "string"});
        let protocol = json!({"type": "string", "enum": ["TCP", "UDP"]});
        let port = json!({"type": "object", "properties": {"port": text, "protocol": protocol}});
        let schema = json!({"type": "object", "properties": {
            "ports": {"type": "array", "items": port},
            "labels": {"type": "object", "additionalProperties": text},
            "any": {"type": "object", OPEN: true},
        }});
        let (mut value, mut findings) = (value, Findings::default());
        findings.visit(&schema, "spec", &mut value);
        let causes = findings
            .causes
            .iter()
            .map(|cause| format!("{}: {}", cause.field, cause.message));
        let causes = causes.collect();
        (value, findings.unknown, causes)
    }

    #[test]
    fn unknown_fields_are_taken_out_and_wrong_values_named() {
        let good = json!({"ports": [{"port": "80", "protocol": "TCP"}], "labels": {"a": "b"}, "any": {"c": [1]}});
        assert_eq!(visited(good.clone()), (good, Vec::new(), Vec::new()));
        let (left, unknown, _) = visited(json!({"port": 1, "ports": [{"port": "80", "number": 1}]}));
        assert_eq!(left, json!({"ports": [{"port": "80"}]}));
        assert_eq!(
            unknown,
            ["unknown field \"spec.port\"", "unknown field \"spec.ports[0].number\""]
        );
        let (_, _, causes) = visited(json!({"ports": [{"port": 80, "protocol": "XYZ"}], "labels": {"a": true}}));
        assert_eq!(causes.len(), 3, "{causes:?}");
        assert!(
            causes.contains(
                &"spec.ports[0].port: Invalid value: \"integer\": spec.ports[0].port in body must be of type string: \
                  \"integer\""
                    .to_owned()
            )
        );
        assert!(causes.contains(
            &"spec.ports[0].protocol: Unsupported value: \"XYZ\": supported values: \"TCP\", \"UDP\"".to_owned()
        ));
    }
}
