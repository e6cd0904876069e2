//! What happens where something is forbidden: the verb is named, or it is done without.

use crate::world::{Recorded, World, options};
use meshproof_apiserver::{
    User,
    resource::names::{CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, NAMESPACES, PODS, ROLE_BINDINGS, ROLES, SECRETS},
};
use meshproof_cluster::{Live, RegistryCredentials, Run, StartError, clean, discover, rights::RULES};
use meshproof_contract::{CiliumQuery, Environment, Probe, Target, probe::Action};
use meshproof_scenario::builtin;
use serde_json::{Value, json};
use std::{collections::BTreeSet, path::PathBuf, time::Duration};

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
    let error = Run::start(&contexts, "run-1".into(), &Recorded::default().progress())
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
    let recorded = Recorded::default();
    let progress = recorded.progress();
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
    let all = recorded.all();
    assert!(all.contains("not allowed to list nodes"), "{all}");
    assert!(all.contains("not allowed to list services"), "{all}");
    run.tear_down().await.expect("tears down");
    for cluster in &world.clusters {
        assert!(!cluster.has_namespace("meshproof"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_are_watched_in_each_namespace_where_they_may_not_be_in_all() {
    let world = World::start(&["infra"]);
    let rules: Vec<Value> = least().as_array().expect("rules").clone();
    let (pods, others): (Vec<Value>, Vec<Value>) = rules.into_iter().partition(|rule| rule["resources"][0] == "pods");
    let cluster = world.cluster("infra");
    for namespace in ["meshproof", "meshproof-node", "meshproof-peer"] {
        let labels = json!({"app.kubernetes.io/managed-by": "meshproof"});
        let object = json!({"metadata": {"name": namespace, "labels": labels}});
        cluster.store.create(&NAMESPACES, object).expect("a namespace");
        let named = json!({"name": "tester", "namespace": namespace});
        let role = json!({"metadata": named, "rules": pods});
        cluster.store.create(&ROLES, role).expect("a role");
        let binding = json!({
            "metadata": named,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "tester"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "tester"}],
        });
        cluster.store.create(&ROLE_BINDINGS, binding).expect("a binding");
    }
    let kubeconfig = kubeconfig_with(&world, json!(others));
    let contexts = world.connect_with(kubeconfig).await.expect("connects");
    let progress = Recorded::default().progress();
    let discovery = discover(&contexts, &progress).await.expect("discovers");
    let run = Run::start(&contexts, "run-1".into(), &progress).await.expect("starts");
    let scenario = builtin("connectivity").expect("a scenario");
    let environment = run.deploy(discovery, &[scenario], &options()).await.expect("deploys");
    assert_eq!(environment.facts().agents.len(), 6);
    run.tear_down().await.expect("tears down");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_printed_role_is_enough_and_not_more_than_is_asked_for() {
    let world = World::start(&["infra", "apps"]);
    for cluster in &world.clusters {
        cluster.install_cilium("kube-system", "other");
        cluster.knobs.lock().expect("knobs").hangs_up = true;
    }
    let role = meshproof_cluster::rights::cluster_role();
    let kubeconfig = kubeconfig_with(&world, role["rules"].clone());
    let contexts = world.connect_with(kubeconfig).await.expect("connects");
    let recorded = Recorded::default();
    let progress = recorded.progress();
    let discovery = discover(&contexts, &progress).await.expect("discovers");
    let run = Run::start(&contexts, "run-1".into(), &progress).await.expect("starts");
    let scenario = builtin("connectivity").expect("a scenario");
    let mut options = options();
    let configuration = r#"{"auths": {"registry.example": {"auth": "c2VjcmV0"}}}"#;
    options.image.credentials = Some(RegistryCredentials::parse(configuration).expect("credentials"));
    let environment = run.deploy(discovery, &[scenario], &options).await.expect("deploys");
    for cluster in &world.clusters {
        for pod in cluster.store.all(&PODS, Some("meshproof")) {
            let secret = pod["spec"]["imagePullSecrets"][0]["name"].as_str().expect("a Secret");
            assert!(cluster.store.find(&SECRETS, Some("meshproof"), secret).is_some());
        }
    }
    let facts = environment.facts();
    assert_eq!(facts.agents.len(), 12);
    assert!(facts.clusters[0].cilium.as_ref().is_some_and(|c| c.remotes.is_some()));
    environment
        .cilium(&"infra".into(), CiliumQuery::Status)
        .await
        .expect("may ask Cilium");
    for _ in 0..2 {
        let to = Target::new("192.0.2.1", 8081);
        let probe = Probe::once(Action::TcpConnect { to }, Duration::from_secs(1));
        environment
            .probe(&facts.agents[0].id, vec![probe])
            .await
            .expect("answers");
    }
    run.tear_down().await.expect("tears down");
    clean(&contexts, Live::Spare, None, &progress).await.expect("cleans");
    assert!(!recorded.all().contains("not allowed"), "{}", recorded.all());

    let mut asked = BTreeSet::new();
    for (entry, _) in world.clusters.iter().flat_map(|c| c.server.audit().entries()) {
        if entry.user != "tester" || entry.resource.starts_with('/') {
            continue;
        }
        let resource = match entry.subresource.as_str() {
            "" => entry.resource.clone(),
            sub => format!("{}/{sub}", entry.resource),
        };
        // What is asked to see whether somebody else uses the namespace is done without.
        let telling = matches!(resource.as_str(), "persistentvolumeclaims" | "statefulsets" | "jobs");
        assert!(entry.allowed || telling, "the role lacks {entry:?}");
        asked.insert((entry.group, resource, entry.verb));
    }
    for rule in RULES {
        // Checks use these.
        let of_checks = [
            "admissionregistration.k8s.io",
            "apiextensions.k8s.io",
            "apiregistration.k8s.io",
            "cilium.io",
            "helm.toolkit.fluxcd.io",
            "kustomize.toolkit.fluxcd.io",
            "networking.k8s.io",
            "source.toolkit.fluxcd.io",
        ];
        let lists = ["events", "statefulsets"];
        if of_checks.contains(&rule.group) || rule.resources.iter().any(|one| lists.contains(one)) {
            continue;
        }
        for resource in rule.resources {
            let used = rule
                .verbs
                .iter()
                .filter(|verb| asked.contains(&(rule.group.to_owned(), (*resource).to_owned(), (**verb).to_owned())));
            assert!(used.count() > 0, "nothing uses the rule on {resource}");
        }
    }
}
