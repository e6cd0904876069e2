//! Strategic merge patch.

use serde_json::Value;

use crate::error::ApiError;

pub(crate) fn merge(_kind: &str, _object: &mut Value, _patch: Value) -> Result<(), ApiError> {
    Err(ApiError::not_implemented("strategic merge"))
}
