//! The key-value state of one cluster, with the key names of Cilium's kvstore. It does not know where keys come from.

use serde_json::Value;
use std::{collections::BTreeMap, sync::Arc};
use tokio::sync::watch;

/// What a key is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyKind {
    /// A node.
    Node,
    /// A security identity.
    Identity,
    /// A pod's address.
    Endpoint,
    /// A global service.
    Service,
}

impl KeyKind {
    /// The beginning of its keys (`pkg/kvstore/store`, `pkg/ipcache`, `pkg/identity` and `pkg/service/store` of
    /// Cilium).
    pub fn prefix(self) -> &'static str {
        match self {
            KeyKind::Node => "cilium/state/nodes/v1/",
            KeyKind::Identity => "cilium/state/identities/v1/id/",
            KeyKind::Endpoint => "cilium/state/ip/v1/default/",
            KeyKind::Service => "cilium/state/services/v1/",
        }
    }

    /// A key of this kind.
    pub fn key(self, rest: &str) -> String {
        format!("{}{rest}", self.prefix())
    }
}

/// Keys and values at one moment. Values are shared, so that a copy is cheap.
pub type Snapshot = BTreeMap<String, Arc<Value>>;

/// How many keys of each kind there are, as the status of a remote cluster shows them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Nodes.
    pub nodes: usize,
    /// Identities.
    pub identities: usize,
    /// Endpoints.
    pub endpoints: usize,
    /// Shared services.
    pub services: usize,
}

/// A state that others can follow. Cheap to clone; every clone is the same state.
#[derive(Clone, Debug, Default)]
pub struct Keyspace(watch::Sender<Snapshot>);

impl Keyspace {
    /// Replaces everything; followers are notified only if something changed.
    pub fn replace(&self, snapshot: Snapshot) {
        self.0.send_if_modified(|current| {
            let changed = *current != snapshot;
            *current = snapshot;
            changed
        });
    }

    /// Sets one key.
    pub fn put(&self, key: String, value: Value) {
        self.0.send_modify(|current| {
            current.insert(key, Arc::new(value));
        });
    }

    /// Removes one key.
    pub fn delete(&self, key: &str) {
        self.0.send_modify(|current| {
            current.remove(key);
        });
    }

    /// The state now.
    pub fn snapshot(&self) -> Snapshot {
        self.0.borrow().clone()
    }

    /// Sees every change.
    pub fn subscribe(&self) -> watch::Receiver<Snapshot> {
        self.0.subscribe()
    }

    /// How many keys of each kind there are.
    pub fn counts(&self) -> Counts {
        let current = self.0.borrow();
        let count = |kind: KeyKind| current.keys().filter(|key| key.starts_with(kind.prefix())).count();
        Counts {
            nodes: count(KeyKind::Node),
            identities: count(KeyKind::Identity),
            endpoints: count(KeyKind::Endpoint),
            services: count(KeyKind::Service),
        }
    }
}

/// The values of one kind, by the rest of their keys.
pub fn of_kind(snapshot: &Snapshot, kind: KeyKind) -> impl Iterator<Item = (&str, &Value)> {
    snapshot
        .iter()
        .filter_map(move |(key, value)| Some((key.strip_prefix(kind.prefix())?, &**value)))
}
