//! The rules of the API, as a controller in process meets them.

mod deletion;
mod patch;
mod watch;

use super::{Admission, AdmissionRequest, DeleteOptions, Store, WriteOptions};
use crate::{
    admission::Operation,
    error::{ApiError, Reason},
    resource::names::{CONFIG_MAPS, DEPLOYMENTS, LEASES, POD_DISRUPTION_BUDGETS, PODS, REPLICA_SETS, SERVICES},
};
use serde_json::{Value, json};

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
    let expected = "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply \
                    your changes to the latest version and try again";
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
