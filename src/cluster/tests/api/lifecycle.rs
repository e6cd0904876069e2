//! A run from its start to its end, and what keeps it from starting.

use crate::world::{Recorded, World, options};
use meshproof_apiserver::{
    DeleteOptions,
    resource::names::{DAEMON_SETS, LEASES, NAMESPACES},
};
use meshproof_cluster::{LeaseError, Live, ProgressSink, Run, StartError, clean, discover};
use meshproof_contract::{Environment, EnvironmentError, ObjectRef, Outcome, Probe, Target, probe::Action};
use meshproof_scenario::builtin;
use serde_json::json;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

fn a_probe() -> Probe {
    let to = Target::new("192.0.2.1", 8081);
    Probe::once(Action::TcpConnect { to }, Duration::from_secs(1))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_deploys_probes_and_leaves_nothing() {
    let world = World::start(&["infra", "apps"]);
    let contexts = world.connect().await.expect("connects");
    let recorded = Recorded::default();
    let progress = recorded.progress();
    let discovery = discover(&contexts, &progress).await.expect("discovers");
    assert_eq!(discovery.clusters[1].nodes.len(), 2);
    let run = Run::start(&contexts, "run-1".into(), &progress).await.expect("starts");
    let scenario = builtin("connectivity").expect("a scenario");
    let environment = run.deploy(discovery, &[scenario], &options()).await.expect("deploys");

    let facts = environment.facts();
    assert_eq!(facts.missing_agents, []);
    assert_eq!(facts.agents.len(), 12, "three workloads on two nodes of two clusters");
    let service = facts.service(&"apps".into(), "server").expect("a service");
    assert!(service.address.is_some(), "{service:?}");
    assert_eq!(service.ports["udp"], 8082);
    let headless = facts.service(&"apps".into(), "server-headless").expect("a service");
    assert_eq!(headless.address, None);
    let dns = facts.clusters[0].dns.as_ref().expect("DNS");
    assert_eq!((dns.domain.as_str(), dns.replicas.len()), ("cluster.local", 0));
    assert!(
        recorded.all().contains("is not the address of a Service"),
        "{}",
        recorded.all()
    );

    for agent in &facts.agents {
        let outcomes = environment
            .probe(&agent.id, vec![a_probe(), a_probe()])
            .await
            .expect("answers");
        let reason = format!("{}/{}/{}", agent.id.cluster, agent.node, agent.id.pod);
        assert_eq!(
            outcomes,
            [
                Outcome::LocalError { reason: reason.clone() },
                Outcome::LocalError { reason }
            ]
        );
    }

    run.tear_down().await.expect("tears down");
    for cluster in &world.clusters {
        for namespace in ["meshproof", "meshproof-node"] {
            assert!(
                !cluster.has_namespace(namespace),
                "{namespace} is left in {}",
                cluster.name
            );
        }
        assert_eq!(cluster.store.all(&DAEMON_SETS, None).len(), 0);
        assert_eq!(cluster.store.all(&LEASES, None).len(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn checks_change_things_only_in_the_runs_namespaces() {
    let world = World::start(&["infra"]);
    let contexts = world.connect().await.expect("connects");
    let progress = ProgressSink::silent();
    let discovery = discover(&contexts, &progress).await.expect("discovers");
    let run = Run::start(&contexts, "run-1".into(), &progress).await.expect("starts");
    let scenario = builtin("connectivity").expect("a scenario");
    let environment = run.deploy(discovery, &[scenario], &options()).await.expect("deploys");
    let infra = "infra".into();
    let map = |namespace: &str| {
        json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "marker", "namespace": namespace},
            "data": {"a": "1"},
        })
    };
    let reference = |kind: &str, namespace: Option<&str>, name: &str| ObjectRef {
        api_version: match kind {
            "Lease" => "coordination.k8s.io/v1".into(),
            _ => "v1".into(),
        },
        kind: kind.into(),
        namespace: namespace.map(str::to_owned),
        name: name.into(),
    };

    let applied = environment.apply(&infra, map("meshproof")).await.expect("applied");
    assert_eq!(applied["metadata"]["labels"]["meshproof.dev/run"], "run-1");
    let ours = reference("ConfigMap", Some("meshproof"), "marker");
    assert_eq!(
        environment.get(&infra, &ours).await.expect("read").expect("there")["data"]["a"],
        "1"
    );
    let listed = environment
        .list(&infra, "v1", "ConfigMap", Some("meshproof"))
        .await
        .expect("listed");
    assert!(
        listed
            .iter()
            .any(|o| o["metadata"]["name"] == "marker" && o["kind"] == "ConfigMap")
    );
    environment.delete(&infra, &ours).await.expect("deleted");
    environment
        .delete(&infra, &ours)
        .await
        .expect("deleting what is gone succeeds");
    assert_eq!(environment.get(&infra, &ours).await.expect("read"), None);

    let refused = environment.apply(&infra, map("kube-system")).await;
    assert!(matches!(refused, Err(EnvironmentError::NotOurs { .. })), "{refused:?}");
    for foreign in [
        reference("ConfigMap", Some("kube-system"), "x"),
        reference("Namespace", None, "default"),
        reference("Node", Some("meshproof"), "infra-1"),
        reference("Lease", Some("meshproof"), "meshproof"),
    ] {
        let refused = environment.delete(&infra, &foreign).await;
        assert!(
            matches!(refused, Err(EnvironmentError::NotOurs { .. })),
            "{foreign:?}: {refused:?}"
        );
    }
    run.tear_down().await.expect("tears down");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_run_is_refused_and_names_the_holder_of_the_lease() {
    let world = World::start(&["infra", "apps"]);
    let contexts = world.connect().await.expect("connects");
    let progress = ProgressSink::silent();
    let first = Run::start(&contexts, "run-1".into(), &progress).await.expect("starts");
    let error = Run::start(&contexts, "run-2".into(), &progress)
        .await
        .err()
        .expect("held");
    let StartError::Lease(LeaseError::Held { holder, expires_in, .. }) = &error else {
        panic!("expected a held Lease, got {error:?}")
    };
    assert!(holder.ends_with(", run run-1"), "{holder}");
    assert!((1..=41).contains(expires_in), "{expires_in}");
    assert!(error.to_string().contains("another run is in progress"), "{error}");

    let refused = clean(&contexts, Live::Spare, None, &progress)
        .await
        .expect_err("a live run")
        .to_string();
    assert!(
        refused.contains("run run-1") && refused.contains("--force"),
        "{refused}"
    );
    for cluster in &world.clusters {
        assert!(cluster.has_namespace("meshproof"), "the first run keeps what it has");
        let namespace = cluster.store.get(&NAMESPACES, None, "meshproof").expect("there");
        assert_eq!(namespace.label("meshproof.dev/run"), Some("run-1"));
    }
    first.tear_down().await.expect("tears down");
    for cluster in &world.clusters {
        assert!(!cluster.has_namespace("meshproof"), "{}", cluster.name);
        let left: Vec<_> = cluster.store.all(&LEASES, None).iter().map(|l| l.to_value()).collect();
        assert!(left.is_empty(), "{left:?}");
    }
    let third = Run::start(&contexts, "run-3".into(), &progress)
        .await
        .expect("starts after it");
    third.tear_down().await.expect("tears down");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_is_called_off_gives_back_what_it_took() {
    let world = World::start(&["infra", "apps"]);
    // A namespace that does not go keeps the start waiting, in whichever cluster comes second.
    for cluster in &world.clusters {
        let going = json!({
            "metadata": {
                "name": "meshproof-node", "labels": {"app.kubernetes.io/managed-by": "meshproof"},
                "finalizers": ["test/stays"],
            },
        });
        cluster.store.create(&NAMESPACES, going).expect("a namespace");
        let deleted = cluster
            .store
            .delete(&NAMESPACES, None, "meshproof-node", &DeleteOptions::default());
        deleted.expect("is going");
    }
    let contexts = world.connect().await.expect("connects");
    let recorded = Recorded::default();
    let (cancel, progress) = (CancellationToken::new(), recorded.progress());
    let called_off = async {
        while !recorded.all().contains("deletion of namespace meshproof-node") {
            tokio::task::yield_now().await;
        }
        for cluster in &world.clusters {
            let freed = cluster.store.modify(&NAMESPACES, None, "meshproof-node", |ns| {
                ns["metadata"]["finalizers"] = json!([]);
            });
            drop(freed);
        }
        cancel.cancel();
    };
    let start = Run::start_unless(&contexts, "run-1".into(), &progress, &cancel);
    // It may just have come through before it was called off.
    match tokio::join!(start, called_off).0 {
        Err(error) => assert!(matches!(error, StartError::Interrupted), "{error:?}"),
        Ok(run) => run.tear_down().await.expect("tears down"),
    }
    for cluster in &world.clusters {
        assert!(!cluster.has_namespace("meshproof"), "{} is given back", cluster.name);
        assert_eq!(cluster.store.all(&LEASES, None).len(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_of_somebody_else_is_refused_and_left_alone() {
    let world = World::start(&["infra", "apps"]);
    let store = &world.cluster("apps").store;
    store
        .create(&NAMESPACES, json!({"metadata": {"name": "meshproof"}}))
        .expect("a namespace");
    let contexts = world.connect().await.expect("connects");
    let error = Run::start(&contexts, "run-1".into(), &ProgressSink::silent())
        .await
        .err()
        .expect("refused");
    let text = error.to_string();
    assert!(
        text.starts_with("apps: namespace meshproof exists and is not meshproof's"),
        "{text}"
    );
    assert!(world.cluster("apps").has_namespace("meshproof"));
    assert!(
        !world.cluster("infra").has_namespace("meshproof"),
        "what was taken is given back"
    );
    let cleaned = clean(&contexts, Live::Spare, None, &ProgressSink::silent())
        .await
        .expect("cleans");
    assert!(cleaned.iter().all(|c| c.removed.is_empty()), "{cleaned:?}");
    assert!(world.cluster("apps").has_namespace("meshproof"));
}
