//! Deletion: preconditions, grace periods, finalizers, cascading.

use super::{DeleteOptions, ListOptions, Propagation, Store, WriteOptions, history::Change, metadata, write};
use crate::{
    admission::Operation,
    error::ApiError,
    object::Object,
    resource::{Resource, ResourceDef},
    time,
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

/// Waits until everything owned has gone.
pub(super) const FOREGROUND: &str = "foregroundDeletion";
/// Waits until everything owned has lost its reference to the owner.
pub(super) const ORPHAN: &str = "orphan";
/// Namespaces that cannot be deleted (plugin NamespaceLifecycle).
const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

/// What a deletion came to.
#[derive(Clone, Debug)]
pub enum Deleted {
    /// The object is gone; its last state.
    Now(Object),
    /// The object waits for its grace period or for finalizers.
    Later(Object),
}

impl Deleted {
    /// The object's last or present state.
    pub fn object(&self) -> &Object {
        match self {
            Self::Now(object) | Self::Later(object) => object,
        }
    }
}

impl Store {
    /// Deletes an object. 404 when it does not exist, 409 when a precondition does not hold.
    pub fn delete(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        name: &str,
        options: &DeleteOptions,
    ) -> Result<Deleted, ApiError> {
        let _writing = self.write_lock();
        let old = self.get(resource, namespace, name)?;
        self.delete_locked(resource, &old, options)
    }

    /// Deletes every object that the options select; those that were there.
    pub fn delete_collection(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        which: &ListOptions,
        options: &DeleteOptions,
    ) -> Result<Vec<Object>, ApiError> {
        let _writing = self.write_lock();
        let items = self.list(resource, namespace, which)?.items;
        for object in &items {
            self.delete_locked(resource, object, options)?;
        }
        Ok(items)
    }

    pub(super) fn delete_locked(
        &self,
        resource: &Resource,
        old: &Object,
        options: &DeleteOptions,
    ) -> Result<Deleted, ApiError> {
        let def = self.definition(resource)?;
        check_preconditions(&def, old, options)?;
        if def.kind == "Namespace" && def.group.is_empty() && IMMORTAL.contains(&old.name()) {
            return Err(ApiError::forbidden(
                &def,
                old.name(),
                "this namespace may not be deleted",
            ));
        }
        let mut new = old.to_value();
        let admission = WriteOptions {
            user: options.user.clone(),
            dry_run: options.dry_run,
            ..WriteOptions::default()
        };
        self.admit(&def, Operation::Delete, &admission, Some(old), &mut old.to_value())?;

        set_cascading(&mut new, options.propagation);
        let grace = grace_period(&def, old, options);
        let metadata = &mut new["metadata"];
        let shorter = metadata["deletionGracePeriodSeconds"]
            .as_i64()
            .is_none_or(|present| grace < present);
        if !old.is_terminating() || (shorter && grace_applies(&def)) {
            let end = Timestamp::now() + SignedDuration::from_secs(grace);
            metadata["deletionTimestamp"] = json!(time::at(end));
            metadata["deletionGracePeriodSeconds"] = json!(grace);
            if def.generation && !old.is_terminating() {
                metadata["generation"] = json!(old.generation() + 1);
            }
        }
        if def.kind == "Namespace" && def.group.is_empty() {
            new["status"]["phase"] = json!("Terminating");
        }
        let key = (old.namespace().unwrap_or_default().to_owned(), old.name().to_owned());
        if write::is_finished(&def, &new) {
            if options.dry_run {
                return Ok(Deleted::Now(old.clone()));
            }
            // What was never terminating is not shown as terminating when it goes at once.
            let last = if old.is_terminating() { new } else { old.to_value() };
            return self.commit(resource, &key, Change::Deleted, last).map(Deleted::Now);
        }
        if new == **old || options.dry_run {
            return Ok(Deleted::Later(old.clone()));
        }
        self.commit(resource, &key, Change::Modified, new).map(Deleted::Later)
    }
}

fn check_preconditions(def: &ResourceDef, old: &Object, options: &DeleteOptions) -> Result<(), ApiError> {
    if let Some(uid) = options.uid.as_deref().filter(|uid| *uid != old.uid()) {
        let why = format!(
            "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
            old.uid()
        );
        return Err(ApiError::conflict(def, old.name(), &why));
    }
    let present = old.resource_version().to_string();
    if let Some(version) = options
        .resource_version
        .as_deref()
        .filter(|version| *version != present)
    {
        let why = format!(
            "Precondition failed: ResourceVersion in precondition: {version}, ResourceVersion in object meta: \
             {present}"
        );
        return Err(ApiError::conflict(def, old.name(), &why));
    }
    Ok(())
}

/// Only pods are deleted gracefully.
fn grace_applies(def: &ResourceDef) -> bool {
    def.kind == "Pod" && def.group.is_empty()
}

/// Seconds, as in the pod strategy's `CheckGracefulDelete`: a pod that no kubelet runs, or that has ended, goes at
/// once.
fn grace_period(def: &ResourceDef, pod: &Value, options: &DeleteOptions) -> i64 {
    if !grace_applies(def) {
        return 0;
    }
    let unscheduled = pod["spec"]["nodeName"].as_str().unwrap_or_default().is_empty();
    let ended = matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    if unscheduled || ended {
        return 0;
    }
    let own = || pod["spec"]["terminationGracePeriodSeconds"].as_i64().unwrap_or(30);
    options.grace_period_seconds.unwrap_or_else(own).max(0)
}

fn set_cascading(object: &mut Value, propagation: Option<Propagation>) {
    let Some(propagation) = propagation else { return };
    let mut finalizers: Vec<String> = metadata::finalizers(object).into_iter().map(str::to_owned).collect();
    finalizers.retain(|f| f != FOREGROUND && f != ORPHAN);
    match propagation {
        Propagation::Background => {}
        Propagation::Foreground => finalizers.push(FOREGROUND.to_owned()),
        Propagation::Orphan => finalizers.push(ORPHAN.to_owned()),
    }
    if finalizers.is_empty() {
        object["metadata"]
            .as_object_mut()
            .map(|metadata| metadata.remove("finalizers"));
    } else {
        object["metadata"]["finalizers"] = json!(finalizers);
    }
}
