//! What happens where something is forbidden: the verb is named, or it is done without.

use crate::world::{Told, World, options};
use meshproof_apiserver::{
    User,
    resource::names::{CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES},
};
use meshproof_cluster::{Run, StartError, discover};
use meshproof_contract::Environment;
use meshproof_scenario::builtin;
use serde_json::{Value, json};
use std::path::PathBuf;

/// A kubeconfig of a user with just these rules in every cluster.
fn kubeconfig_with(world: &World, rules: Value) -> PathBuf {
    for cluster in &world.clusters {
        let role = json!({"metadata": {"name": "tester"}, "rules": rules});
        cluster.store.create(&CLUSTER_ROLES, role).expect("a role");
        let binding = json!({
            "metadata": {"name": "tester"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "tester"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "tester"}],
        });
        cluster
            .store
            .create(&CLUSTER_ROLE_BINDINGS, binding)
            .expect("a binding");
    }
    world.kubeconfig_as(|cluster| cluster.server.tokens().issue(User::new("tester", &[]), None))
}

fn rule(group: &str, resources: &[&str], verbs: &[&str]) -> Value {
    json!({"apiGroups": [group], "resources": resources, "verbs": verbs})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forbidden_verb_is_named_with_the_next_step() {
    let world = World::start(&["infra"]);
    let kubeconfig = kubeconfig_with(&world, json!([rule("", &["namespaces"], &["get", "list", "watch"])]));
    let contexts = world.connect_with(kubeconfig).await.expect("connects");
    let error = Run::start(&contexts, "run-1".into(), &Told::default().progress())
        .await
        .err()
        .expect("forbidden");
    assert!(matches!(error, StartError::Namespace(_)), "{error:?}");
    let text = error.to_string();
    assert!(
        text.starts_with("infra: not allowed to create namespaces meshproof"),
        "{text}"
    );
    assert!(text.contains("meshproof rbac"), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
}

/// Enough to run, without nodes, Secrets, events, Services elsewhere and port-forward.
fn least() -> Value {
    json!([
        rule(
            "",
            &["namespaces"],
            &["get", "list", "watch", "create", "patch", "delete"]
        ),
        rule(
            "coordination.k8s.io",
            &["leases"],
            &["get", "create", "update", "delete"]
        ),
        rule(
            "apps",
            &["daemonsets", "deployments"],
            &["get", "list", "watch", "patch", "delete"]
        ),
        rule("", &["services"], &["get", "patch", "delete"]),
        rule("", &["pods"], &["get", "list", "watch", "delete"]),
        rule("", &["pods/exec"], &["create", "get"]),
    ])
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_read_is_done_without() {
    let world = World::start(&["infra", "apps"]);
    for cluster in &world.clusters {
        cluster.install_cilium("kube-system", "other");
    }
    let contexts = world
        .connect_with(kubeconfig_with(&world, least()))
        .await
        .expect("connects");
    let told = Told::default();
    let progress = told.progress();
    let discovery = discover(&contexts, &progress).await.expect("discovers");
    assert_eq!(discovery.clusters[0].nodes, [], "nodes may not be listed");
    assert_eq!(discovery.clusters[0].cilium, None, "ConfigMaps may not be read");
    let run = Run::start(&contexts, "run-1".into(), &progress).await.expect("starts");
    let scenario = builtin("connectivity").expect("a scenario");
    let environment = run.deploy(discovery, &[scenario], &options()).await.expect("deploys");
    assert_eq!(
        environment.facts().agents.len(),
        12,
        "by the DaemonSets' count, over exec"
    );
    let all = told.all();
    assert!(all.contains("not allowed to list nodes"), "{all}");
    assert!(all.contains("not allowed to list services"), "{all}");
    run.tear_down().await.expect("tears down");
    for cluster in &world.clusters {
        assert!(!cluster.has_namespace("meshproof"));
    }
}
