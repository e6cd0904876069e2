//! The JSON Schema of `meshproof.yaml`, committed beside its documentation, and what is made of it.

use super::file::ConfigFile;
use meshproof_contract::Thresholds;
use serde_json::Value;

/// The schema.
pub fn schema() -> Value {
    schemars::schema_for!(ConfigFile).into()
}

/// The schema as it is committed and printed, with a final newline.
pub fn text() -> String {
    serde_json::to_string_pretty(&schema()).expect("a schema is JSON") + "\n"
}

/// Every key of `thresholds` with its documentation.
pub fn thresholds() -> Vec<(String, String)> {
    let schema = schema();
    let properties = schema["$defs"]["ThresholdsEntry"]["properties"].as_object();
    let about = |(key, property): (&String, &Value)| (key.clone(), description(property));
    properties.into_iter().flatten().map(about).collect()
}

/// The value of a key of `thresholds` as it is written.
pub fn threshold(thresholds: &Thresholds, key: &str) -> String {
    let values = serde_json::to_value(thresholds).unwrap_or_default();
    values[snake_case(key)].as_str().unwrap_or_default().to_owned()
}

/// The description of a part of the schema in one line.
pub fn description(part: &Value) -> String {
    let text = part["description"].as_str().unwrap_or_default();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn snake_case(key: &str) -> String {
    key.chars().fold(String::new(), |mut out, c| {
        if c.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
        out
    })
}
