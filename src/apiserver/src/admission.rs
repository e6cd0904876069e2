//! What happens to an object between the request and the store: defaults, the caller's own hooks, validation.
//! Admission may read the store but never write to it.

use serde_json::Value;

use crate::error::ApiError;
use crate::resource::{ResourceDef, Subresource};
use crate::store::Store;

mod defaults;
mod pod_security;
mod status;
mod validation;

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

/// A write under way. Hooks change `object` in place.
pub struct AdmissionRequest<'a> {
    /// Create, update or delete.
    pub operation: Operation,
    /// Which resource.
    pub resource: &'a ResourceDef,
    /// The subresource written to, if any.
    pub subresource: Option<Subresource>,
    /// The object's namespace.
    pub namespace: Option<&'a str>,
    /// The object's name (already generated, when the client gave `generateName`).
    pub name: &'a str,
    /// Who asks; none for callers in process.
    pub user: Option<&'a str>,
    /// The stored object, on update and delete.
    pub old: Option<&'a Value>,
    /// The object to be stored.
    pub object: &'a mut Value,
    /// The store, **for reading only**: a write from within a hook deadlocks. Writes are serialised, so
    /// what a hook reads stays true until its object is stored (unless a later hook or validation refuses it).
    pub store: &'a Store,
    /// True when nothing will be stored in the end.
    pub dry_run: bool,
}

/// A hook into writes, run after the built-in defaults and before the built-in validation.
pub trait Admission: Send + Sync + 'static {
    /// Changes or refuses the object. Must be quick and must not block: all writes wait for it.
    fn admit(&self, request: &mut AdmissionRequest<'_>) -> Result<(), ApiError>;
}

/// What a new object's status begins with, whatever the client sent.
pub(crate) fn reset_status(def: &ResourceDef, object: &mut Value) {
    status::reset(def, object);
}

/// Fills in what the client left out.
pub(crate) fn complete(def: &ResourceDef, old: Option<&Value>, object: &mut Value) {
    defaults::complete(def, old, object);
}

/// Refuses what is not valid (422) or not allowed in its namespace (403).
pub(crate) fn check(
    store: &Store,
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
        pod_security::check(store, def, object)?;
    }
    Ok(())
}
