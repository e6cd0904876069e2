//! Patches: the four languages applied to the stored object, then stored like an update.

use super::{Patch, Store, WriteOptions, write::Ownership};
use crate::{
    decode::{self, FieldValidation},
    error::{ApiError, Reason},
    object::Object,
    patch::{self, apply},
    resource::{Resource, ResourceDef, StrategicMerge, Subresource},
};
use serde_json::Value;

impl Store {
    /// Patches an object. Apply creates it when it is missing; the others answer 404.
    pub fn patch(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        name: &str,
        patch: Patch,
    ) -> Result<Object, ApiError> {
        self.patch_with(resource, namespace, name, patch, &WriteOptions::default())
    }

    /// Patches the status subresource.
    pub fn patch_status(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        name: &str,
        patch: Patch,
    ) -> Result<Object, ApiError> {
        self.patch_with(resource, namespace, name, patch, &WriteOptions::status())
    }

    /// Like [`Store::patch`], with options.
    pub fn patch_with(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        name: &str,
        patch: Patch,
        options: &WriteOptions,
    ) -> Result<Object, ApiError> {
        let def = self.definition(resource)?;
        if options.subresource == Some(Subresource::Scale) {
            return self.patch_scale(&def, namespace, name, patch, options);
        }
        let _writing = self.write_lock();
        let old = self.get(resource, namespace, name);
        if let Patch::Apply { object, force } = patch {
            let manager = options.manager.as_deref().unwrap_or(&self.manager);
            let request = apply::Request {
                def: &def,
                manager,
                subresource: options.subresource,
                force,
            };
            return match old {
                Ok(old) => {
                    let applied = apply::onto(&request, &old, object)?;
                    self.update_locked(
                        resource,
                        &old,
                        applied.object,
                        options,
                        Ownership::Applied(applied.managed),
                    )
                }
                Err(error) if error.is_not_found() && options.subresource.is_none() => {
                    let applied = apply::create(&request, namespace, name, object)?;
                    self.create_locked(resource, applied.object, options, Ownership::Applied(applied.managed))
                }
                Err(error) => Err(error),
            };
        }
        let old = old?;
        let is_json = matches!(patch, Patch::Json(_));
        let mut new = patched(&def, &old, patch)?;
        if is_json {
            check_result(&def, &mut new)?;
        }
        self.update_locked(resource, &old, new, options, Ownership::Changed)
    }
}

/// A JSON patch has no type of its own: only its result can be checked. 422, worded as Kubernetes does.
fn check_result(def: &ResourceDef, patched: &mut Value) -> Result<(), ApiError> {
    let checked = decode::check(def, patched, FieldValidation::Warn).map(drop);
    checked.map_err(|error| {
        let message = format!(" \"\" is invalid: patch: Invalid value: {patched}: {}", error.message);
        ApiError::new(Reason::Invalid, message)
    })
}

/// The result of a patch other than apply, before any check.
pub(super) fn patched(def: &ResourceDef, old: &Value, patch: Patch) -> Result<Value, ApiError> {
    let mut new = old.clone();
    match patch {
        Patch::Json(operations) => {
            let operations: json_patch::Patch = serde_json::from_value(operations)
                .map_err(|error| ApiError::bad_request(format!("error decoding patch: {error}")))?;
            json_patch::patch(&mut new, &operations).map_err(|error| {
                ApiError::new(
                    Reason::Invalid,
                    format!("the server rejected our request due to an error in our request: {error}"),
                )
                .about(&def.group, &def.kind, "")
            })?;
        }
        Patch::Merge(changes) => json_patch::merge(&mut new, &changes),
        Patch::Strategic(changes) => {
            if def.strategic_merge == StrategicMerge::Unsupported {
                return Err(ApiError::new(
                    Reason::UnsupportedMediaType,
                    "the body of the request was in an unknown format - accepted media types include: \
                     application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml",
                ));
            }
            patch::strategic::merge(&def.kind, &mut new, changes)?;
        }
        Patch::Apply { .. } => return Err(ApiError::internal("apply is not a change of the stored object alone")),
    }
    let metadata = (&old["metadata"], &new["metadata"]);
    for field in ["name", "namespace"] {
        if metadata.0[field] != metadata.1[field] {
            return Err(ApiError::bad_request(format!(
                "the {field} of the object ({}) does not match the {field} on the URL ({})",
                metadata.1[field].as_str().unwrap_or_default(),
                metadata.0[field].as_str().unwrap_or_default(),
            )));
        }
    }
    Ok(new)
}
