//! Create and update: the order in which an object is checked, completed and stored.

use super::{AdmissionRequest, Store, WriteOptions, history::Change, metadata};
use crate::{
    admission::{self, Operation},
    error::{ApiError, Cause, CauseKind},
    object::Object,
    patch::ownership,
    resource::{
        Resource, ResourceDef, Subresource, Verbs,
        names::{NAMESPACES, SERVICE_ACCOUNTS},
    },
};
use serde_json::{Value, json};

/// Who owns the fields afterwards.
pub(super) enum Ownership {
    /// The writer owns what it changed.
    Changed,
    /// Server-side apply has worked it out: the value of `managedFields`.
    Applied(Value),
}

impl Store {
    /// Creates an object; its namespace and name (or `generateName`) are those of its metadata. Kind and apiVersion
    /// may be left out. 409 when it exists, 404 when its namespace does not, 422 when it is not valid.
    pub fn create(&self, resource: &Resource, object: Value) -> Result<Object, ApiError> {
        self.create_with(resource, object, &WriteOptions::default())
    }

    /// Like [`Store::create`], with options.
    pub fn create_with(&self, resource: &Resource, object: Value, options: &WriteOptions) -> Result<Object, ApiError> {
        let _writing = self.write_lock();
        self.create_locked(resource, object, options, Ownership::Changed)
    }

    /// Replaces an object. Its resourceVersion, if any, must be the stored one, else 409; the status subresource is
    /// left as it is where the resource has one.
    pub fn update(&self, resource: &Resource, object: Value) -> Result<Object, ApiError> {
        self.update_with(resource, object, &WriteOptions::default())
    }

    /// Replaces the status of an object, with the same rules.
    pub fn update_status(&self, resource: &Resource, object: Value) -> Result<Object, ApiError> {
        self.update_with(resource, object, &WriteOptions::status())
    }

    /// Like [`Store::update`], with options.
    pub fn update_with(&self, resource: &Resource, object: Value, options: &WriteOptions) -> Result<Object, ApiError> {
        let _writing = self.write_lock();
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let old = self.get(resource, object["metadata"]["namespace"].as_str(), name)?;
        self.update_locked(resource, &old, object, options, Ownership::Changed)
    }

    pub(super) fn modify_with(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        name: &str,
        options: &WriteOptions,
        change: impl FnOnce(&mut Value),
    ) -> Result<Object, ApiError> {
        let _writing = self.write_lock();
        let old = self.get(resource, namespace, name)?;
        let mut new = old.to_value();
        change(&mut new);
        self.update_locked(resource, &old, new, options, Ownership::Changed)
    }

    pub(super) fn create_locked(
        &self,
        resource: &Resource,
        mut object: Value,
        options: &WriteOptions,
        ownership: Ownership,
    ) -> Result<Object, ApiError> {
        let def = self.definition(resource)?;
        if def.verbs != Verbs::Stored {
            return Err(ApiError::bad_request(format!("{} are not stored", def.qualified())));
        }
        metadata::check_type(&def, &mut object)?;
        if !def.is_namespaced()
            && let Some(metadata) = object["metadata"].as_object_mut()
        {
            metadata.remove("namespace");
        }
        metadata::begin(&def, &mut object)?;
        let namespace = object["metadata"]["namespace"].as_str().map(str::to_owned);
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        if def.is_namespaced() {
            self.check_namespace(&def, namespace.as_deref(), &name)?;
        }
        if self.find(resource, namespace.as_deref(), &name).is_some() {
            return Err(ApiError::already_exists(&def, &name));
        }
        admission::reset_status(&def, &mut object);
        self.admit(&def, Operation::Create, options, None, &mut object)?;

        let manager = options.manager.as_deref().unwrap_or(&self.manager);
        match ownership {
            Ownership::Changed => ownership::after_update(&def, None, &mut object, manager, options.subresource),
            Ownership::Applied(managed) => object["metadata"]["managedFields"] = managed,
        }
        if options.dry_run {
            return Ok(Object::new(object));
        }
        let key = (namespace.unwrap_or_default(), name.clone());
        let created = self.commit(resource, &key, Change::Added, object)?;
        if *resource == NAMESPACES {
            let account = json!({"metadata": {"name": "default", "namespace": name}});
            if let Err(error) =
                self.create_locked(&SERVICE_ACCOUNTS, account, &WriteOptions::default(), Ownership::Changed)
            {
                tracing::warn!(%error, namespace = name, "failed to create the default service account");
            }
        }
        Ok(created)
    }

    pub(super) fn update_locked(
        &self,
        resource: &Resource,
        old: &Object,
        mut new: Value,
        options: &WriteOptions,
        ownership: Ownership,
    ) -> Result<Object, ApiError> {
        let def = self.definition(resource)?;
        metadata::check_type(&def, &mut new)?;
        check_identity(&def, old, &new)?;
        let mut new = merge_parts(&def, old, new, options.subresource)?;
        metadata::keep(old, &mut new);
        check_finalizers(&def, old, &new)?;
        self.admit(&def, Operation::Update, options, Some(old), &mut new)?;

        if def.generation && !metadata::same_spec(old, &new) {
            new["metadata"]["generation"] = json!(old.generation() + 1);
        }
        let manager = options.manager.as_deref().unwrap_or(&self.manager);
        match ownership {
            Ownership::Changed => ownership::after_update(&def, Some(old), &mut new, manager, options.subresource),
            Ownership::Applied(managed) => new["metadata"]["managedFields"] = managed,
        }
        if **old == new || ownership::only_times_differ(old, &new) {
            return Ok(old.clone());
        }
        if options.dry_run {
            return Ok(Object::new(new));
        }
        let key = (old.namespace().unwrap_or_default().to_owned(), old.name().to_owned());
        let change = if is_finished(&def, &new) {
            Change::Deleted
        } else {
            Change::Modified
        };
        self.commit(resource, &key, change, new)
    }

    fn check_namespace(&self, def: &ResourceDef, namespace: Option<&str>, name: &str) -> Result<(), ApiError> {
        let Some(namespace) = namespace.filter(|n| !n.is_empty()) else {
            let cause = Cause::required("metadata.namespace", "");
            return Err(ApiError::invalid(def, name, vec![cause]));
        };
        let found = self.get(&NAMESPACES, None, namespace)?;
        if !found.is_terminating() {
            return Ok(());
        }
        let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
        let mut error = ApiError::forbidden(def, name, &why);
        if let Some(details) = &mut error.details {
            let message = format!("namespace {namespace} is being terminated");
            let kind = CauseKind::NamespaceTerminating;
            details.causes.push(Cause {
                kind,
                field: "metadata.namespace".to_owned(),
                message,
            });
        }
        Err(error)
    }

    pub(super) fn admit(
        &self,
        def: &ResourceDef,
        operation: Operation,
        options: &WriteOptions,
        old: Option<&Value>,
        object: &mut Value,
    ) -> Result<(), ApiError> {
        let target = old.unwrap_or(object);
        let namespace = target["metadata"]["namespace"].as_str().map(str::to_owned);
        let name = target["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        if operation != Operation::Delete {
            admission::complete(def, old, object);
        }
        for hook in &self.shared.hooks {
            hook.admit(&mut AdmissionRequest {
                operation,
                resource: def,
                subresource: options.subresource,
                namespace: namespace.as_deref(),
                name: &name,
                user: options.user.as_deref(),
                old,
                object,
                store: self,
                dry_run: options.dry_run,
            })?;
        }
        if operation == Operation::Delete {
            return Ok(());
        }
        let namespace = |name: &str| self.find(&NAMESPACES, None, name);
        admission::check(namespace, def, operation, options.subresource, old, object)
    }
}

/// An update must mean the stored object, and its newest state when it names a version.
fn check_identity(def: &ResourceDef, old: &Object, new: &Value) -> Result<(), ApiError> {
    let metadata = &new["metadata"];
    let given = |field: &str| metadata[field].as_str().filter(|text| !text.is_empty());
    if let Some(uid) = given("uid").filter(|uid| *uid != old.uid()) {
        let why = format!(
            "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
            old.uid()
        );
        return Err(ApiError::conflict(def, old.name(), &why));
    }
    match given("resourceVersion") {
        Some(version) if version.parse() == Ok(old.resource_version()) => Ok(()),
        Some(version) if version.parse::<u64>().is_err() => {
            let cause = Cause::invalid(
                "metadata.resourceVersion",
                &metadata["resourceVersion"],
                "not a version",
            );
            Err(ApiError::invalid(def, old.name(), vec![cause]))
        }
        Some(_) => Err(ApiError::stale(def, old.name())),
        None if def.is_custom() || def.plural == "leases" => {
            let cause = Cause::invalid("metadata.resourceVersion", &json!(0), "must be specified for an update");
            Err(ApiError::invalid(def, old.name(), vec![cause]))
        }
        None => Ok(()),
    }
}

/// Takes from `new` what the subresource may write, and everything else from `old`.
fn merge_parts(
    def: &ResourceDef,
    old: &Object,
    mut new: Value,
    subresource: Option<Subresource>,
) -> Result<Value, ApiError> {
    let take = |from: &mut Value, into: &mut Value, part: &str| match from.get_mut(part).map(Value::take) {
        Some(value) => into[part] = value,
        None => {
            into.as_object_mut().map(|into| into.remove(part));
        }
    };
    let mut merged = old.to_value();
    match subresource {
        None => {
            if def.has(Subresource::Status) {
                take(&mut merged, &mut new, "status");
            }
            return Ok(new);
        }
        Some(Subresource::Status) => {
            take(&mut new, &mut merged, "status");
            if !def.is_custom() {
                take(&mut new["metadata"], &mut merged["metadata"], "labels");
                take(&mut new["metadata"], &mut merged["metadata"], "annotations");
            }
        }
        Some(Subresource::Finalize) => take(&mut new["spec"], &mut merged["spec"], "finalizers"),
        Some(Subresource::EphemeralContainers) => {
            take(&mut new["spec"], &mut merged["spec"], "ephemeralContainers");
        }
        Some(other) => {
            return Err(ApiError::not_implemented(format!(
                "update of {}/{}",
                def.qualified(),
                other.as_str()
            )));
        }
    }
    Ok(merged)
}

fn check_finalizers(def: &ResourceDef, old: &Object, new: &Value) -> Result<(), ApiError> {
    if !old.is_terminating() {
        return Ok(());
    }
    let before = metadata::finalizers(old);
    let added: Vec<_> = metadata::finalizers(new)
        .into_iter()
        .filter(|f| !before.contains(f))
        .collect();
    if added.is_empty() {
        return Ok(());
    }
    let detail =
        format!("no new finalizers can be added if the object is being deleted, found new finalizers {added:?}");
    Err(ApiError::invalid(
        def,
        old.name(),
        vec![Cause::forbidden("metadata.finalizers", &detail)],
    ))
}

/// True when a terminating object waits for nothing any more.
pub(super) fn is_finished(def: &ResourceDef, object: &Value) -> bool {
    let metadata = &object["metadata"];
    let waits_for_namespace = def.kind == "Namespace"
        && def.group.is_empty()
        && object["spec"]["finalizers"]
            .as_array()
            .is_some_and(|list| !list.is_empty());
    !metadata["deletionTimestamp"].is_null()
        && metadata["deletionGracePeriodSeconds"].as_i64().unwrap_or_default() == 0
        && metadata::finalizers(object).is_empty()
        && !waits_for_namespace
}
