//! Deletion: grace periods, finalizers, cascading, namespaces.

use super::{NS, map, pod};
use crate::{
    error::Reason,
    resource::names::{CONFIG_MAPS, NAMESPACES, PODS},
    store::{DeleteOptions, Deleted, Propagation, Store},
};
use serde_json::{Value, json};

fn owned(name: &str, owner: &crate::Object, kind: &str) -> Value {
    let mut map = map(name);
    map["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "v1", "kind": kind, "name": owner.name(), "uid": owner.uid(), "controller": true,
        "blockOwnerDeletion": true,
    }]);
    map
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
