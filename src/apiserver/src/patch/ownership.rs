//! Which manager owns which field after a write that is not an apply.

use serde_json::Value;

use crate::resource::{ResourceDef, Subresource};

pub(crate) fn after_update(
    _def: &ResourceDef,
    _old: Option<&Value>,
    _new: &mut Value,
    _manager: &str,
    _subresource: Option<Subresource>,
) {
}

pub(crate) fn only_times_differ(_old: &Value, _new: &Value) -> bool {
    false
}
