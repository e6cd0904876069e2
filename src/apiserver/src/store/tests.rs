//! The rules of the API, as a controller in process meets them.

use futures::FutureExt;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{
    DeleteOptions, Deleted, ListOptions, Patch, Propagation, Store, Watch, WatchEvent, WatchOptions, WatchStart,
    WriteOptions,
};
use crate::admission::{Admission, AdmissionRequest, Operation};
use crate::error::{ApiError, Reason};
use crate::resource::names::{
    CONFIG_MAPS, DEPLOYMENTS, LEASES, NAMESPACES, POD_DISRUPTION_BUDGETS, PODS, REPLICA_SETS, SERVICES,
};
use crate::selector::LabelSelector;

const NS: Option<&str> = Some("default");

fn map(name: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": "default"}, "data": {"a": "1"}})
}

fn pod(name: &str, node: &str) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "default", "labels": {"app": name}},
        "spec": {"nodeName": node, "containers": [{"name": "c", "image": "i:1"}]},
    })
}

fn owned(name: &str, owner: &crate::Object, kind: &str) -> Value {
    let mut map = map(name);
    map["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "v1", "kind": kind, "name": owner.name(), "uid": owner.uid(), "controller": true,
        "blockOwnerDeletion": true,
    }]);
    map
}

/// What a watch has to tell right now.
fn told(watch: &mut Watch) -> Vec<String> {
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
fn versions_grow_and_stale_writes_conflict() {
    let store = Store::new();
    let first = store.create(&CONFIG_MAPS, map("a")).expect("created");
    assert!(first["metadata"]["uid"].is_string() && first["metadata"]["creationTimestamp"].is_string());
    let mut changed = first.to_value();
    changed["data"]["a"] = json!("2");
    let second = store.update(&CONFIG_MAPS, changed.clone()).expect("updated");
    assert!(second.resource_version() > first.resource_version());
    let error = store.update(&CONFIG_MAPS, changed).expect_err("the version is stale");
    assert_eq!(error.reason, Reason::Conflict);
    let expected = "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your changes to the latest version and try again";
    assert_eq!(error.message, expected);
    let same = store.update(&CONFIG_MAPS, second.to_value()).expect("nothing to do");
    assert_eq!(
        same.resource_version(),
        second.resource_version(),
        "an update without a change is none"
    );
    assert!(
        store
            .create(&CONFIG_MAPS, map("a"))
            .expect_err("it exists")
            .is_already_exists()
    );
    let mut elsewhere = map("b");
    elsewhere["metadata"]["namespace"] = json!("absent");
    let error = store.create(&CONFIG_MAPS, elsewhere).expect_err("no namespace");
    assert_eq!(error.message, "namespaces \"absent\" not found");
    let lease = json!({"metadata": {"name": "l", "namespace": "default"}, "spec": {}});
    store.create(&LEASES, lease.clone()).expect("created");
    assert_eq!(
        store.update(&LEASES, lease).expect_err("leases need a version").reason,
        Reason::Invalid
    );
}

#[test]
fn names_are_generated() {
    let store = Store::new();
    let mut unnamed = map("");
    unnamed["metadata"]["generateName"] = json!("web-");
    let names: Vec<String> = (0..3)
        .map(|_| {
            store
                .create(&CONFIG_MAPS, unnamed.clone())
                .expect("created")
                .name()
                .to_owned()
        })
        .collect();
    assert!(
        names.iter().all(|name| name.starts_with("web-") && name.len() == 9),
        "{names:?}"
    );
}

#[test]
fn status_and_spec_are_written_apart() {
    let store = Store::new();
    let created = store.create(&PODS, pod("p", "")).expect("created");
    assert_eq!(
        (created["status"]["phase"].as_str(), created.generation()),
        (Some("Pending"), 1)
    );
    let mut both = created.to_value();
    both["status"]["phase"] = json!("Running");
    both["spec"]["containers"][0]["image"] = json!("i:2");
    let updated = store.update(&PODS, both.clone()).expect("updated");
    assert_eq!(
        (updated["status"]["phase"].as_str(), updated.generation()),
        (Some("Pending"), 2)
    );
    both["metadata"]["resourceVersion"] = json!(updated.resource_version().to_string());
    both["spec"]["containers"][0]["image"] = json!("i:3");
    let updated = store.update_status(&PODS, both).expect("updated");
    assert_eq!(updated["status"]["phase"], "Running");
    assert_eq!(
        (updated["spec"]["containers"][0]["image"].as_str(), updated.generation()),
        (Some("i:2"), 2)
    );
}

#[test]
fn pods_go_gracefully() {
    let store = Store::new();
    store.create(&PODS, pod("on-a-node", "n")).expect("created");
    store.create(&PODS, pod("nowhere", "")).expect("created");
    let delete = |name: &str, options: DeleteOptions| store.delete(&PODS, NS, name, &options).expect("deleted");
    assert!(
        matches!(delete("nowhere", DeleteOptions::default()), Deleted::Now(_)),
        "no kubelet would end it"
    );
    let Deleted::Later(waiting) = delete("on-a-node", DeleteOptions::default()) else {
        panic!("it has a kubelet")
    };
    assert_eq!(waiting["metadata"]["deletionGracePeriodSeconds"], 30);
    let five = DeleteOptions {
        grace_period_seconds: Some(5),
        ..DeleteOptions::default()
    };
    assert_eq!(
        delete("on-a-node", five).object()["metadata"]["deletionGracePeriodSeconds"],
        5,
        "it can be shortened"
    );
    let ten = DeleteOptions {
        grace_period_seconds: Some(10),
        ..DeleteOptions::default()
    };
    assert_eq!(
        delete("on-a-node", ten).object()["metadata"]["deletionGracePeriodSeconds"],
        5,
        "but not prolonged"
    );
    let other = DeleteOptions::now().only_uid("another");
    assert!(
        store
            .delete(&PODS, NS, "on-a-node", &other)
            .expect_err("another pod")
            .is_conflict()
    );
    assert!(matches!(delete("on-a-node", DeleteOptions::now()), Deleted::Now(_)));
    assert!(store.find(&PODS, NS, "on-a-node").is_none());
}

#[test]
fn finalizers_hold_an_object() {
    let store = Store::new();
    let mut held = map("held");
    held["metadata"]["finalizers"] = json!(["example.io/hold"]);
    store.create(&CONFIG_MAPS, held).expect("created");
    let deleted = store
        .delete(&CONFIG_MAPS, NS, "held", &DeleteOptions::default())
        .expect("deleted");
    assert!(matches!(deleted, Deleted::Later(_)));
    let added = store.modify(&CONFIG_MAPS, NS, "held", |map| {
        map["metadata"]["finalizers"] = json!(["example.io/hold", "example.io/more"]);
    });
    assert_eq!(added.expect_err("no new finalizers").reason, Reason::Invalid);
    store
        .modify(&CONFIG_MAPS, NS, "held", |map| {
            map["metadata"]["finalizers"] = json!([])
        })
        .expect("released");
    assert!(store.find(&CONFIG_MAPS, NS, "held").is_none());
}

#[test]
fn what_is_owned_is_collected() {
    let store = Store::new();
    let collector = store.garbage_collector();
    let owner = store.create(&CONFIG_MAPS, map("owner")).expect("created");
    for name in ["one", "two"] {
        store
            .create(&CONFIG_MAPS, owned(name, &owner, "ConfigMap"))
            .expect("created");
    }
    collector.collect();
    assert!(store.find(&CONFIG_MAPS, NS, "one").is_some(), "the owner is there");
    store
        .delete(&CONFIG_MAPS, NS, "owner", &DeleteOptions::default())
        .expect("deleted");
    collector.collect();
    assert!(store.find(&CONFIG_MAPS, NS, "one").is_none() && store.find(&CONFIG_MAPS, NS, "two").is_none());
    store
        .create(&CONFIG_MAPS, owned("late", &owner, "ConfigMap"))
        .expect("created");
    collector.collect();
    assert!(
        store.find(&CONFIG_MAPS, NS, "late").is_none(),
        "its owner was gone before"
    );
}

#[test]
fn foreground_waits_and_orphan_lets_go() {
    let store = Store::new();
    let collector = store.garbage_collector();
    let owner = store.create(&CONFIG_MAPS, map("owner")).expect("created");
    let mut held = owned("held", &owner, "ConfigMap");
    held["metadata"]["finalizers"] = json!(["example.io/hold"]);
    store.create(&CONFIG_MAPS, held).expect("created");
    let foreground = DeleteOptions::default().propagation(Propagation::Foreground);
    store.delete(&CONFIG_MAPS, NS, "owner", &foreground).expect("deleted");
    collector.collect();
    assert!(store.get(&CONFIG_MAPS, NS, "owner").expect("it waits").is_terminating());
    assert!(
        store
            .get(&CONFIG_MAPS, NS, "held")
            .expect("it is held")
            .is_terminating()
    );
    let release = |map: &mut Value| {
        map["metadata"]["finalizers"]
            .as_array_mut()
            .into_iter()
            .for_each(|list| list.retain(|f| f != "example.io/hold"));
    };
    store.modify(&CONFIG_MAPS, NS, "held", release).expect("released");
    collector.collect();
    assert!(store.find(&CONFIG_MAPS, NS, "held").is_none() && store.find(&CONFIG_MAPS, NS, "owner").is_none());

    let owner = store.create(&CONFIG_MAPS, map("owner")).expect("created");
    store
        .create(&CONFIG_MAPS, owned("orphan", &owner, "ConfigMap"))
        .expect("created");
    let orphan = DeleteOptions::default().propagation(Propagation::Orphan);
    store.delete(&CONFIG_MAPS, NS, "owner", &orphan).expect("deleted");
    collector.collect();
    assert!(store.find(&CONFIG_MAPS, NS, "owner").is_none());
    let orphan = store.get(&CONFIG_MAPS, NS, "orphan").expect("it stays");
    assert!(orphan["metadata"]["ownerReferences"].is_null(), "without an owner");
}

#[test]
fn a_terminating_namespace_is_emptied() {
    let store = Store::new();
    let collector = store.garbage_collector();
    store
        .create(&NAMESPACES, json!({"metadata": {"name": "n"}}))
        .expect("created");
    let mut inside = pod("p", "node");
    inside["metadata"]["namespace"] = json!("n");
    store.create(&PODS, inside).expect("created");
    let Deleted::Later(namespace) = store
        .delete(&NAMESPACES, None, "n", &DeleteOptions::default())
        .expect("deleted")
    else {
        panic!("it has content");
    };
    assert_eq!(namespace["status"]["phase"], "Terminating");
    collector.collect();
    assert!(
        store
            .get(&PODS, Some("n"), "p")
            .expect("its kubelet has to end it")
            .is_terminating()
    );
    store
        .delete(&PODS, Some("n"), "p", &DeleteOptions::now())
        .expect("ended");
    collector.collect();
    assert!(store.find(&NAMESPACES, None, "n").is_none());
    let error = store
        .delete(&NAMESPACES, None, "default", &DeleteOptions::default())
        .expect_err("it is immortal");
    assert_eq!(error.reason, Reason::Forbidden);
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
    assert_eq!(told(&mut live), ["BOOKMARK"]);
    let label = |value: &str| Patch::Merge(json!({"metadata": {"labels": {"on": value}}}));
    store.create(&CONFIG_MAPS, map("a")).expect("created");
    assert!(told(&mut live).is_empty(), "it does not match");
    store.patch(&CONFIG_MAPS, NS, "a", label("yes")).expect("patched");
    store
        .modify(&CONFIG_MAPS, NS, "a", |map| map["data"]["a"] = json!("2"))
        .expect("modified");
    store.patch(&CONFIG_MAPS, NS, "a", label("no")).expect("patched");
    store
        .delete(&CONFIG_MAPS, NS, "a", &DeleteOptions::default())
        .expect("deleted");
    assert_eq!(told(&mut live), ["ADDED a", "MODIFIED a", "DELETED a"]);
    assert_eq!(
        told(&mut watch(WatchStart::After(before))),
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
    assert_eq!(told(&mut lagging), ["ERROR"], "what it missed is dropped");
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

struct Addresses;

impl Admission for Addresses {
    fn admit(&self, request: &mut AdmissionRequest<'_>) -> Result<(), ApiError> {
        if request.resource.plural == "services" && request.operation == Operation::Create {
            let taken = request.store.all(&SERVICES, None).len();
            request.object["spec"]["clusterIP"] = json!(format!("10.96.0.{}", taken + 1));
        }
        if request.resource.plural == "configmaps" && request.name == "refused" {
            return Err(ApiError::forbidden(request.resource, request.name, "the hook says no"));
        }
        Ok(())
    }
}

#[test]
fn hooks_see_and_change_what_is_stored() {
    let store = Store::builder().admission(Addresses).build();
    let service =
        |name: &str| json!({"metadata": {"name": name, "namespace": "default"}, "spec": {"ports": [{"port": 1}]}});
    store.create(&SERVICES, service("a")).expect("created");
    let second = store.create(&SERVICES, service("b")).expect("created");
    assert_eq!(second["spec"]["clusterIP"], "10.96.0.2");
    let refused = store
        .create(&CONFIG_MAPS, map("refused"))
        .expect_err("the hook says no");
    assert_eq!(refused.message, "configmaps \"refused\" is forbidden: the hook says no");
    let dry = WriteOptions {
        dry_run: true,
        ..WriteOptions::default()
    };
    store
        .create_with(&CONFIG_MAPS, map("dry"), &dry)
        .expect("it would work");
    assert!(store.find(&CONFIG_MAPS, NS, "dry").is_none());
}

#[test]
fn scale_and_eviction() {
    let store = Store::new();
    let deployment = json!({
        "metadata": {"name": "d", "namespace": "default"},
        "spec": {
            "selector": {"matchLabels": {"app": "d"}},
            "template": {"metadata": {"labels": {"app": "d"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
        },
    });
    store.create(&DEPLOYMENTS, deployment.clone()).expect("created");
    let scale = json!({"spec": {"replicas": 4}});
    let scaled = store
        .update_scale(&DEPLOYMENTS, NS, "d", &scale, &WriteOptions::default())
        .expect("scaled");
    assert_eq!(
        (&scaled["spec"]["replicas"], &scaled["status"]["selector"]),
        (&json!(4), &json!("app=d"))
    );
    assert_eq!(store.get(&DEPLOYMENTS, NS, "d").expect("it is there").generation(), 2);
    assert!(store.scale(&PODS, NS, "x").is_err());
    assert_eq!(
        store.create(&REPLICA_SETS, deployment).expect("created")["spec"]["replicas"],
        1
    );

    store.create(&PODS, pod("p", "n")).expect("created");
    store
        .modify_status(&PODS, NS, "p", |pod| {
            pod["status"]["conditions"] = json!([{"type": "Ready", "status": "True"}])
        })
        .expect("ready");
    let budget =
        json!({"metadata": {"name": "b", "namespace": "default"}, "spec": {"selector": {"matchLabels": {"app": "p"}}}});
    store.create(&POD_DISRUPTION_BUDGETS, budget).expect("created");
    let error = store
        .evict_pod("default", "p", &DeleteOptions::default())
        .expect_err("no disruption is allowed");
    assert_eq!(error.reason, Reason::TooManyRequests);
    let allow = |budget: &mut Value| budget["status"]["disruptionsAllowed"] = json!(1);
    store
        .modify_status(&POD_DISRUPTION_BUDGETS, NS, "b", allow)
        .expect("allowed");
    store
        .evict_pod("default", "p", &DeleteOptions::default())
        .expect("evicted");
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
