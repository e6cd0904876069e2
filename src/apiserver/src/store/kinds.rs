//! Which resources are served: the built-in ones from the start, custom ones as their definitions come and go.

use super::{
    Kind, State, Store, WriteOptions,
    history::{Change, History, Record},
};
use crate::{
    object::Object,
    resource::{
        Resource, ResourceDef, definition_of,
        names::{CUSTOM_RESOURCE_DEFINITIONS, NAMESPACES},
    },
};
use serde_json::json;
use std::{collections::BTreeMap, sync::Arc};

impl State {
    /// Begins to serve a resource, or changes its definition and keeps its objects.
    pub(super) fn serve(&mut self, def: ResourceDef) {
        let resource = def.resource();
        let def = Arc::new(def);
        if let Some(kind) = self.kinds.get_mut(&resource) {
            kind.def = def;
            return;
        }
        let history = Arc::new(History::new(self.version, self.history));
        self.kinds.insert(
            resource,
            Kind {
                def,
                objects: BTreeMap::new(),
                history,
            },
        );
    }

    /// After a change to a CustomResourceDefinition, serves what it defines.
    pub(super) fn follow_definitions(&mut self, resource: &Resource, change: Change, object: &Object) {
        if *resource != CUSTOM_RESOURCE_DEFINITIONS {
            return;
        }
        let Some(def) = definition_of(object) else { return };
        let defined = def.resource();
        let builtin = self.kinds.get(&defined).is_some_and(|kind| !kind.def.is_custom());
        match change {
            _ if builtin => {}
            Change::Added | Change::Modified => self.serve(def),
            Change::Deleted => {
                if let Some(kind) = self.kinds.remove(&defined) {
                    for object in kind.objects.into_values() {
                        self.version += 1;
                        let (version, before) = (self.version, Some(object.clone()));
                        kind.history.push(Record {
                            version,
                            change: Change::Deleted,
                            object,
                            before,
                        });
                    }
                    kind.history.end();
                }
            }
        }
    }
}

impl Store {
    /// The namespaces that every cluster has.
    pub(super) fn create_initial_objects(&self) {
        for name in ["default", "kube-system", "kube-public", "kube-node-lease"] {
            let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
            if let Err(error) = self.create_with(&NAMESPACES, namespace, &WriteOptions::default()) {
                tracing::warn!(%error, namespace = name, "a hook refused an initial namespace");
            }
        }
    }
}
