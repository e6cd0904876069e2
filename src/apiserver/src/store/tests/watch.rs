//! Watches: selectors, resuming, lagging, and agreement with lists.

use super::{NS, map};
use crate::{
    error::Reason,
    resource::names::{CONFIG_MAPS, SERVICES},
    selector::LabelSelector,
    store::{DeleteOptions, ListOptions, Patch, Store, Watch, WatchEvent, WatchOptions, WatchStart},
};
use futures::FutureExt;
use proptest::prelude::*;
use serde_json::json;

/// The events that a watch has right now.
fn news(watch: &mut Watch) -> Vec<String> {
    let mut events = Vec::new();
    while let Some(Some(event)) = watch.next().now_or_never() {
        let name = event
            .object()
            .map(|object| format!(" {}", object.name()))
            .unwrap_or_default();
        events.push(format!("{}{name}", event.kind()));
    }
    events
}

#[test]
fn watches_follow_selectors_and_resume() {
    let store = Store::new();
    let watch = |start| {
        let labels = LabelSelector::labels([("on", "yes")]);
        let options = WatchOptions {
            labels,
            start,
            ..WatchOptions::default()
        };
        store.watch(&CONFIG_MAPS, NS, options).expect("watching")
    };
    let before = store.version();
    let mut live = watch(WatchStart::PresentThenBookmark);
    assert_eq!(news(&mut live), ["BOOKMARK"]);
    let label = |value: &str| Patch::Merge(json!({"metadata": {"labels": {"on": value}}}));
    store.create(&CONFIG_MAPS, map("a")).expect("created");
    assert!(news(&mut live).is_empty(), "it does not match");
    store.patch(&CONFIG_MAPS, NS, "a", label("yes")).expect("patched");
    store
        .modify(&CONFIG_MAPS, NS, "a", |map| map["data"]["a"] = json!("2"))
        .expect("modified");
    store.patch(&CONFIG_MAPS, NS, "a", label("no")).expect("patched");
    store
        .delete(&CONFIG_MAPS, NS, "a", &DeleteOptions::default())
        .expect("deleted");
    assert_eq!(news(&mut live), ["ADDED a", "MODIFIED a", "DELETED a"]);
    assert_eq!(
        news(&mut watch(WatchStart::After(before))),
        ["ADDED a", "MODIFIED a", "DELETED a"],
        "a late watch sees the same"
    );
    let future = WatchOptions::after(store.version() + 1);
    assert_eq!(
        store.watch(&CONFIG_MAPS, NS, future).err().map(|error| error.code()),
        Some(504)
    );
}

#[test]
fn a_watch_that_lags_is_told() {
    let store = Store::builder().history(3).build();
    let start = store.version();
    let mut lagging = store
        .watch(&CONFIG_MAPS, NS, WatchOptions::default())
        .expect("watching");
    for number in 0..5 {
        store.create(&CONFIG_MAPS, map(&format!("m{number}"))).expect("created");
    }
    assert_eq!(news(&mut lagging), ["ERROR"], "what it missed is dropped");
    let error = store.watch(&CONFIG_MAPS, NS, WatchOptions::after(start)).err();
    assert_eq!(error.map(|error| error.reason), Some(Reason::Expired));
    let quiet = store.watch(&SERVICES, NS, WatchOptions::after(start));
    assert!(quiet.is_ok(), "nothing happened to services");
    let exact = ListOptions {
        exactly_at: Some(start),
        ..ListOptions::default()
    };
    assert_eq!(
        store.list(&CONFIG_MAPS, NS, &exact).err().map(|error| error.code()),
        Some(410)
    );
}

#[tokio::test]
async fn a_watch_wakes_for_a_change() {
    let store = Store::new();
    let mut watch = store
        .watch(&CONFIG_MAPS, NS, WatchOptions::default())
        .expect("watching");
    let waiting = tokio::spawn(async move { watch.next().await });
    tokio::task::yield_now().await;
    store.create(&CONFIG_MAPS, map("a")).expect("created");
    let event = tokio::time::timeout(std::time::Duration::from_secs(5), waiting)
        .await
        .expect("in time");
    assert!(matches!(event.expect("no panic"), Some(WatchEvent::Added(object)) if object.name() == "a"));
}

#[derive(Clone, Debug)]
enum Step {
    Create(u8),
    Change(u8, u8),
    Delete(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0..4u8).prop_map(Step::Create),
        (0..4u8, 0..3u8).prop_map(|(name, value)| Step::Change(name, value)),
        (0..4u8).prop_map(Step::Delete),
    ];
    proptest::collection::vec(step, 0..30)
}

proptest! {
    /// Whoever lists at some moment and follows the watch from there knows the same as the store.
    #[test]
    fn a_list_and_its_watch_are_the_state(steps in steps(), begin in 0..30usize) {
        let store = Store::new();
        let mut seen = std::collections::BTreeMap::new();
        let mut watch = None;
        for (index, step) in steps.iter().enumerate() {
            if index == begin.min(steps.len() - 1) {
                let list = store.list(&CONFIG_MAPS, NS, &ListOptions::default()).expect("listed");
                seen.extend(list.items.iter().map(|object| (object.name().to_owned(), object.resource_version())));
                watch = Some(store.watch(&CONFIG_MAPS, NS, WatchOptions::after(list.version)).expect("watching"));
            }
            let _ = match step {
                Step::Create(name) => store.create(&CONFIG_MAPS, map(&format!("m{name}"))).map(|_| ()),
                Step::Change(name, value) => store
                    .modify(&CONFIG_MAPS, NS, &format!("m{name}"), |map| map["data"]["a"] = json!(value.to_string()))
                    .map(|_| ()),
                Step::Delete(name) => {
                    store.delete(&CONFIG_MAPS, NS, &format!("m{name}"), &DeleteOptions::default()).map(|_| ())
                }
            };
        }
        if let Some(watch) = &mut watch {
            while let Some(Some(event)) = watch.next().now_or_never() {
                match event {
                    WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                        let before = seen.insert(object.name().to_owned(), object.resource_version());
                        prop_assert!(before.is_none_or(|before| before < object.resource_version()));
                    }
                    WatchEvent::Deleted(object) => prop_assert!(seen.remove(object.name()).is_some()),
                    other => prop_assert!(false, "unexpected {other:?}"),
                }
            }
            let present = store.all(&CONFIG_MAPS, NS);
            let present = present.iter().map(|object| (object.name().to_owned(), object.resource_version())).collect();
            prop_assert_eq!(seen, present);
        }
    }
}
