//! The scale subresource: `autoscaling/v1` Scale as a view of replicas, read and written at the paths that the resource
//! names.

use super::{Patch, Store, WriteOptions, patch::patched, write::Ownership};
use crate::{
    error::{ApiError, Cause},
    object::Object,
    resource::{Resource, ResourceDef, ScalePaths},
    selector::LabelSelector,
};
use serde_json::{Value, json};

impl Store {
    /// The Scale of an object. 404 when the resource has none.
    pub fn scale(&self, resource: &Resource, namespace: Option<&str>, name: &str) -> Result<Value, ApiError> {
        let def = self.definition(resource)?;
        let object = self.get(resource, namespace, name)?;
        view(paths(&def)?, &object)
    }

    /// Writes the replicas of a Scale to its object; the new Scale.
    pub fn update_scale(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        name: &str,
        scale: &Value,
        options: &WriteOptions,
    ) -> Result<Value, ApiError> {
        let def = self.definition(resource)?;
        let _writing = self.write_lock();
        let old = self.get(resource, namespace, name)?;
        let new = self.write_scale(&def, &old, scale, options)?;
        view(paths(&def)?, &new)
    }

    pub(super) fn patch_scale(
        &self,
        def: &ResourceDef,
        namespace: Option<&str>,
        name: &str,
        patch: Patch,
        options: &WriteOptions,
    ) -> Result<Object, ApiError> {
        let _writing = self.write_lock();
        let old = self.get(&def.resource(), namespace, name)?;
        let present = view(paths(def)?, &old)?;
        let patch = match patch {
            // A Scale has no lists: the two kinds of merge are the same.
            Patch::Strategic(changes) | Patch::Apply { object: changes, .. } => Patch::Merge(changes),
            other => other,
        };
        let scale = patched(def, &present, patch)?;
        self.write_scale(def, &old, &scale, options)
    }

    fn write_scale(
        &self,
        def: &ResourceDef,
        old: &Object,
        scale: &Value,
        options: &WriteOptions,
    ) -> Result<Object, ApiError> {
        let replicas = scale["spec"].get("replicas").cloned().unwrap_or(json!(0));
        if replicas
            .as_i64()
            .is_none_or(|n| !(0..=i64::from(i32::MAX)).contains(&n))
        {
            let cause = Cause::invalid("spec.replicas", &replicas, "must be greater than or equal to 0");
            return Err(ApiError::invalid(def, old.name(), vec![cause]));
        }
        if let Some(version) = scale["metadata"]["resourceVersion"].as_str().filter(|v| !v.is_empty())
            && version != old.resource_version().to_string()
        {
            return Err(ApiError::stale(def, old.name()));
        }
        let mut new = old.to_value();
        let paths = paths(def)?;
        set(&mut new, &paths.spec_replicas, replicas).ok_or_else(|| {
            let message = format!("{} of {} is not in an object", paths.spec_replicas, old.name());
            ApiError::internal(message)
        })?;
        let options = WriteOptions {
            subresource: None,
            ..options.clone()
        };
        self.update_locked(&def.resource(), old, new, &options, Ownership::Changed)
    }
}

fn paths(def: &ResourceDef) -> Result<&ScalePaths, ApiError> {
    def.scale.as_ref().ok_or_else(ApiError::no_such_path)
}

/// The Scale of an object.
pub(crate) fn view(paths: &ScalePaths, object: &Object) -> Result<Value, ApiError> {
    let replicas = |path: &str| object.pointer(path).and_then(Value::as_i64).unwrap_or_default();
    let mut metadata = json!({
        "name": object.name(), "uid": object.uid(), "resourceVersion": object.resource_version().to_string(),
        "creationTimestamp": object["metadata"]["creationTimestamp"],
    });
    if let Some(namespace) = object.namespace() {
        metadata["namespace"] = json!(namespace);
    }
    let mut status = json!({"replicas": replicas(&paths.status_replicas)});
    let selector = match &paths.selector {
        Some(path) => object.pointer(path).and_then(Value::as_str).map(str::to_owned),
        None => LabelSelector::from_object(&object["spec"]["selector"]).map(|s| s.to_string()),
    };
    if let Some(selector) = selector {
        status["selector"] = json!(selector);
    }
    Ok(json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata,
        "spec": {"replicas": replicas(&paths.spec_replicas)}, "status": status,
    }))
}

/// Sets the value at a JSON pointer, making the objects on the way; none where something else is in the way.
fn set(object: &mut Value, pointer: &str, value: Value) -> Option<()> {
    let mut at = object;
    for key in pointer.split('/').skip(1) {
        if at.is_null() {
            *at = json!({});
        }
        at = at.as_object_mut()?.entry(key).or_insert(Value::Null);
    }
    *at = value;
    Some(())
}
