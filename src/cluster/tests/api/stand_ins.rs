//! Clients of flows in namespaces of the operators: never ready, used all the same, and gone afterwards.

use crate::world::{Recorded, World, options};
use meshproof_apiserver::{
    DeleteOptions,
    resource::names::{DEPLOYMENTS, LEASES, NAMESPACES, PODS},
};
use meshproof_cluster::{Live, Run, clean, discover};
use meshproof_contract::{Environment, Flow};
use meshproof_scenario::{Scenario, builtin, flows};
use serde_json::json;

/// The clients of a flow from a pod of `shop`, which is there, with a Deployment of the operators.
fn scenario(world: &World) -> Scenario {
    let store = &world.cluster("infra").store;
    store
        .create(&NAMESPACES, json!({"metadata": {"name": "shop"}}))
        .expect("a namespace");
    let flow = json!({
        "name": "shop reaches its database",
        "from": {"cluster": "infra", "namespace": "shop", "labels": {"app": "web"}, "serviceAccount": "web"},
        "to": {"service": "postgres-rw.databases", "port": 5432},
    });
    let flow: Flow = serde_json::from_value(flow).expect("a flow");
    flows(&[flow], |_| true).expect("a scenario")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_runs_in_the_operators_namespace_and_ends_with_the_run() {
    let world = World::start(&["infra"]);
    let scenario = scenario(&world);
    let contexts = world.connect().await.expect("connects");
    let progress = Recorded::default().progress();
    let discovery = discover(&contexts, &progress).await.expect("discovers");
    let run = Run::start(&contexts, "run-1".into(), &progress).await.expect("starts");
    let environment = run.deploy(discovery, &[scenario], &options()).await.expect("deploys");
    let facts = environment.facts();
    let [client] = &facts.agents[..] else {
        panic!("expected one client, got {:?}", facts.agents);
    };
    assert_eq!((&*client.workload, &*client.namespace), ("client-1", "shop"));
    let store = &world.cluster("infra").store;
    let [pod] = &store.all(&PODS, Some("shop"))[..] else {
        panic!("expected one pod");
    };
    assert_eq!(
        pod["spec"]["readinessGates"][0]["conditionType"],
        "meshproof.dev/never-ready"
    );
    assert_eq!(pod["spec"]["serviceAccountName"], "web");
    assert_eq!(
        (pod.label("app"), pod.label("meshproof.dev/run")),
        (Some("web"), Some("run-1"))
    );
    run.tear_down().await.expect("tears down");
    assert!(store.all(&DEPLOYMENTS, Some("shop")).is_empty() && store.all(&PODS, Some("shop")).is_empty());
    assert!(
        store.get(&NAMESPACES, None, "shop").is_ok(),
        "the namespace is not ours"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_of_a_killed_run_is_cleaned_up() {
    let world = World::start(&["infra"]);
    let scenario = scenario(&world);
    let contexts = world.connect().await.expect("connects");
    let progress = Recorded::default().progress();
    let discovery = discover(&contexts, &progress).await.expect("discovers");
    let run = Run::start(&contexts, "run-1".into(), &progress).await.expect("starts");
    run.deploy(discovery, &[scenario], &options()).await.expect("deploys");
    drop(run);
    let store = &world.cluster("infra").store;
    let aged = store.modify(&LEASES, Some("meshproof"), "meshproof", |lease| {
        lease["spec"]["renewTime"] = json!("2026-01-01T00:00:00.000000Z");
    });
    aged.expect("an old Lease");
    let cleaned = clean(&contexts, Live::Spare, None, &progress).await.expect("cleans");
    let removed = cleaned[0].removed.join(", ");
    assert!(
        removed.contains("Deployment shop/meshproof-flows-client-1"),
        "{removed}"
    );
    assert!(store.all(&DEPLOYMENTS, Some("shop")).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_refused_is_missing_and_nothing_else() {
    let world = World::start(&["infra"]);
    let scenario = scenario(&world);
    let store = &world.cluster("infra").store;
    store
        .delete(&NAMESPACES, None, "shop", &DeleteOptions::now())
        .expect("the namespace was there");
    let contexts = world.connect().await.expect("connects");
    let progress = Recorded::default().progress();
    let discovery = discover(&contexts, &progress).await.expect("discovers");
    let run = Run::start(&contexts, "run-1".into(), &progress).await.expect("starts");
    let connectivity = builtin("connectivity").expect("a scenario");
    let scenarios = [connectivity, scenario];
    let environment = run.deploy(discovery, &scenarios, &options()).await.expect("deploys");
    let facts = environment.facts();
    assert_eq!(facts.agents.len(), 6);
    assert_eq!(facts.missing_agents[0].workload, "client-1");
    run.tear_down().await.expect("tears down");
}
