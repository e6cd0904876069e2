//! What clients asked for, counted: enough to compare the rights that a client uses with the rights that it demands.

use crate::sync;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
};

/// One kind of request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AuditEntry {
    /// User name.
    pub user: String,
    /// Verb, such as `list`.
    pub verb: String,
    /// API group; empty for core and for paths other than resources.
    pub group: String,
    /// Plural resource name, or the path of a request that is for no resource (begins with `/`).
    pub resource: String,
    /// Subresource; empty for none.
    pub subresource: String,
    /// Namespace; empty for cluster-wide requests.
    pub namespace: String,
    /// Whether authorization let it through.
    pub allowed: bool,
}

/// The requests of one server, in memory; clones share them. Requests of one kind are one entry with a count, so that a
/// long-lived cluster does not grow without bound.
#[derive(Clone, Default)]
pub struct Audit(Arc<Mutex<BTreeMap<AuditEntry, u64>>>);

impl Audit {
    /// What was asked since the last [`Audit::clear`], with how often.
    pub fn entries(&self) -> BTreeMap<AuditEntry, u64> {
        self.lock().clone()
    }

    /// Forgets everything.
    pub fn clear(&self) {
        self.lock().clear();
    }

    pub(crate) fn record(&self, entry: AuditEntry) {
        *self.lock().entry(entry).or_default() += 1;
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<AuditEntry, u64>> {
        sync::lock(&self.0)
    }
}
