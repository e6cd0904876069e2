//! Patches whose result is not an object of its type.

use super::{NS, pod};
use crate::{
    error::Reason,
    resource::{
        Resource,
        names::{CUSTOM_RESOURCE_DEFINITIONS, PODS},
    },
    store::{Patch, Store, WriteOptions},
};
use serde_json::json;

#[test]
fn a_json_patch_to_a_wrong_type_is_refused() {
    let store = Store::new();
    store.create(&PODS, pod("p", "n")).expect("created");
    let patch = |path: &str, value| {
        let patch = json!([{"op": "replace", "path": path, "value": value}]);
        store.patch(&PODS, NS, "p", Patch::Json(patch))
    };
    let error = patch("/spec", json!("x")).expect_err("a specification is an object");
    assert_eq!(error.reason, Reason::Invalid);
    assert!(error.message.contains("patch: Invalid value"), "{}", error.message);
    assert!(patch("/spec/containers/0/image", json!(1)).is_err(), "an image is text");
    let changed = patch("/spec/containers/0/image", json!("other")).expect("an image of text");
    assert_eq!(changed["spec"]["containers"][0]["image"], "other");
}

#[test]
fn replicas_that_are_in_no_object_cannot_be_scaled() {
    const WIDGETS: Resource = Resource::of("example.io", "widgets");
    let store = Store::new();
    let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let scale = json!({"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"});
    let definition = json!({"metadata": {"name": "widgets.example.io"}, "spec": {
        "group": "example.io", "scope": "Namespaced", "names": {"kind": "Widget", "plural": "widgets"},
        "versions": [{
            "name": "v1", "served": true, "storage": true, "subresources": {"scale": scale},
            "schema": {"openAPIV3Schema": open},
        }],
    }});
    store.create(&CUSTOM_RESOURCE_DEFINITIONS, definition).expect("created");
    let mut widget = json!({"metadata": {"name": "w", "namespace": "default"}, "spec": "text"});
    store.create(&WIDGETS, widget.clone()).expect("created");
    let to_two = || {
        store.update_scale(
            &WIDGETS,
            NS,
            "w",
            &json!({"spec": {"replicas": 2}}),
            &WriteOptions::default(),
        )
    };
    assert_eq!(
        to_two().expect_err("text has no replicas").reason,
        Reason::InternalError
    );
    widget["metadata"]["resourceVersion"] =
        store.get(&WIDGETS, NS, "w").expect("stored")["metadata"]["resourceVersion"].clone();
    widget["spec"] = json!(null);
    store.update(&WIDGETS, widget).expect("updated");
    assert_eq!(to_two().expect("the specification is made")["spec"]["replicas"], 2);
}
