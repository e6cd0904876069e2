//! Hooks into writes, with which a caller changes or refuses objects. They may read the store but never write to it.

use super::Store;
use crate::{
    admission::Operation,
    error::ApiError,
    resource::{ResourceDef, Subresource},
};
use serde_json::Value;

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
