//! The JSON Schema of `meshproof.yaml`, committed beside its documentation.

use super::file::ConfigFile;
use serde_json::Value;

/// The schema.
pub fn schema() -> Value {
    schemars::schema_for!(ConfigFile).into()
}

/// The schema as it is committed and printed, with a final newline.
pub fn text() -> String {
    serde_json::to_string_pretty(&schema()).expect("a schema is JSON") + "\n"
}
