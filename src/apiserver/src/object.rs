//! A stored object: immutable JSON with cheap clones, the few metadata fields that everyone reads, and its
//! serialised form, made at most once however many watchers get it.

use bytes::Bytes;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    ops::Deref,
    sync::{Arc, OnceLock},
};

/// An object as the store has it. Dereferences to [`Value`]; [`Object::to_value`] gives a copy to change.
#[derive(Clone, Debug)]
pub struct Object(Arc<Content>);

#[derive(Debug)]
struct Content {
    value: Value,
    json: OnceLock<Bytes>,
    resource_version: u64,
}

impl Object {
    /// Wraps a complete object.
    pub(crate) fn new(value: Value) -> Self {
        let resource_version = value["metadata"]["resourceVersion"]
            .as_str()
            .and_then(|v| v.parse().ok())
            .unwrap_or_default();
        Self(Arc::new(Content {
            value,
            json: OnceLock::new(),
            resource_version,
        }))
    }

    /// A copy that can be changed and given to an update.
    pub fn to_value(&self) -> Value {
        self.0.value.clone()
    }

    /// The object as JSON text.
    pub fn json(&self) -> Bytes {
        self.0
            .json
            .get_or_init(|| Bytes::from(self.0.value.to_string()))
            .clone()
    }

    /// `metadata.name`.
    pub fn name(&self) -> &str {
        self.meta("name")
    }

    /// `metadata.namespace`, none for cluster-scoped objects.
    pub fn namespace(&self) -> Option<&str> {
        self["metadata"]["namespace"].as_str()
    }

    /// `metadata.uid`.
    pub fn uid(&self) -> &str {
        self.meta("uid")
    }

    /// `metadata.resourceVersion` as a number.
    pub fn resource_version(&self) -> u64 {
        self.0.resource_version
    }

    /// `metadata.generation`; 0 where the kind has none.
    pub fn generation(&self) -> i64 {
        self["metadata"]["generation"].as_i64().unwrap_or_default()
    }

    /// One label's value.
    pub fn label(&self, key: &str) -> Option<&str> {
        self["metadata"]["labels"][key].as_str()
    }

    /// All labels.
    pub fn labels(&self) -> BTreeMap<&str, &str> {
        strings(&self["metadata"]["labels"])
    }

    /// One annotation's value.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self["metadata"]["annotations"][key].as_str()
    }

    /// True once somebody asked to delete the object and it waits for a grace period or finalizers.
    pub fn is_terminating(&self) -> bool {
        !self["metadata"]["deletionTimestamp"].is_null()
    }

    /// The uid of the owner with `controller: true`.
    pub fn controller_uid(&self) -> Option<&str> {
        let owners = self["metadata"]["ownerReferences"].as_array()?;
        owners.iter().find(|o| o["controller"] == true)?["uid"].as_str()
    }

    fn meta(&self, field: &str) -> &str {
        self["metadata"][field].as_str().unwrap_or_default()
    }
}

impl Deref for Object {
    type Target = Value;

    fn deref(&self) -> &Value {
        &self.0.value
    }
}

impl PartialEq for Object {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.value == other.0.value
    }
}

/// The string entries of a JSON map (labels, annotations, selectors).
pub(crate) fn strings(map: &Value) -> BTreeMap<&str, &str> {
    map.as_object()
        .into_iter()
        .flatten()
        .filter_map(|(k, v)| Some((k.as_str(), v.as_str()?)))
        .collect()
}

/// A string, or nothing where the value is missing or of another type.
pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
