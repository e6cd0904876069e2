//! kube-rs.

use super::fake;
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Namespace, Pod},
    rbac::v1::{Role, RoleBinding},
};
use kube::{
    Api, Client, Config, ResourceExt,
    api::{
        ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams, PostParams,
        WatchEvent, WatchParams,
    },
    config::{KubeConfigOptions, Kubeconfig},
};
use meshproof_apiserver::{KubeContext, Server, Store, User, kubeconfig};
use serde_json::json;
use std::time::Duration;

async fn client_with(server: &Server, token: String) -> Client {
    let text = kubeconfig(&[KubeContext {
        name: "test".to_owned(),
        server: server.url(),
        ca_pem: server.ca_pem().to_owned(),
        token,
        namespace: None,
    }]);
    let parsed = Kubeconfig::from_yaml(&text).expect("the kubeconfig parses");
    let config = Config::from_custom_kubeconfig(parsed, &KubeConfigOptions::default())
        .await
        .expect("it is complete");
    Client::try_from(config).expect("a client")
}

pub(super) async fn start() -> (Server, Store, Client) {
    let (server, store) = fake::start();
    let token = server.tokens().issue(User::admin("admin"), None);
    let client = client_with(&server, token).await;
    (server, store, client)
}

pub(super) fn code(error: &kube::Error) -> u16 {
    match error {
        kube::Error::Api(status) => status.code,
        other => panic!("expected an answer of the API, got {other:?}"),
    }
}

fn message(error: kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message,
        other => panic!("expected an answer of the API, got {other:?}"),
    }
}

fn config_map(name: &str, value: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name}, "data": {"key": value}})).expect("a ConfigMap")
}

#[tokio::test]
async fn objects_are_created_read_changed_and_deleted() {
    let (server, _, client) = start().await;
    let maps: Api<ConfigMap> = Api::namespaced(client, "default");
    let created = maps
        .create(&PostParams::default(), &config_map("a", "1"))
        .await
        .expect("created");
    let again = maps
        .create(&PostParams::default(), &config_map("a", "1"))
        .await
        .expect_err("it exists");
    assert_eq!(code(&again), 409);

    let mut first = created.clone();
    first
        .data
        .get_or_insert_default()
        .insert("key".to_owned(), "2".to_owned());
    let updated = maps
        .replace("a", &PostParams::default(), &first)
        .await
        .expect("updated");
    assert_ne!(updated.resource_version(), created.resource_version());
    let stale = maps
        .replace("a", &PostParams::default(), &first)
        .await
        .expect_err("the version is stale");
    assert_eq!(code(&stale), 409);

    let merge = Patch::Merge(json!({"data": {"other": "3"}}));
    let patched = maps.patch("a", &PatchParams::default(), &merge).await.expect("patched");
    assert_eq!(patched.data.map(|data| data.len()), Some(2));
    let list = maps
        .list(&ListParams::default().fields("metadata.name=a"))
        .await
        .expect("listed");
    assert_eq!(list.items.len(), 1);
    maps.delete("a", &DeleteParams::default()).await.expect("deleted");
    assert_eq!(code(&maps.get("a").await.expect_err("it is gone")), 404);
    server.shutdown().await;
}

#[tokio::test]
async fn lists_come_in_pages_of_one_moment() {
    let (server, _, client) = start().await;
    let maps: Api<ConfigMap> = Api::namespaced(client, "default");
    for name in ["a", "b", "c", "d", "e"] {
        maps.create(&PostParams::default(), &config_map(name, "1"))
            .await
            .expect("created");
    }
    let first = maps.list(&ListParams::default().limit(2)).await.expect("listed");
    assert_eq!(first.metadata.remaining_item_count, Some(3));
    maps.delete("d", &DeleteParams::default()).await.expect("deleted");
    let token = first.metadata.continue_.clone().expect("there is more");
    let rest = maps
        .list(&ListParams::default().continue_token(&token))
        .await
        .expect("listed");
    let names: Vec<String> = rest.iter().map(ResourceExt::name_any).collect();
    assert_eq!(names, ["c", "d", "e"], "d was there when the list began");
    server.shutdown().await;
}

#[tokio::test]
async fn watches_tell_what_happens() {
    let (server, store, client) = start().await;
    let maps: Api<ConfigMap> = Api::namespaced(client, "default");
    let version = maps
        .list(&ListParams::default())
        .await
        .expect("listed")
        .metadata
        .resource_version
        .expect("a version");
    let selected = WatchParams::default().labels("watched=yes").timeout(20);
    let mut events = maps.watch(&selected, &version).await.expect("watching").boxed();
    let label = |value: &str| Patch::Merge(json!({"metadata": {"labels": {"watched": value}}}));
    maps.create(&PostParams::default(), &config_map("a", "1"))
        .await
        .expect("created");
    maps.patch("a", &PatchParams::default(), &label("yes"))
        .await
        .expect("patched");
    maps.patch(
        "a",
        &PatchParams::default(),
        &Patch::Merge(json!({"data": {"key": "2"}})),
    )
    .await
    .expect("patched");
    maps.patch("a", &PatchParams::default(), &label("no"))
        .await
        .expect("patched");
    let mut kinds = Vec::new();
    for _ in 0..3 {
        let event = tokio::time::timeout(Duration::from_secs(10), events.try_next())
            .await
            .expect("in time");
        kinds.push(match event.expect("no error").expect("no end") {
            WatchEvent::Added(_) => "added",
            WatchEvent::Modified(_) => "modified",
            WatchEvent::Deleted(_) => "deleted",
            other => panic!("unexpected {other:?}"),
        });
    }
    assert_eq!(
        kinds,
        ["added", "modified", "deleted"],
        "an object comes and goes as its labels match"
    );

    for number in 0..600 {
        let changed = store.modify(
            &meshproof_apiserver::resource::names::CONFIG_MAPS,
            Some("default"),
            "a",
            |map| {
                map["data"]["key"] = json!(number.to_string());
            },
        );
        changed.expect("modified");
    }
    let mut late = maps
        .watch(&WatchParams::default().timeout(20), &version)
        .await
        .expect("watching")
        .boxed();
    let event = tokio::time::timeout(Duration::from_secs(10), late.try_next())
        .await
        .expect("in time");
    match event.expect("no error").expect("no end") {
        WatchEvent::Error(status) => assert_eq!((status.code, status.reason.as_str()), (410, "Expired")),
        other => panic!("expected 410, got {other:?}"),
    }
    server.shutdown().await;
}

#[tokio::test]
async fn apply_owns_fields() {
    let (server, _, client) = start().await;
    let deployments: Api<Deployment> = Api::namespaced(client, "default");
    let deployment = |replicas: i32| {
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
            "spec": {
                "replicas": replicas, "selector": {"matchLabels": {"app": "d"}},
                "template": {
                    "metadata": {"labels": {"app": "d"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]},
                },
            },
        })
    };
    let by = |manager: &str| PatchParams::apply(manager);
    let applied = deployments
        .patch("d", &by("one"), &Patch::Apply(deployment(2)))
        .await
        .expect("applied");
    let manager = applied.managed_fields().first().and_then(|entry| entry.manager.clone());
    assert_eq!(manager.as_deref(), Some("one"));
    let conflict = deployments
        .patch("d", &by("two"), &Patch::Apply(deployment(3)))
        .await
        .expect_err("one owns it");
    assert_eq!(code(&conflict), 409);
    assert!(message(conflict).contains("conflict with \"one\" using apps/v1: .spec.replicas"));
    let forced = deployments
        .patch("d", &by("two").force(), &Patch::Apply(deployment(3)))
        .await
        .expect("forced");
    assert_eq!(forced.spec.and_then(|spec| spec.replicas), Some(3));

    let mut scale = deployments.get_scale("d").await.expect("it has a scale");
    scale.spec.get_or_insert_default().replicas = Some(7);
    deployments
        .replace_scale("d", &PostParams::default(), &scale)
        .await
        .expect("scaled");
    let scaled = deployments.get("d").await.expect("it is there");
    assert_eq!(scaled.spec.and_then(|spec| spec.replicas), Some(7));
    server.shutdown().await;
}

#[tokio::test]
async fn a_definition_is_served_at_once() {
    let (server, _, client) = start().await;
    let definitions: Api<DynamicObject> = Api::all_with(
        client.clone(),
        &ApiResource::from_gvk(&GroupVersionKind::gvk(
            "apiextensions.k8s.io",
            "v1",
            "CustomResourceDefinition",
        )),
    );
    let version = |name: &str, stored: bool| {
        let schema = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
        json!({"name": name, "served": true, "storage": stored, "schema": schema, "subresources": {"status": {}}})
    };
    let definition: DynamicObject = serde_json::from_value(json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.io"},
        "spec": {
            "group": "example.io", "scope": "Cluster", "names": {"kind": "Widget", "plural": "widgets"},
            "versions": [version("v1", true), version("v1alpha1", false)],
        },
    }))
    .expect("an object");
    definitions
        .create(&PostParams::default(), &definition)
        .await
        .expect("created");

    let old = ApiResource::from_gvk(&GroupVersionKind::gvk("example.io", "v1alpha1", "Widget"));
    let widgets: Api<DynamicObject> = Api::all_with(client.clone(), &old);
    let widget = DynamicObject::new("w", &old).data(json!({"spec": {"size": 1}, "status": {"ready": true}}));
    let created = widgets.create(&PostParams::default(), &widget).await.expect("created");
    assert!(created.data["status"].is_null(), "the status is not set by a create");
    assert_eq!(
        created.types.map(|types| types.api_version).as_deref(),
        Some("example.io/v1alpha1")
    );
    let new = ApiResource::from_gvk(&GroupVersionKind::gvk("example.io", "v1", "Widget"));
    let newer: Api<DynamicObject> = Api::all_with(client.clone(), &new);
    let status = Patch::Merge(json!({"status": {"ready": true}}));
    let patched = newer
        .patch_status("w", &PatchParams::default(), &status)
        .await
        .expect("patched");
    assert_eq!(
        patched.types.map(|types| types.api_version).as_deref(),
        Some("example.io/v1")
    );
    assert_eq!(
        (&patched.data["status"]["ready"], &patched.data["spec"]["size"]),
        (&json!(true), &json!(1))
    );

    let discovery = kube::discovery::group(&client, "example.io")
        .await
        .expect("it is discovered");
    assert_eq!(discovery.preferred_version_or_latest(), "v1");
    definitions
        .delete("widgets.example.io", &DeleteParams::default())
        .await
        .expect("deleted");
    assert_eq!(code(&newer.get("w").await.expect_err("the resource is gone")), 404);
    server.shutdown().await;
}

#[tokio::test]
async fn rights_and_tokens_hold() {
    let (server, _, admin) = start().await;
    let stranger = client_with(&server, "no-such-token".to_owned()).await;
    let pods = |client: &Client| Api::<Pod>::namespaced(client.clone(), "default");
    assert_eq!(code(&pods(&stranger).get("web").await.expect_err("unknown token")), 401);

    let jane = client_with(&server, server.tokens().issue(User::new("jane", &[]), None)).await;
    let refused = pods(&jane)
        .list(&ListParams::default())
        .await
        .expect_err("jane may nothing");
    let expected =
        "pods is forbidden: User \"jane\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\"";
    assert_eq!(message(refused), expected);

    let role: Role = serde_json::from_value(json!({
        "metadata": {"name": "reader"}, "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}],
    }))
    .expect("a role");
    let binding: RoleBinding = serde_json::from_value(json!({
        "metadata": {"name": "reader"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
        "subjects": [{"kind": "User", "name": "jane"}],
    }))
    .expect("a binding");
    Api::namespaced(admin.clone(), "default")
        .create(&PostParams::default(), &role)
        .await
        .expect("created");
    Api::namespaced(admin.clone(), "default")
        .create(&PostParams::default(), &binding)
        .await
        .expect("created");
    server.audit().clear();
    assert_eq!(
        pods(&jane)
            .list(&ListParams::default())
            .await
            .expect("jane may list")
            .items
            .len(),
        1
    );
    assert_eq!(
        code(
            &pods(&jane)
                .delete("web", &DeleteParams::default())
                .await
                .expect_err("but not delete")
        ),
        403
    );
    let asked: Vec<(String, bool)> = server
        .audit()
        .entries()
        .into_keys()
        .map(|entry| (entry.verb, entry.allowed))
        .collect();
    assert_eq!(asked, [("delete".to_owned(), false), ("list".to_owned(), true)]);
    server.shutdown().await;
}

#[tokio::test]
async fn a_namespace_takes_its_content_along() {
    let (server, _, client) = start().await;
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": "n"}})).expect("a namespace");
    namespaces
        .create(&PostParams::default(), &namespace)
        .await
        .expect("created");
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "n");
    let mut held = config_map("held", "1");
    held.metadata.finalizers = Some(vec!["example.io/hold".to_owned()]);
    maps.create(&PostParams::default(), &held).await.expect("created");
    let deleted = namespaces.delete("n", &DeleteParams::default()).await.expect("deleted");
    let phase = deleted
        .left()
        .and_then(|namespace| namespace.status)
        .and_then(|status| status.phase);
    assert_eq!(phase.as_deref(), Some("Terminating"));
    let refused = maps
        .create(&PostParams::default(), &config_map("late", "1"))
        .await
        .expect_err("it is terminating");
    assert_eq!(code(&refused), 403);
    assert!(message(refused).contains("because it is being terminated"));

    let gone = kube::runtime::wait::await_condition(namespaces.clone(), "n", |n: Option<&Namespace>| n.is_none());
    maps.patch(
        "held",
        &PatchParams::default(),
        &Patch::Merge(json!({"metadata": {"finalizers": null}})),
    )
    .await
    .expect("released");
    let waited = tokio::time::timeout(Duration::from_secs(10), gone)
        .await
        .expect("the namespace goes in time");
    waited.expect("the watch works");
    server.shutdown().await;
}

#[tokio::test]
async fn informers_list_and_stream() {
    use kube::runtime::watcher::{self, Event};

    let (server, _, client) = start().await;
    let pods: Api<Pod> = Api::namespaced(client, "default");
    for config in [watcher::Config::default(), watcher::Config::default().streaming_lists()] {
        let mut events = kube::runtime::watcher(pods.clone(), config).boxed();
        let mut names = Vec::new();
        loop {
            let event = tokio::time::timeout(Duration::from_secs(10), events.try_next())
                .await
                .expect("in time");
            match event.expect("no error").expect("no end") {
                Event::Init => {}
                Event::InitApply(pod) => names.push(pod.name_any()),
                Event::InitDone => break,
                other => panic!("unexpected {other:?}"),
            }
        }
        assert_eq!(names, ["web"]);
        let label = Patch::Merge(json!({"metadata": {"labels": {"seen": names.len().to_string()}}}));
        pods.patch("web", &PatchParams::default(), &label)
            .await
            .expect("patched");
        let touch = Patch::Merge(json!({"metadata": {"labels": {"seen": null}}}));
        pods.patch("web", &PatchParams::default(), &touch)
            .await
            .expect("patched");
        let event = tokio::time::timeout(Duration::from_secs(10), events.try_next())
            .await
            .expect("in time");
        assert!(matches!(event, Ok(Some(Event::Apply(pod))) if pod.labels().contains_key("seen")));
    }
    server.shutdown().await;
}
