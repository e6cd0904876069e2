//! Following a resource of a cluster's store for as long as somebody wants: a watch that ends (its reader was too slow,
//! its resource is not served yet) begins again. Controllers, informers and kubelets follow the store with this one
//! rule.

use futures::stream::{self, BoxStream, StreamExt};
use meshproof_apiserver::{Resource, Store, Watch, WatchEvent, WatchOptions};
use std::time::Duration;

/// How long a follower waits before it watches again.
const RETRY: Duration = Duration::from_millis(50);

/// What a follower learns.
#[derive(Debug)]
pub(crate) enum Followed {
    /// Something happened.
    Event(WatchEvent),
    /// A new watch has begun, and events between the watches may be missing: read everything again.
    Restarted,
}

/// How each watch begins.
type Options = Box<dyn Fn(&Store) -> WatchOptions + Send + Sync>;

/// Follows a resource from now on; the stream never ends. Errors of a watch are not among the events.
pub(crate) fn follow(
    store: &Store,
    resource: &Resource,
    options: impl Fn(&Store) -> WatchOptions + Send + Sync + 'static,
) -> BoxStream<'static, Followed> {
    let follower = Follower {
        store: store.clone(),
        resource: resource.clone(),
        options: Box::new(options),
    };
    let first = follower.watch();
    stream::unfold((follower, first), |(follower, watch)| async {
        if let Some(mut watch) = watch {
            match watch.next().await {
                None | Some(WatchEvent::Error(_)) => {}
                Some(event) => return Some((Followed::Event(event), (follower, Some(watch)))),
            }
        }
        loop {
            tokio::time::sleep(RETRY).await;
            if let Some(watch) = follower.watch() {
                return Some((Followed::Restarted, (follower, Some(watch))));
            }
        }
    })
    .boxed()
}

struct Follower {
    store: Store,
    resource: Resource,
    options: Options,
}

impl Follower {
    fn watch(&self) -> Option<Watch> {
        self.store.watch(&self.resource, None, (self.options)(&self.store)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use meshproof_apiserver::resource::names::{CONFIG_MAPS, CUSTOM_RESOURCE_DEFINITIONS};
    use serde_json::json;

    fn config_map(name: &str) -> serde_json::Value {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": "default", "name": name}})
    }

    #[tokio::test]
    async fn a_watch_that_fell_behind_begins_again() {
        let store = Store::builder().history(4).build();
        let mut changes = follow(&store, &CONFIG_MAPS, |store| WatchOptions::after(store.version()));
        // More than the history keeps, while nobody reads.
        for n in 0..20 {
            store.create(&CONFIG_MAPS, config_map(&format!("lost-{n}"))).unwrap();
        }
        while !matches!(changes.next().await, Some(Followed::Restarted)) {}
        store.create(&CONFIG_MAPS, config_map("seen")).unwrap();
        let Some(Followed::Event(WatchEvent::Added(object))) = changes.next().await else {
            panic!("the new watch must see what comes after its begin");
        };
        assert_eq!(object.name(), "seen");
    }

    #[tokio::test]
    async fn a_resource_that_is_not_served_yet_is_waited_for() {
        let store = Store::new();
        let widgets = Resource::of("example.org", "widgets");
        let mut changes = follow(&store, &widgets, |_| WatchOptions::default());
        assert!(changes.next().now_or_never().is_none());
        let definition = json!({
            "metadata": {"name": "widgets.example.org"},
            "spec": {
                "group": "example.org", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
                "versions": [{
                    "name": "v1", "served": true, "storage": true,
                    "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
                }],
            },
        });
        store.create(&CUSTOM_RESOURCE_DEFINITIONS, definition).unwrap();
        assert!(matches!(changes.next().await, Some(Followed::Restarted)));
        let widget = json!({
            "apiVersion": "example.org/v1", "kind": "Widget", "metadata": {"namespace": "default", "name": "a"},
        });
        store.create(&widgets, widget).unwrap();
        assert!(matches!(
            changes.next().await,
            Some(Followed::Event(WatchEvent::Added(_)))
        ));
    }
}
