//! The options of reads and writes, as typed values.

use crate::{
    resource::Subresource,
    selector::{FieldSelector, LabelSelector},
};
use serde_json::Value;

/// How to write.
#[derive(Clone, Debug, Default)]
pub struct WriteOptions {
    /// The field manager; none for the name of the [`super::Store`] handle.
    pub manager: Option<String>,
    /// Check everything, store nothing.
    pub dry_run: bool,
    /// Write to this subresource instead of the object.
    pub subresource: Option<Subresource>,
    /// Who asks, for admission hooks.
    pub user: Option<String>,
}

impl WriteOptions {
    /// Writes to the status subresource.
    pub fn status() -> Self {
        Self {
            subresource: Some(Subresource::Status),
            ..Self::default()
        }
    }
}

/// What happens to the objects that an object owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// The object goes at once, what it owns is collected afterwards.
    Background,
    /// The object goes when everything that it owns (and that blocks it) has gone.
    Foreground,
    /// What it owns stays, without the owner.
    Orphan,
}

/// How to delete.
#[derive(Clone, Debug, Default)]
pub struct DeleteOptions {
    /// Grace period; none for the object's own (`terminationGracePeriodSeconds` of pods), 0 to remove it now.
    pub grace_period_seconds: Option<i64>,
    /// Cascading; none for background.
    pub propagation: Option<Propagation>,
    /// Only if the object still has this uid.
    pub uid: Option<String>,
    /// Only if the object still has this resource version.
    pub resource_version: Option<String>,
    /// Check everything, delete nothing.
    pub dry_run: bool,
    /// Who asks, for admission hooks.
    pub user: Option<String>,
}

impl DeleteOptions {
    /// Removes the object now, whatever its grace period. This is how a kubelet ends a pod's deletion.
    pub fn now() -> Self {
        Self {
            grace_period_seconds: Some(0),
            ..Self::default()
        }
    }

    /// Sets the cascading.
    pub fn propagation(mut self, propagation: Propagation) -> Self {
        self.propagation = Some(propagation);
        self
    }

    /// Deletes only this very object, not a later one of the same name.
    pub fn only_uid(mut self, uid: &str) -> Self {
        self.uid = Some(uid.to_owned());
        self
    }
}

/// Which objects to list.
#[derive(Clone, Debug, Default)]
pub struct ListOptions {
    /// By labels.
    pub labels: LabelSelector,
    /// By fields.
    pub fields: FieldSelector,
    /// At most so many; the rest with [`ListOptions::continue_token`].
    pub limit: Option<usize>,
    /// The token of the page before.
    pub continue_token: Option<String>,
    /// The state at exactly this version, instead of the newest.
    pub exactly_at: Option<u64>,
}

impl ListOptions {
    /// Everything with these labels.
    pub fn labels(labels: LabelSelector) -> Self {
        Self {
            labels,
            ..Self::default()
        }
    }

    /// Everything with these fields.
    pub fn fields(fields: FieldSelector) -> Self {
        Self {
            fields,
            ..Self::default()
        }
    }
}

/// Where a watch begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WatchStart {
    /// `ADDED` for every present object, then changes.
    #[default]
    Present,
    /// Like [`WatchStart::Present`], with a bookmark between (annotated `k8s.io/initial-events-end`).
    PresentThenBookmark,
    /// Changes after this resource version, which a list or an earlier event gave.
    After(u64),
}

/// What to watch.
#[derive(Clone, Debug, Default)]
pub struct WatchOptions {
    /// By labels. An object that ceases to match is `DELETED`, one that begins to match is `ADDED`.
    pub labels: LabelSelector,
    /// By fields, likewise.
    pub fields: FieldSelector,
    /// Where to begin.
    pub start: WatchStart,
    /// Send bookmarks now and then while nothing matches.
    pub bookmarks: bool,
}

impl WatchOptions {
    /// Changes after a version.
    pub fn after(version: u64) -> Self {
        Self {
            start: WatchStart::After(version),
            ..Self::default()
        }
    }
}

/// A change to an object, in one of the four languages of the API.
#[derive(Clone, Debug)]
pub enum Patch {
    /// RFC 6902.
    Json(Value),
    /// RFC 7386.
    Merge(Value),
    /// Kubernetes' own, for built-in types: lists are merged by key.
    Strategic(Value),
    /// Server-side apply: the fields of this object are what the manager wants.
    Apply {
        /// The applied configuration.
        object: Value,
        /// Take over fields of other managers instead of 409.
        force: bool,
    },
}
