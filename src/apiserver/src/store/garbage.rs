//! The garbage collector: what is owned goes with (or before, or without) its owner, and a terminating namespace is
//! emptied and removed. It works on what commits queue, and rescans nothing on its own.

use super::{
    DeleteOptions, Propagation, Store, WriteOptions,
    delete::{FOREGROUND, ORPHAN},
    history::Change,
    metadata,
};
use crate::{
    error::ApiError,
    object::Object,
    resource::{Resource, Verbs, names::NAMESPACES},
    sync,
};
use serde_json::{Value, json};
use std::{collections::VecDeque, sync::Mutex};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

#[derive(Default)]
pub(super) struct Queue {
    tasks: Mutex<VecDeque<Task>>,
    news: Notify,
}

enum Task {
    /// An object is gone: collect what it owned.
    OwnerGone { uid: String },
    /// A dependent is gone or new owners are named: look at its owners.
    OwnersOf {
        owners: Vec<Value>,
        namespace: Option<String>,
    },
    /// An object names owners: is any of them there?
    Dependent { resource: Resource, object: Object },
    /// An object waits for [`FOREGROUND`] or [`ORPHAN`].
    Waiting { resource: Resource, object: Object },
    /// A namespace may be terminating and may have become empty.
    Namespace { name: String },
}

impl Queue {
    /// Queues what a change calls for.
    pub(super) fn consider(&self, resource: &Resource, change: Change, object: &Object, before: Option<&Object>) {
        let owners = |of: &Object| {
            of["metadata"]["ownerReferences"]
                .as_array()
                .cloned()
                .unwrap_or_default()
        };
        let mut tasks = Vec::new();
        match change {
            Change::Deleted => {
                tasks.push(Task::OwnerGone {
                    uid: object.uid().to_owned(),
                });
                let (owners, namespace) = (owners(object), object.namespace().map(str::to_owned));
                if !owners.is_empty() {
                    tasks.push(Task::OwnersOf {
                        owners,
                        namespace: namespace.clone(),
                    });
                }
                if let Some(name) = namespace {
                    tasks.push(Task::Namespace { name });
                }
            }
            Change::Added | Change::Modified => {
                let new_owners = owners(object);
                if !new_owners.is_empty() && before.is_none_or(|before| owners(before) != new_owners) {
                    tasks.push(Task::Dependent {
                        resource: resource.clone(),
                        object: object.clone(),
                    });
                }
                if object.is_terminating() {
                    let finalizers = metadata::finalizers(object);
                    if finalizers.contains(&FOREGROUND) || finalizers.contains(&ORPHAN) {
                        tasks.push(Task::Waiting {
                            resource: resource.clone(),
                            object: object.clone(),
                        });
                    }
                    if *resource == NAMESPACES {
                        tasks.push(Task::Namespace {
                            name: object.name().to_owned(),
                        });
                    }
                }
            }
        }
        if !tasks.is_empty() {
            sync::lock(&self.tasks).extend(tasks);
            self.news.notify_one();
        }
    }

    fn next(&self) -> Option<Task> {
        sync::lock(&self.tasks).pop_front()
    }
}

/// The collector of one [`Store`]; a server runs it, and so may a test that has no server.
pub struct GarbageCollector(Store);

impl Store {
    /// The collector. Run exactly one per store.
    pub fn garbage_collector(&self) -> GarbageCollector {
        GarbageCollector(self.writing_as("garbage-collector"))
    }
}

impl GarbageCollector {
    /// Collects until cancelled.
    pub async fn run(self, cancelled: CancellationToken) {
        loop {
            self.collect();
            tokio::select! {
                () = cancelled.cancelled() => return,
                () = self.0.shared.garbage.news.notified() => {}
            }
        }
    }

    /// Works off what is queued now, and what that queues.
    pub fn collect(&self) {
        while let Some(task) = self.0.shared.garbage.next() {
            let done = match task {
                Task::OwnerGone { uid } => self.collect_owned(&uid),
                Task::OwnersOf { owners, namespace } => self.revisit(&owners, namespace.as_deref()),
                Task::Dependent { resource, object } => self.check_owners(&resource, &object),
                Task::Waiting { resource, object } => self.finish(&resource, &object),
                Task::Namespace { name } => self.empty(&name),
            };
            match done {
                Err(error) if !error.is_not_found() && !error.is_conflict() => {
                    tracing::warn!(%error, "failed to collect garbage");
                }
                _ => {}
            }
        }
    }

    fn owned_by(&self, uid: &str) -> Vec<(Resource, Object)> {
        let state = self.0.read();
        let all = state
            .kinds
            .iter()
            .flat_map(|(resource, kind)| kind.objects.values().map(move |o| (resource, o)));
        all.filter(|(_, object)| owner(object, uid).is_some())
            .map(|(r, o)| (r.clone(), o.clone()))
            .collect()
    }

    /// The object that an owner reference means, if it still exists.
    fn owner_object(&self, reference: &Value, namespace: Option<&str>) -> Option<(Resource, Object)> {
        let group = reference["apiVersion"]
            .as_str()?
            .rsplit_once('/')
            .map_or("", |(group, _)| group);
        let resource = {
            let state = self.0.read();
            let mut kinds = state.kinds.values();
            kinds
                .find(|k| k.def.group == group && reference["kind"] == *k.def.kind)?
                .def
                .resource()
        };
        let object = self.0.find(&resource, namespace, reference["name"].as_str()?)?;
        (reference["uid"] == object.uid()).then_some((resource, object))
    }

    fn check_owners(&self, resource: &Resource, object: &Object) -> Result<(), ApiError> {
        let owners = object["metadata"]["ownerReferences"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        if owners
            .iter()
            .any(|reference| self.owner_object(reference, object.namespace()).is_some())
        {
            return Ok(());
        }
        self.remove(resource, object, Propagation::Background)
    }

    fn collect_owned(&self, uid: &str) -> Result<(), ApiError> {
        for (resource, object) in self.owned_by(uid) {
            let others = object["metadata"]["ownerReferences"].as_array().into_iter().flatten();
            let mut others = others.filter(|reference| reference["uid"] != uid);
            if others.any(|reference| self.owner_object(reference, object.namespace()).is_some()) {
                self.disown(&resource, &object, uid)?;
            } else {
                self.remove(&resource, &object, Propagation::Background)?;
            }
        }
        Ok(())
    }

    fn revisit(&self, owners: &[Value], namespace: Option<&str>) -> Result<(), ApiError> {
        for reference in owners {
            if let Some((resource, owner)) = self.owner_object(reference, namespace)
                && owner.is_terminating()
            {
                self.finish(&resource, &owner)?;
            }
        }
        Ok(())
    }

    fn finish(&self, resource: &Resource, object: &Object) -> Result<(), ApiError> {
        let finalizers = metadata::finalizers(object);
        if finalizers.contains(&ORPHAN) {
            for (resource, dependent) in self.owned_by(object.uid()) {
                self.disown(&resource, &dependent, object.uid())?;
            }
            return self.release(resource, object, ORPHAN);
        }
        if !finalizers.contains(&FOREGROUND) {
            return Ok(());
        }
        let mut blocked = false;
        for (resource, dependent) in self.owned_by(object.uid()) {
            blocked |= owner(&dependent, object.uid()).is_some_and(|r| r["blockOwnerDeletion"] == true);
            if !dependent.is_terminating() {
                self.remove(&resource, &dependent, Propagation::Foreground)?;
            }
        }
        // Looked at again, for a dependent without dependents of its own may be gone already.
        blocked &= self.owned_by(object.uid()).iter().any(|(_, dependent)| {
            owner(dependent, object.uid()).is_some_and(|reference| reference["blockOwnerDeletion"] == true)
        });
        if blocked {
            Ok(())
        } else {
            self.release(resource, object, FOREGROUND)
        }
    }

    fn empty(&self, name: &str) -> Result<(), ApiError> {
        let Some(namespace) = self.0.find(&NAMESPACES, None, name).filter(|n| n.is_terminating()) else {
            return Ok(());
        };
        for (resource, object) in self.content(name) {
            if !object.is_terminating() {
                self.remove(&resource, &object, Propagation::Background)?;
            }
        }
        if !self.content(name).is_empty() {
            return Ok(());
        }
        let options = WriteOptions {
            subresource: Some(crate::resource::Subresource::Finalize),
            ..Default::default()
        };
        let finalized = self
            .0
            .modify_with(&NAMESPACES, None, namespace.name(), &options, |namespace| {
                namespace["spec"]["finalizers"] = json!([]);
            });
        finalized.map(|_| ())
    }

    fn content(&self, namespace: &str) -> Vec<(Resource, Object)> {
        let state = self.0.read();
        let kinds = state
            .kinds
            .iter()
            .filter(|(_, k)| k.def.is_namespaced() && k.def.verbs == Verbs::Stored);
        kinds
            .flat_map(|(resource, kind)| kind.objects.iter().map(move |(key, object)| (resource, key, object)))
            .filter(|(_, key, _)| key.0 == namespace)
            .map(|(resource, _, object)| (resource.clone(), object.clone()))
            .collect()
    }

    fn remove(&self, resource: &Resource, object: &Object, propagation: Propagation) -> Result<(), ApiError> {
        let options = DeleteOptions::default().only_uid(object.uid()).propagation(propagation);
        match self.0.delete(resource, object.namespace(), object.name(), &options) {
            Err(error) if !error.is_not_found() && !error.is_conflict() => Err(error),
            _ => Ok(()),
        }
    }

    fn disown(&self, resource: &Resource, object: &Object, uid: &str) -> Result<(), ApiError> {
        let disowned = self.0.modify(resource, object.namespace(), object.name(), |object| {
            if let Some(owners) = object["metadata"]["ownerReferences"].as_array_mut() {
                owners.retain(|reference| reference["uid"] != uid);
            }
        });
        disowned.map(|_| ())
    }

    fn release(&self, resource: &Resource, object: &Object, finalizer: &str) -> Result<(), ApiError> {
        let released = self.0.modify(resource, object.namespace(), object.name(), |object| {
            if let Some(finalizers) = object["metadata"]["finalizers"].as_array_mut() {
                finalizers.retain(|f| f != finalizer);
            }
        });
        released.map(|_| ())
    }
}

fn owner<'a>(object: &'a Object, uid: &str) -> Option<&'a Value> {
    object["metadata"]["ownerReferences"]
        .as_array()?
        .iter()
        .find(|reference| reference["uid"] == uid)
}
