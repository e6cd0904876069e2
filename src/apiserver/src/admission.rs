//! What the server itself does to an object between the request and the store: defaults before the hooks of
//! [`Admission`](crate::Admission), validation and Pod Security after them. It knows nothing of the store.

mod defaults;
mod pod_security;
mod status;
mod validation;

use crate::{
    error::ApiError,
    object::Object,
    resource::{ResourceDef, Subresource},
};
use serde_json::Value;

/// What is being done to the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A new object.
    Create,
    /// A change, by update, patch or apply.
    Update,
    /// A removal; `object` is the present one and changes to it are ignored.
    Delete,
}

/// What a new object's status begins with, whatever the client sent.
pub(crate) fn reset_status(def: &ResourceDef, object: &mut Value) {
    status::reset(def, object);
}

/// Fills in what the client left out.
pub(crate) fn complete(def: &ResourceDef, old: Option<&Value>, object: &mut Value) {
    defaults::complete(def, old, object);
}

/// Refuses what is not valid (422) or not allowed in its namespace (403); `namespace` looks a namespace up by name.
pub(crate) fn check(
    namespace: impl FnOnce(&str) -> Option<Object>,
    def: &ResourceDef,
    operation: Operation,
    subresource: Option<Subresource>,
    old: Option<&Value>,
    object: &Value,
) -> Result<(), ApiError> {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    if matches!(subresource, None | Some(Subresource::EphemeralContainers)) {
        let causes = validation::causes(def, old, object);
        if !causes.is_empty() {
            return Err(ApiError::invalid(def, name, causes));
        }
    }
    let is_pod = def.group.is_empty() && def.kind == "Pod";
    if is_pod
        && subresource.is_none()
        && (operation == Operation::Create || old.is_some_and(|o| o["spec"] != object["spec"]))
    {
        let name = object["metadata"]["namespace"].as_str().unwrap_or_default();
        if let Some(namespace) = namespace(name) {
            pod_security::check(&namespace, def, object)?;
        }
    }
    Ok(())
}
