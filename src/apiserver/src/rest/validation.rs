//! Whether a body is an object of its type: values of the wrong type, and fields that the type does not have. Unknown
//! fields are taken out, for Kubernetes does not store them either.

mod builtin;
mod custom;

use super::query::FieldValidation;
use crate::{error::ApiError, resource::ResourceDef};
use serde_json::Value;

/// Checks a body, and takes out what its type does not have. The warnings to be sent; 400 for a wrong type, and in
/// strict validation for unknown fields.
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
