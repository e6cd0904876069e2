//! One change of one object, and its opposite. Objects are written as `kubectl` writes them, so that managed fields say
//! who it was.

use crate::{fault::Fault, state::ClusterState};
use meshproof_apiserver::{
    ApiError, DeleteOptions, Object, Resource, Store,
    resource::names::{CUSTOM_RESOURCE_DEFINITIONS, PODS},
};
use serde_json::Value;
use std::sync::Arc;

/// Who changes things by hand.
const MANAGER: &str = "kubectl-edit";

/// An object by name.
#[derive(Clone, Debug)]
pub(in crate::injection) struct Target {
    resource: Resource,
    namespace: Option<String>,
    name: String,
    manager: &'static str,
}

impl Target {
    pub(super) fn in_namespace(resource: Resource, namespace: &str, name: &str) -> Self {
        Self {
            resource,
            namespace: Some(namespace.to_owned()),
            name: name.to_owned(),
            manager: MANAGER,
        }
    }
    pub(super) fn cluster_wide(resource: Resource, name: &str) -> Self {
        Self {
            resource,
            namespace: None,
            name: name.to_owned(),
            manager: MANAGER,
        }
    }
    /// The same object, written by somebody else.
    pub(super) fn by(self, manager: &'static str) -> Self {
        Self { manager, ..self }
    }
    pub(super) fn name(&self) -> &str {
        &self.name
    }
    fn find(&self, store: &Store) -> Result<Object, String> {
        let found = store.get(&self.resource, self.namespace.as_deref(), &self.name);
        found.map_err(|error| error.to_string())
    }
    fn delete(&self, store: &Store, options: &DeleteOptions) -> Result<(), ApiError> {
        match store.delete(&self.resource, self.namespace.as_deref(), &self.name, options) {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }
}

type Change = Box<dyn FnOnce(&mut Value)>;

/// What somebody does.
pub(super) enum Edit {
    /// Creates an object, with its status.
    Create(Resource, Value),
    /// Changes an object; afterwards it is as it was.
    Change(Target, Change),
    /// The same of its status.
    ChangeStatus(Target, Change),
    /// Deletes an object; of a definition its objects go, too, and come back with it.
    Delete(Target),
    /// Begins the deletion of an object that was created before, which has a finalizer.
    Terminate(Target),
    /// Deletes a pod, of which its controller makes another.
    Renew(Target),
    /// The same when the fault is healed.
    RenewAfterwards(Target),
    /// The same of the agent's pod on a node, whichever that is by then.
    RenewAgentAfterwards(String),
}

/// What undoes it.
pub(in crate::injection) struct Undo {
    cluster: Arc<ClusterState>,
    step: Step,
}

enum Step {
    Nothing,
    Delete(Target),
    Restore(Target, Object),
    RestoreStatus(Target, Object),
    Create(Vec<(Resource, Object)>),
    Finish(Target),
    RenewAgent(String),
}

impl Edit {
    /// Does it; what undoes it.
    pub(super) fn carry_out(self, cluster: &Arc<ClusterState>) -> Result<Undo, String> {
        let store = cluster.store.writing_as(MANAGER);
        let step = self.step(&store)?;
        Ok(Undo {
            cluster: Arc::clone(cluster),
            step,
        })
    }

    fn step(self, store: &Store) -> Result<Step, String> {
        let failed = |error: ApiError| error.to_string();
        match self {
            Edit::Create(resource, object) => {
                let created = create(store, &resource, object).map_err(failed)?;
                Ok(Step::Delete(Target {
                    resource,
                    namespace: created.namespace().map(str::to_owned),
                    name: created.name().to_owned(),
                    manager: MANAGER,
                }))
            }
            Edit::Change(target, change) => {
                let before = target.find(store)?;
                store
                    .writing_as(target.manager)
                    .modify(&target.resource, target.namespace.as_deref(), &target.name, change)
                    .map_err(failed)?;
                Ok(Step::Restore(target, before))
            }
            Edit::ChangeStatus(target, change) => {
                let before = target.find(store)?;
                store
                    .writing_as(target.manager)
                    .modify_status(&target.resource, target.namespace.as_deref(), &target.name, change)
                    .map_err(failed)?;
                Ok(Step::RestoreStatus(target, before))
            }
            Edit::Delete(target) => {
                let object = target.find(store)?;
                let mut all = vec![(target.resource.clone(), object.clone())];
                all.extend(defined(store, &target, &object));
                target.delete(store, &DeleteOptions::now()).map_err(failed)?;
                Ok(Step::Create(all))
            }
            Edit::Terminate(target) => {
                target.delete(store, &DeleteOptions::now()).map_err(failed)?;
                Ok(Step::Finish(target))
            }
            Edit::Renew(target) => {
                target.delete(store, &DeleteOptions::default()).map_err(failed)?;
                Ok(Step::Nothing)
            }
            Edit::RenewAfterwards(target) => Ok(Step::Delete(target)),
            Edit::RenewAgentAfterwards(node) => Ok(Step::RenewAgent(node)),
        }
    }
}

/// The objects of a definition.
fn defined(store: &Store, target: &Target, definition: &Object) -> Vec<(Resource, Object)> {
    if target.resource != CUSTOM_RESOURCE_DEFINITIONS {
        return Vec::new();
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let of = Resource::new(
        text(&definition["spec"]["group"]),
        text(&definition["spec"]["names"]["plural"]),
    );
    store
        .all(&of, None)
        .into_iter()
        .map(|object| (of.clone(), object))
        .collect()
}

fn create(store: &Store, resource: &Resource, object: Value) -> Result<Object, ApiError> {
    let status = object["status"].clone();
    let created = store.create(resource, object)?;
    if status.is_null() {
        return Ok(created);
    }
    let written = store.modify_status(resource, created.namespace(), created.name(), |object| {
        object["status"].clone_from(&status);
    });
    // Resources without a status have none to restore.
    Ok(written.unwrap_or(created))
}

impl Undo {
    /// Undoes it; what is gone needs nothing.
    pub(in crate::injection) fn carry_out(self, fault: Fault) {
        let store = self.cluster.store.writing_as(MANAGER);
        match self.step.carry_out(&store) {
            Err(error) if !error.is_not_found() => {
                tracing::warn!(%error, %fault, cluster = self.cluster.name(), "a change of the API is not undone");
            }
            _ => {}
        }
    }
}

impl Step {
    fn carry_out(self, store: &Store) -> Result<(), ApiError> {
        match self {
            Step::Nothing => Ok(()),
            Step::Delete(target) => target.delete(store, &DeleteOptions::default()),
            Step::Restore(target, before) => {
                let restore = |object: &mut Value| {
                    let (Some(now), Some(then)) = (object.as_object_mut(), before.as_object()) else {
                        return;
                    };
                    let kept = |key: &str| matches!(key, "metadata" | "status");
                    now.retain(|key, _| kept(key) || then.contains_key(key));
                    for key in ["labels", "annotations"] {
                        now["metadata"][key] = then["metadata"][key].clone();
                    }
                    for (key, value) in then.iter().filter(|(key, _)| !kept(key)) {
                        now.insert(key.clone(), value.clone());
                    }
                };
                store
                    .modify(&target.resource, target.namespace.as_deref(), &target.name, restore)
                    .map(|_| ())
            }
            Step::RestoreStatus(target, before) => {
                let restore = |object: &mut Value| object["status"] = before["status"].clone();
                store
                    .modify_status(&target.resource, target.namespace.as_deref(), &target.name, restore)
                    .map(|_| ())
            }
            Step::Create(all) => {
                for (resource, object) in all {
                    let mut fresh = Value::clone(&object);
                    if let Some(metadata) = fresh["metadata"].as_object_mut() {
                        metadata
                            .retain(|key, _| matches!(key.as_str(), "name" | "namespace" | "labels" | "annotations"));
                    }
                    create(store, &resource, fresh)?;
                }
                Ok(())
            }
            Step::RenewAgent(node) => {
                let pods = store.all(&PODS, None);
                let is_agent =
                    |pod: &&Object| pod.label("k8s-app") == Some("cilium") && pod["spec"]["nodeName"] == *node;
                for pod in pods.iter().filter(is_agent) {
                    store.delete(&PODS, pod.namespace(), pod.name(), &DeleteOptions::default())?;
                }
                Ok(())
            }
            Step::Finish(target) => {
                let free = |object: &mut Value| {
                    object["metadata"]
                        .as_object_mut()
                        .map(|metadata| metadata.remove("finalizers"));
                };
                store
                    .modify(&target.resource, target.namespace.as_deref(), &target.name, free)
                    .map(|_| ())
            }
        }
    }
}
