//! The cluster's state: objects by resource, namespace and name, with the rules of the Kubernetes API (resourceVersion,
//! conflicts, generation, finalizers, graceful deletion, subresources) and watches. Controllers use it in process and
//! meet the same rules as a client over HTTP. It knows nothing of HTTP, users or authorization.

mod delete;
mod garbage;
mod history;
mod hook;
mod kinds;
mod list;
mod metadata;
mod options;
mod patch;
mod pods;
mod scale;
#[cfg(test)]
mod tests;
mod watch;
mod write;

pub use delete::Deleted;
pub use garbage::GarbageCollector;
pub use hook::{Admission, AdmissionRequest};
pub use list::List;
pub use options::{DeleteOptions, ListOptions, Patch, Propagation, WatchOptions, WatchStart, WriteOptions};
pub use watch::{Watch, WatchEvent};

use crate::{
    error::{ApiError, Reason},
    object::Object,
    resource::{Resource, ResourceDef, builtin},
    sync,
};
use history::{Change, History, Record};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, RwLock, RwLockReadGuard},
};

/// Namespace (empty for cluster-scoped objects) and name.
type Key = (String, String);

/// A handle on the state of one cluster; clones share it.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
    manager: Arc<str>,
}

struct Shared {
    state: RwLock<State>,
    /// Held from the first read of a write to its commit, so that admission sees what it decides on.
    writer: Mutex<()>,
    hooks: Vec<Arc<dyn Admission>>,
    garbage: garbage::Queue,
}

struct State {
    version: u64,
    kinds: BTreeMap<Resource, Kind>,
    history: usize,
}

/// A resource with its objects.
struct Kind {
    def: Arc<ResourceDef>,
    objects: BTreeMap<Key, Object>,
    history: Arc<History>,
}

/// How a [`Store`] is set up.
pub struct StoreBuilder {
    hooks: Vec<Arc<dyn Admission>>,
    history: usize,
}

impl StoreBuilder {
    /// Adds an admission hook; hooks run in the order of addition.
    pub fn admission(mut self, hook: impl Admission) -> Self {
        self.hooks.push(Arc::new(hook));
        self
    }

    /// How many events of a resource are kept for watches to start from; older ones are 410. Default 512.
    pub fn history(mut self, events: usize) -> Self {
        self.history = events.max(1);
        self
    }

    /// The store, with namespaces `default`, `kube-system`, `kube-public` and `kube-node-lease`.
    pub fn build(self) -> Store {
        let mut state = State {
            version: 1,
            kinds: BTreeMap::new(),
            history: self.history,
        };
        for def in builtin::definitions() {
            state.serve(def);
        }
        let shared = Shared {
            state: RwLock::new(state),
            writer: Mutex::new(()),
            hooks: self.hooks,
            garbage: Default::default(),
        };
        let store = Store {
            shared: Arc::new(shared),
            manager: Arc::from("kube-apiserver"),
        };
        store.create_initial_objects();
        store
    }
}

impl Store {
    /// A store to be set up.
    pub fn builder() -> StoreBuilder {
        StoreBuilder {
            hooks: Vec::new(),
            history: 512,
        }
    }

    /// A store without hooks.
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// A handle whose writes are recorded (in `managedFields`) under this name, as a client's would under its user
    /// agent.
    pub fn writing_as(&self, manager: &str) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            manager: Arc::from(manager),
        }
    }

    /// What is known about a resource; 404 when it is not served.
    pub fn definition(&self, resource: &Resource) -> Result<Arc<ResourceDef>, ApiError> {
        self.read().kind(resource).map(|kind| Arc::clone(&kind.def))
    }

    /// Every served resource.
    pub fn definitions(&self) -> Vec<Arc<ResourceDef>> {
        self.read().kinds.values().map(|kind| Arc::clone(&kind.def)).collect()
    }

    /// The resource version of the newest change.
    pub fn version(&self) -> u64 {
        self.read().version
    }

    /// One object. `namespace` is ignored for cluster-scoped resources.
    pub fn get(&self, resource: &Resource, namespace: Option<&str>, name: &str) -> Result<Object, ApiError> {
        let state = self.read();
        let kind = state.kind(resource)?;
        let key = kind.key(namespace, name);
        kind.objects
            .get(&key)
            .cloned()
            .ok_or_else(|| ApiError::not_found(&kind.def, name))
    }

    /// One object, or none when it does not exist (or the resource is not served).
    pub fn find(&self, resource: &Resource, namespace: Option<&str>, name: &str) -> Option<Object> {
        self.get(resource, namespace, name).ok()
    }

    /// Reads an object, changes it and updates it, as one step: no other write comes between. When nothing is
    /// different afterwards nothing is stored.
    pub fn modify(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        name: &str,
        change: impl FnOnce(&mut Value),
    ) -> Result<Object, ApiError> {
        self.modify_with(resource, namespace, name, &WriteOptions::default(), change)
    }

    /// Like [`Store::modify`], for the status subresource.
    pub fn modify_status(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        name: &str,
        change: impl FnOnce(&mut Value),
    ) -> Result<Object, ApiError> {
        self.modify_with(resource, namespace, name, &WriteOptions::status(), change)
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        sync::read(&self.shared.state)
    }

    fn write_lock(&self) -> MutexGuard<'_, ()> {
        sync::lock(&self.shared.writer)
    }

    /// Stores one change. The caller holds the write lock and has checked everything.
    fn commit(&self, resource: &Resource, key: &Key, change: Change, mut value: Value) -> Result<Object, ApiError> {
        let (object, history, before) = {
            let mut state = sync::write(&self.shared.state);
            state.version += 1;
            let version = state.version;
            value["metadata"]["resourceVersion"] = Value::String(version.to_string());
            let object = Object::new(value);
            let kind = state.kinds.get_mut(resource).ok_or_else(ApiError::no_such_path)?;
            let before = match change {
                Change::Deleted => kind.objects.remove(key),
                Change::Added | Change::Modified => kind.objects.insert(key.clone(), object.clone()),
            };
            kind.history.push(Record {
                version,
                change,
                object: object.clone(),
                before: before.clone(),
            });
            state.follow_definitions(resource, change, &object);
            (
                object,
                state.kinds.get(resource).map(|kind| Arc::clone(&kind.history)),
                before,
            )
        };
        if let Some(history) = history {
            history.announce(object.resource_version());
        }
        self.shared.garbage.consider(resource, change, &object, before.as_ref());
        Ok(object)
    }
}

impl Default for Store {
    fn default() -> Self {
        Self::new()
    }
}

impl State {
    fn kind(&self, resource: &Resource) -> Result<&Kind, ApiError> {
        self.kinds.get(resource).ok_or_else(|| {
            ApiError::new(Reason::NotFound, "the server could not find the requested resource").about(
                resource.group(),
                resource.plural(),
                "",
            )
        })
    }
}

impl Kind {
    fn key(&self, namespace: Option<&str>, name: &str) -> Key {
        let namespace = if self.def.is_namespaced() {
            namespace.unwrap_or_default()
        } else {
            ""
        };
        (namespace.to_owned(), name.to_owned())
    }
}
