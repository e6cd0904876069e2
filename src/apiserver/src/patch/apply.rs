//! Server-side apply.

use serde_json::Value;

use crate::error::ApiError;
use crate::resource::{ResourceDef, Subresource};

pub(crate) struct Request<'a> {
    pub def: &'a ResourceDef,
    pub manager: &'a str,
    pub subresource: Option<Subresource>,
    pub force: bool,
}

pub(crate) struct Applied {
    pub object: Value,
    pub managed: Value,
}

pub(crate) fn onto(_request: &Request<'_>, _old: &Value, _applied: Value) -> Result<Applied, ApiError> {
    Err(ApiError::not_implemented("apply"))
}

pub(crate) fn create(
    _request: &Request<'_>,
    _namespace: Option<&str>,
    _name: &str,
    _applied: Value,
) -> Result<Applied, ApiError> {
    Err(ApiError::not_implemented("apply"))
}
