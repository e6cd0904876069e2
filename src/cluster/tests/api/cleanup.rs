//! What a killed run leaves, and who removes it: the next run, or `meshproof clean`.

use crate::world::{Recorded, World, options};
use async_trait::async_trait;
use meshproof_apiserver::resource::names::{DAEMON_SETS, DEPLOYMENTS, LEASES, NAMESPACES, NODES, PODS, SERVICES};
use meshproof_cluster::{Live, NodePower, ProgressSink, Run, clean, discover};
use meshproof_contract::{ClusterName, NodeName};
use meshproof_scenario::builtin;
use serde_json::json;
use std::sync::Mutex;

/// A run that was killed: its objects are there, its Lease is not renewed any more.
async fn abandon(world: &World) {
    let contexts = world.connect().await.expect("connects");
    let progress = ProgressSink::silent();
    let discovery = discover(&contexts, &progress).await.expect("discovers");
    let run = Run::start(&contexts, "run-dead".into(), &progress)
        .await
        .expect("starts");
    let scenario = builtin("connectivity").expect("a scenario");
    run.deploy(discovery, &[scenario], &options()).await.expect("deploys");
    drop(run);
    for cluster in &world.clusters {
        let aged = cluster.store.modify(&LEASES, Some("meshproof"), "meshproof", |lease| {
            lease["spec"]["renewTime"] = json!("2026-01-01T00:00:00.000000Z");
        });
        aged.expect("an old Lease");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_run_takes_over_from_a_dead_one_and_removes_what_it_left() {
    let world = World::start(&["infra"]);
    abandon(&world).await;
    let contexts = world.connect().await.expect("connects");
    let recorded = Recorded::default();
    let run = Run::start(&contexts, "run-2".into(), &recorded.progress())
        .await
        .expect("takes over");
    let all = recorded.all();
    assert!(all.contains("run run-dead did not end properly"), "{all}");
    assert!(all.contains("DaemonSet meshproof/connectivity-client"), "{all}");
    let store = &world.cluster("infra").store;
    assert_eq!(store.all(&DAEMON_SETS, None).len(), 0);
    assert_eq!(store.all(&PODS, Some("meshproof")).len(), 0);
    assert_eq!(store.all(&SERVICES, Some("meshproof")).len(), 0);
    let namespace = store.get(&NAMESPACES, None, "meshproof").expect("there");
    assert_eq!(namespace.label("meshproof.dev/run"), Some("run-2"));
    run.tear_down().await.expect("tears down");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pods_of_a_dead_node_do_not_keep_the_namespaces() {
    let world = World::start(&["infra"]);
    abandon(&world).await;
    let cluster = world.cluster("infra");
    cluster.knobs.lock().expect("knobs").dead = Some("infra-2".into());
    let died = cluster.store.modify_status(&NODES, None, "infra-2", |node| {
        node["status"]["conditions"] = json!([{"type": "Ready", "status": "Unknown"}]);
    });
    died.expect("a dead node");
    let contexts = world.connect().await.expect("connects");
    let recorded = Recorded::default();
    clean(&contexts, Live::Spare, None, &recorded.progress())
        .await
        .expect("cleans");
    assert!(!cluster.has_namespace("meshproof") && !cluster.has_namespace("meshproof-node"));
    assert!(
        recorded
            .all()
            .contains("of node infra-2 by force: the node is not Ready"),
        "{}",
        recorded.all()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn clean_removes_what_a_dead_run_left_and_nothing_else() {
    let world = World::start(&["infra", "apps"]);
    abandon(&world).await;
    let store = &world.cluster("infra").store;
    let other = json!({"metadata": {"name": "meshproof-mine"}});
    store.create(&NAMESPACES, other).expect("a namespace of somebody else");
    let service = json!({
        "metadata": {"name": "server", "namespace": "default", "labels": {"app.kubernetes.io/managed-by": "Helm"}},
        "spec": {"ports": [{"port": 80}]},
    });
    store.create(&SERVICES, service).expect("a service of somebody else");

    let contexts = world.connect().await.expect("connects");
    let cleaned = clean(&contexts, Live::Spare, None, &ProgressSink::silent())
        .await
        .expect("cleans");
    assert!(
        cleaned[1].removed.contains(&"Namespace meshproof".to_owned()),
        "{cleaned:?}"
    );
    for cluster in &world.clusters {
        assert!(!cluster.has_namespace("meshproof") && !cluster.has_namespace("meshproof-node"));
    }
    assert!(world.cluster("infra").has_namespace("meshproof-mine"));
    assert!(store.find(&SERVICES, Some("default"), "server").is_some());
    let again = clean(&contexts, Live::Spare, None, &ProgressSink::silent())
        .await
        .expect("cleans");
    assert!(again.iter().all(|c| c.removed.is_empty()), "{again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn clean_undoes_the_disruptions_of_a_killed_run() {
    let world = World::start(&["infra"]);
    let cluster = world.cluster("infra");
    cluster.install_cilium("kube-system", "apps");
    let cordoned = cluster.store.modify(&NODES, None, "infra-2", |node| {
        node["metadata"]["annotations"] = json!({"meshproof.dev/cordoned-by": "run-dead"});
        node["spec"]["unschedulable"] = json!(true);
    });
    cordoned.expect("a cordoned node");
    let labels = json!({"k8s-app": "clustermesh-apiserver"});
    let scaled = json!({
        "metadata": {
            "name": "clustermesh-apiserver", "namespace": "kube-system", "labels": labels,
            "annotations": {"meshproof.dev/replicas": "2"},
        },
        "spec": {
            "replicas": 0, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "etcd", "image": "e"}]}},
        },
    });
    cluster.store.create(&DEPLOYMENTS, scaled).expect("a Deployment");

    let contexts = world.connect().await.expect("connects");
    let cleaned = clean(&contexts, Live::Spare, None, &ProgressSink::silent())
        .await
        .expect("cleans");
    assert_eq!(
        cleaned[0].to_string(),
        "infra: uncordoned Node infra-2, scaled Deployment kube-system/clustermesh-apiserver back to 2 replicas"
    );
    let node = cluster.store.get(&NODES, None, "infra-2").expect("there");
    assert!(node["spec"]["unschedulable"].is_null(), "{:?}", node.to_value());
    let name = "clustermesh-apiserver";
    let deployment = cluster
        .store
        .get(&DEPLOYMENTS, Some("kube-system"), name)
        .expect("there");
    assert_eq!(deployment["spec"]["replicas"], 2);
    assert_eq!(
        deployment["metadata"]["annotations"]["meshproof.dev/replicas"],
        json!(null)
    );
}

/// Writes down which nodes it brings back.
#[derive(Default)]
struct Switches(Mutex<Vec<String>>);

#[async_trait]
impl NodePower for Switches {
    async fn cut(&self, _: &ClusterName, _: &NodeName) -> Result<(), String> {
        Err("clean cuts nothing".to_owned())
    }
    async fn restore(&self, cluster: &ClusterName, node: &NodeName) -> Result<(), String> {
        let mut restored = self.0.lock().expect("no panic");
        restored.push(format!("{cluster}/{node}"));
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clean_brings_back_the_nodes_that_a_killed_run_cut_off() {
    let world = World::start(&["infra"]);
    let cluster = world.cluster("infra");
    let annotations = json!({"meshproof.dev/cut-off-by": "run-dead"});
    let away = json!({"metadata": {"name": "infra-9", "annotations": annotations}});
    cluster.store.create(&NODES, away).expect("a node without a kubelet");
    let record = || {
        let node = cluster.store.get(&NODES, None, "infra-9").expect("there");
        node["metadata"]["annotations"]["meshproof.dev/cut-off-by"].clone()
    };
    let contexts = world.connect().await.expect("connects");
    let recorded = Recorded::default();
    let cleaned = clean(&contexts, Live::Spare, None, &recorded.progress()).await;
    assert_eq!(cleaned.expect("cleans")[0].to_string(), "infra: nothing to remove");
    let warned = recorded.all();
    assert!(
        warned.contains("Node infra-9 is still cut off, by run run-dead") && warned.contains("nodePower"),
        "{warned}"
    );
    assert_eq!(record(), "run-dead", "the next one must know it, too");

    let switches = Switches::default();
    let cleaned = clean(&contexts, Live::Spare, Some(&switches), &ProgressSink::silent()).await;
    let line = cleaned.expect("cleans")[0].to_string();
    assert_eq!(line, "infra: brought back Node infra-9");
    assert_eq!(*switches.0.lock().expect("no panic"), ["infra/infra-9"]);
    assert_eq!(record(), json!(null));
}

#[tokio::test(flavor = "multi_thread")]
async fn clean_spares_what_others_put_into_the_namespace() {
    let world = World::start(&["infra"]);
    abandon(&world).await;
    let store = &world.cluster("infra").store;
    let service = json!({"metadata": {"name": "theirs", "namespace": "meshproof"}, "spec": {"ports": [{"port": 80}]}});
    store.create(&SERVICES, service).expect("a service of somebody else");
    let contexts = world.connect().await.expect("connects");
    let recorded = Recorded::default();
    let cleaned = clean(&contexts, Live::Spare, None, &recorded.progress())
        .await
        .expect("cleans");
    let removed = &cleaned[0].removed;
    assert!(removed.contains(&"Service meshproof/server".to_owned()), "{removed:?}");
    assert!(!removed.contains(&"Namespace meshproof".to_owned()), "{removed:?}");
    assert!(removed.contains(&"Namespace meshproof-node".to_owned()), "{removed:?}");
    assert!(store.find(&SERVICES, Some("meshproof"), "theirs").is_some());
    assert!(recorded.all().contains("Service theirs"), "{}", recorded.all());
}
