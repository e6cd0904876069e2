//! Validation: what is wrong with an object, field by field, in the words of `k8s.io/kubernetes/pkg/apis/*/validation`.
//! It covers the mistakes that people make, not every rule there is.

mod config;
mod names;
mod pod;
mod service;
mod workload;

use crate::{error::Cause, object::text, resource::ResourceDef};
use serde_json::Value;

/// Everything that is wrong; empty when nothing is.
pub(super) fn causes(def: &ResourceDef, old: Option<&Value>, object: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    names::check(def, old, object, &mut causes);
    if def.is_custom() {
        return causes;
    }
    match (&*def.group, &*def.kind) {
        ("", "Pod") => pod::check(old, object, &mut causes),
        ("", "Service") => service::check(old, object, &mut causes),
        ("", "ConfigMap" | "Secret") => config::check(old, object, &mut causes),
        ("rbac.authorization.k8s.io", _) => config::check_rights(old, object, &mut causes),
        ("coordination.k8s.io", "Lease") => config::check_lease(object, &mut causes),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => config::check_definition(object, &mut causes),
        ("apps" | "batch", _) | ("", "ReplicationController") => workload::check(def, old, object, &mut causes),
        _ => {}
    }
    causes
}

fn items(value: &Value) -> impl Iterator<Item = (usize, &Value)> {
    value.as_array().into_iter().flatten().enumerate()
}
