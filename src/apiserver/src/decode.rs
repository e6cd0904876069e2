//! Whether a JSON value is an object of its type, as Go's decoder would have it: values of the wrong type, and fields
//! that the type does not have. Unknown fields are taken out, for Kubernetes does not store them either.

mod builtin;
mod custom;
pub(crate) mod types;

use crate::{error::ApiError, resource::ResourceDef};
use serde_json::Value;

/// What to do about unknown fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum FieldValidation {
    Ignore,
    #[default]
    Warn,
    Strict,
}

/// Checks an object or a part of one, and takes out what its type does not have. The warnings to be sent; 400 for a
/// wrong type, and in strict validation for unknown fields.
pub(crate) fn check(
    def: &ResourceDef,
    object: &mut Value,
    validation: FieldValidation,
) -> Result<Vec<String>, ApiError> {
    if def.is_custom() {
        custom::check(def, object, validation)
    } else {
        builtin::check(def, object, validation)
    }
}
