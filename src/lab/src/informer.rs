//! A local copy of some of a cluster's resources that follows the API by watching, as a controller's informer does. It
//! knows nothing of what the objects mean.

use crate::{
    follow::{Followed, follow},
    sync::{read, write},
};
use futures::StreamExt;
use meshproof_apiserver::{Object, Resource, Store, WatchEvent, WatchOptions, WatchStart};
use std::{
    collections::BTreeMap,
    sync::{Arc, RwLock},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

type Key = (String, String);

/// Follows resources until its token is cancelled or it is dropped. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Informer {
    shared: Arc<Shared>,
    _stop: Arc<tokio_util::sync::DropGuard>,
}

struct Shared {
    kinds: BTreeMap<Resource, RwLock<BTreeMap<Key, Object>>>,
    /// How many resources have been listed completely, and how often something changed.
    progress: watch::Sender<SyncState>,
}

#[derive(Clone, Copy, Default)]
struct SyncState {
    synced: usize,
    changes: u64,
}

impl Informer {
    /// Begins to follow.
    pub(crate) fn start(store: &Store, resources: &[Resource], stop: &CancellationToken) -> Self {
        let shared = Arc::new(Shared {
            kinds: resources
                .iter()
                .map(|resource| (resource.clone(), RwLock::default()))
                .collect(),
            progress: watch::Sender::default(),
        });
        let stop = stop.child_token();
        for resource in resources {
            let (store, resource, shared, stop) = (store.clone(), resource.clone(), Arc::clone(&shared), stop.clone());
            tokio::spawn(async move {
                stop.run_until_cancelled(shared.follow(&store, &resource)).await;
            });
        }
        Self {
            shared,
            _stop: Arc::new(stop.drop_guard()),
        }
    }

    /// Waits until every resource has been listed once.
    pub(crate) async fn synced(&self) {
        let mut progress = self.shared.progress.subscribe();
        let wanted = self.shared.kinds.len();
        let _ = progress.wait_for(|progress| progress.synced >= wanted).await;
    }

    /// The objects of a resource, in the order of namespace and name; none if it is not followed.
    pub(crate) fn all(&self, resource: &Resource) -> Vec<Object> {
        let Some(objects) = self.shared.kinds.get(resource) else {
            return Vec::new();
        };
        read(objects).values().cloned().collect()
    }

    /// Notifies of changes: wait for one, then read everything again.
    pub(crate) fn changes(&self) -> Changes {
        Changes(self.shared.progress.subscribe())
    }
}

/// Notifies that something changed, without saying what.
pub(crate) struct Changes(watch::Receiver<SyncState>);

impl Changes {
    /// Waits for the next change, several at once count as one. False when the informer has ended.
    pub(crate) async fn next(&mut self) -> bool {
        self.0.changed().await.is_ok()
    }
}

impl Shared {
    async fn follow(&self, store: &Store, resource: &Resource) {
        let mut listed_before = false;
        // Until the present objects are complete the old copy stays, so that readers never see a part.
        let mut listing = Some(BTreeMap::new());
        let mut changes = follow(store, resource, |_| WatchOptions {
            start: WatchStart::PresentThenBookmark,
            ..WatchOptions::default()
        });
        while let Some(change) = changes.next().await {
            let Followed::Event(event) = change else {
                listing = Some(BTreeMap::new());
                continue;
            };
            let complete = self.apply(resource, event, &mut listing);
            self.progress.send_modify(|progress| {
                progress.changes += 1;
                progress.synced += usize::from(complete && !listed_before);
            });
            listed_before |= complete;
        }
    }

    /// Takes an event in; true when it completes the first list of a watch.
    fn apply(&self, resource: &Resource, event: WatchEvent, listing: &mut Option<BTreeMap<Key, Object>>) -> bool {
        let Some(objects) = self.kinds.get(resource) else {
            return false;
        };
        let key = |object: &Object| {
            (
                object.namespace().unwrap_or_default().to_owned(),
                object.name().to_owned(),
            )
        };
        let mut objects = write(objects);
        if let WatchEvent::Bookmark {
            initial_events_end: true,
            ..
        } = event
        {
            if let Some(listing) = listing.take() {
                *objects = listing;
            }
            return true;
        }
        let target = listing.as_mut().unwrap_or(&mut objects);
        match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                target.insert(key(&object), object);
            }
            WatchEvent::Deleted(object) => {
                target.remove(&key(&object));
            }
            WatchEvent::Bookmark { .. } | WatchEvent::Error(_) => {}
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use meshproof_apiserver::{
        DeleteOptions,
        resource::names::{CONFIG_MAPS, NAMESPACES},
    };
    use serde_json::json;
    use std::time::Duration;

    #[tokio::test]
    async fn it_has_what_was_there_and_follows_changes() {
        let store = Store::new();
        let metadata = |name: &str| json!({"namespace": "default", "name": name});
        let object = |name: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata(name)});
        store.create(&CONFIG_MAPS, object("first")).unwrap();
        let informer = Informer::start(&store, &[CONFIG_MAPS, NAMESPACES], &CancellationToken::new());
        informer.synced().await;
        let names = || {
            informer
                .all(&CONFIG_MAPS)
                .iter()
                .map(|o| o.name().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(names(), ["first"]);
        assert!(!informer.all(&NAMESPACES).is_empty());

        let mut changes = informer.changes();
        store.create(&CONFIG_MAPS, object("second")).unwrap();
        store
            .delete(&CONFIG_MAPS, Some("default"), "first", &DeleteOptions::now())
            .unwrap();
        while names() != ["second"] {
            let next = tokio::time::timeout(Duration::from_secs(5), changes.next());
            assert!(next.await.expect("a change within five seconds"), "still {:?}", names());
        }
    }
}
