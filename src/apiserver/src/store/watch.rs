//! A stream of changes to a resource.

use super::{
    Store, WatchOptions, WatchStart,
    history::{Change, History, Record},
};
use crate::{
    error::{ApiError, Cause, CauseKind, Reason},
    object::Object,
    resource::{Resource, ResourceDef},
};
use futures::Stream;
use serde_json::{Value, json};
use std::{collections::VecDeque, pin::Pin, sync::Arc, time::Duration};

/// How often a watch that asked for bookmarks gets one while nothing else is sent. Kubernetes: about once a minute.
const BOOKMARK_INTERVAL: Duration = Duration::from_secs(60);
/// How many records a watch takes at a time.
const BATCH: usize = 64;

/// One event of a watch.
#[derive(Clone, Debug, PartialEq)]
pub enum WatchEvent {
    /// New, or newly matching the selectors.
    Added(Object),
    /// Changed.
    Modified(Object),
    /// Gone, or no longer matching the selectors; the last state.
    Deleted(Object),
    /// Nothing happened up to this version.
    Bookmark {
        /// From where a watch may be resumed.
        version: u64,
        /// True for the bookmark that ends the present objects ([`WatchStart::PresentThenBookmark`]).
        initial_events_end: bool,
    },
    /// The watch cannot go on (410: history dropped); the stream ends after it.
    Error(ApiError),
}

impl WatchEvent {
    /// The `type` of the event as clients see it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Added(_) => "ADDED",
            Self::Modified(_) => "MODIFIED",
            Self::Deleted(_) => "DELETED",
            Self::Bookmark { .. } => "BOOKMARK",
            Self::Error(_) => "ERROR",
        }
    }

    /// The object that it is about, if any.
    pub fn object(&self) -> Option<&Object> {
        match self {
            Self::Added(object) | Self::Modified(object) | Self::Deleted(object) => Some(object),
            Self::Bookmark { .. } | Self::Error(_) => None,
        }
    }

    /// The object of a bookmark as clients see it.
    pub(crate) fn bookmark(def: &ResourceDef, api_version: &str, version: u64, initial_events_end: bool) -> Value {
        let mut metadata = json!({"resourceVersion": version.to_string(), "creationTimestamp": null});
        if initial_events_end {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        json!({"kind": def.kind, "apiVersion": api_version, "metadata": metadata})
    }
}

/// A watch: a [`Stream`] of [`WatchEvent`]s. Ends after an error, or when the resource is no longer served.
pub struct Watch(Pin<Box<dyn Stream<Item = WatchEvent> + Send>>);

impl Watch {
    /// The next event; none at the end.
    pub async fn next(&mut self) -> Option<WatchEvent> {
        futures::StreamExt::next(&mut self.0).await
    }
}

impl Stream for Watch {
    type Item = WatchEvent;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<WatchEvent>> {
        self.0.as_mut().poll_next(context)
    }
}

struct Cursor {
    history: Arc<History>,
    news: tokio::sync::watch::Receiver<u64>,
    options: WatchOptions,
    namespace: Option<String>,
    version: u64,
    pending: VecDeque<WatchEvent>,
    ended: bool,
}

impl Store {
    /// Watches a resource, in one namespace or (none) in all. 404 when it is not served, 410 when the asked start is
    /// too old, 504 when it lies in the future.
    pub fn watch(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        options: WatchOptions,
    ) -> Result<Watch, ApiError> {
        let state = self.read();
        let kind = state.kind(resource)?;
        let namespace = namespace.filter(|_| kind.def.is_namespaced()).map(str::to_owned);
        // Subscribed while the state cannot change: nothing falls between the present objects and the first change.
        let news = kind.history.subscribe();
        let mut cursor = Cursor {
            history: Arc::clone(&kind.history),
            news,
            options,
            namespace,
            version: state.version,
            pending: VecDeque::new(),
            ended: false,
        };
        match cursor.options.start {
            WatchStart::After(version) if version > state.version => return Err(too_large(version, state.version)),
            WatchStart::After(version) => {
                cursor
                    .history
                    .after(version, 0)
                    .map_err(|oldest| ApiError::too_old(version, oldest))?;
                cursor.version = version;
            }
            WatchStart::Present | WatchStart::PresentThenBookmark => {
                let present = kind.objects.values().filter(|object| cursor.wants(object));
                cursor.pending = present.cloned().map(WatchEvent::Added).collect();
                if cursor.options.start == WatchStart::PresentThenBookmark {
                    let end = WatchEvent::Bookmark {
                        version: state.version,
                        initial_events_end: true,
                    };
                    cursor.pending.push_back(end);
                }
            }
        }
        drop(state);
        Ok(Watch(Box::pin(futures::stream::unfold(
            cursor,
            |mut cursor| async move {
                let event = cursor.next().await?;
                Some((event, cursor))
            },
        ))))
    }
}

impl Cursor {
    async fn next(&mut self) -> Option<WatchEvent> {
        loop {
            if let Some(event) = self.pending.pop_front() {
                return Some(event);
            }
            if self.ended {
                return None;
            }
            self.news.mark_unchanged();
            match self.history.after(self.version, BATCH) {
                Err(oldest) => {
                    self.ended = true;
                    return Some(WatchEvent::Error(ApiError::too_old(self.version, oldest)));
                }
                Ok(records) if records.is_empty() => {
                    if self.history.has_ended() {
                        return None;
                    }
                    if let Some(bookmark) = self.wait().await? {
                        return Some(bookmark);
                    }
                }
                Ok(records) => {
                    for record in records {
                        self.version = record.version;
                        self.pending.extend(self.event(record));
                    }
                }
            }
        }
    }

    /// Waits for news, or for the time of a bookmark. None when the resource is gone.
    async fn wait(&mut self) -> Option<Option<WatchEvent>> {
        if !self.options.bookmarks {
            return self.news.changed().await.ok().map(|()| None);
        }
        match tokio::time::timeout(BOOKMARK_INTERVAL, self.news.changed()).await {
            Ok(changed) => changed.ok().map(|()| None),
            Err(_) => Some(Some(WatchEvent::Bookmark {
                version: self.version,
                initial_events_end: false,
            })),
        }
    }

    fn wants(&self, object: &Object) -> bool {
        self.namespace
            .as_deref()
            .is_none_or(|namespace| object.namespace() == Some(namespace))
            && self.options.labels.matches(object)
            && self.options.fields.matches(object)
    }

    fn event(&self, record: Record) -> Option<WatchEvent> {
        let Record {
            change, object, before, ..
        } = record;
        let had = before.as_ref().is_some_and(|before| self.wants(before));
        match change {
            Change::Deleted => had.then_some(WatchEvent::Deleted(object)),
            Change::Added | Change::Modified => match (had, self.wants(&object)) {
                (false, true) => Some(WatchEvent::Added(object)),
                (true, true) => Some(WatchEvent::Modified(object)),
                (true, false) => Some(WatchEvent::Deleted(object)),
                (false, false) => None,
            },
        }
    }
}

/// 504 with the cause by which client-go knows that it must list again.
pub(super) fn too_large(requested: u64, current: u64) -> ApiError {
    let message = format!("Timeout: Too large resource version: {requested}, current: {current}");
    let mut error = ApiError::new(Reason::Timeout, message).about("", "", "");
    if let Some(details) = &mut error.details {
        let message = "Too large resource version".to_owned();
        details.causes.push(Cause {
            kind: CauseKind::ResourceVersionTooLarge,
            field: String::new(),
            message,
        });
        details.retry_after_seconds = 1;
    }
    error
}
