//! Each thing that somebody may break, and who says so.

use super::world::{ENDED, component, healthy, lease};
use crate::{
    components::{
        certificates::Certificates, containers::OwnContainers, definitions::Definitions, extensions::Extensions,
        hubble_relay::HubbleRelay, kube_proxy::KubeProxy, leases::Leases, namespaces::Namespaces, nodes::Nodes,
        other_meshes::OtherMeshes, restarts::Restarts, versions::Versions, workloads::Workloads,
    },
    testing::{Fake, MISSION, infra},
};
use meshproof_contract::{Check, CiliumQuery};
use serde_json::{Value, json};

fn world() -> Fake {
    healthy(MISSION)
}

/// The world of infra with an object changed by a merge patch.
fn changed(kind: &str, name: &str, change: &Value) -> Fake {
    world().patched("infra", kind, name, change)
}

async fn red(check: &dyn Check, world: Fake, words: &[&str]) {
    let said = world.expect(check, infra(), "fail").await;
    for words in words {
        assert!(said.contains(words), "{words}: {said}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_scaled_to_zero_or_gone_is_red_without_any_claim() {
    let none = json!({"spec": {"replicas": 0}, "status": {"readyReplicas": null},
        "metadata": {"managedFields": [{"manager": "kubectl-scale", "time": "2026-11-30T10:00:00Z",
            "fieldsV1": {"f:spec": {"f:replicas": {}}}}]}});
    for name in ["cilium-operator", "hubble-relay", "resolver"] {
        let said = [
            &format!("Deployment kube-system/{name}"),
            "scaled to 0 by kubectl-scale at 2026-11-30",
        ];
        red(&Workloads, changed("Deployment", name, &none), &said).await;
    }
    let gone = world().without_object("infra", "Deployment", "cilium-operator");
    red(
        &Workloads,
        gone,
        &["Cilium operator of infra", "ConfigMap cilium-config is there"],
    )
    .await;
    let gone = world().without_object("infra", "Deployment", "hubble-relay");
    red(
        &Workloads,
        gone,
        &["Hubble relay of infra", "Service kube-system/hubble-relay leads to it"],
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn too_few_pods_and_a_node_without_an_agent_are_named() {
    let few = json!({"status": {"readyReplicas": 1}});
    let pod = json!({"spec": {"nodeName": null}, "status": {"conditions": [
        {"type": "Ready", "status": "False"},
        {"type": "PodScheduled", "status": "False", "message": "0/3 nodes are available"}]}});
    let pending = changed("Deployment", "resolver", &few).patched("infra", "Pod", "resolver-infra-2", &pod);
    red(
        &Workloads,
        pending,
        &[
            "cluster DNS",
            "1 are ready",
            "pod resolver-infra-2: 0/3 nodes are available",
        ],
    )
    .await;
    let away = world().without_object("infra", "Pod", "cilium-infra-2");
    red(&Workloads, away, &["Cilium agent on infra-2"]).await;
    let late = json!({"status": {"updatedReplicas": 1, "conditions": [
        {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "timed out"}]}});
    red(
        &Workloads,
        changed("Deployment", "resolver", &late),
        &["1 are; the rollout", "ProgressDeadlineExceeded"],
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_is_as_it_should_be_at_the_next_look_is_no_finding() {
    let few = changed("Deployment", "resolver", &json!({"status": {"readyReplicas": 1}}));
    let whole = json!({"status": {"readyReplicas": 2}});
    let said = few
        .patched_later("infra", "Deployment", "resolver", &whole)
        .expect(&Workloads, infra(), "pass")
        .await;
    assert!(said.contains("left out 1 difference"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn restarts_are_red_and_old_ones_are_not() {
    let status = |restarts: u32, finished: String, state: Value| {
        let ended = json!({"terminated": {"exitCode": 1, "reason": "Error", "finishedAt": finished}});
        json!({"status": {"containerStatuses": [{"name": "cilium-operator", "restartCount": restarts, "state": state,
            "lastState": ended}]}})
    };
    let (running, now) = (json!({"running": {}}), jiff::Timestamp::now().to_string());
    let operator = |change: Value| changed("Pod", "cilium-operator-infra-1", &change);
    let old = operator(status(7, "2026-11-20T09:14:24Z".to_owned(), running.clone()));
    old.expect(&Restarts, infra(), "pass").await;
    red(
        &Restarts,
        operator(status(3, now.clone(), running.clone())),
        &["pod kube-system/cilium-operator-infra-1", "3 restarts"],
    )
    .await;
    let later = operator(status(7, "2026-11-20T09:14:24Z".to_owned(), running.clone()));
    let eighth = status(8, "2026-11-20T09:14:25Z".to_owned(), running.clone());
    let later = later.patched_later("infra", "Pod", "cilium-operator-infra-1", &eighth);
    red(&Restarts, later, &["restarted during the run (8 in all)"]).await;
    let waiting = json!({"waiting": {"reason": "CrashLoopBackOff"}});
    red(
        &Restarts,
        operator(status(1, now, waiting)),
        &["CrashLoopBackOff after 1 restarts", "exit code 1"],
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn another_image_on_one_node_and_another_release_are_red() {
    let other = json!({"spec": {"containers": [{"name": "cilium", "image": "quay.io/cilium/cilium:v1.18.2"}]}});
    let said = ["pod cilium-infra-2 on infra-2", "image quay.io/cilium/cilium:v1.18.2"];
    red(&Versions, changed("Pod", "cilium-infra-2", &other), &said).await;
    let mut world = world().without_object("infra", "Deployment", "cilium-operator");
    let image = "quay.io/cilium/operator-generic:v1.17.9";
    for object in component(
        "Deployment",
        "cilium-operator",
        &json!({"io.cilium/app": "operator"}),
        image,
        &[],
    ) {
        world = world.object("infra", object);
    }
    red(
        &Versions,
        world,
        &["v1.18.3, as the other parts of Cilium", "observed v1.17.9"],
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_nobody_renews_or_a_stranger_holds_is_red() {
    let world = || world().without_object("infra", "Lease", "cilium-operator-resource-lock");
    red(&Leases, world(), &["no operator has ever led"]).await;
    // It is not the one that the world renews.
    let mut left = lease("infra-1");
    left["metadata"]["namespace"] = json!("kube-system");
    red(
        &Leases,
        world().object("infra", left).frozen(),
        &["has not renewed it since 2026-11-21"],
    )
    .await;
    let stranger = world()
        .object("infra", lease("elsewhere"))
        .renewing("infra", "cilium-operator-resource-lock");
    red(&Leases, stranger, &["elsewhere-c5k2v8xwqz holds and renews it"]).await;
}

#[tokio::test(start_paused = true)]
async fn nodes_that_are_unfit_are_red() {
    let node = |change: Value| changed("Node", "infra-2", &change);
    let conditions = json!([{"type": "Ready", "status": "True"},
        {"type": "DiskPressure", "status": "True", "reason": "KubeletHasDiskPressure"}]);
    red(
        &Nodes,
        node(json!({"status": {"conditions": conditions}})),
        &["node infra-2", "DiskPressure True"],
    )
    .await;
    let info = |kernel: &str, kubelet: &str| {
        node(json!({"status": {"nodeInfo": {"kernelVersion": kernel, "kubeletVersion": kubelet}}}))
    };
    red(
        &Nodes,
        info("5.4.0-200-generic", "v1.36.2"),
        &["kernel 5.4.0-200-generic", "5.10 or later"],
    )
    .await;
    red(
        &Nodes,
        info("6.18.0", "v1.32.9"),
        &["a kubelet of 1.33 to 1.36", "kubelet v1.32.9"],
    )
    .await;
    red(&Nodes, info("6.18.0", "v1.37.0"), &["kubelet v1.37.0"]).await;
    info("4.18.0-553.el8_10.x86_64", "v1.33.0")
        .expect(&Nodes, infra(), "pass")
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_kube_proxy_that_is_left_is_red_and_one_that_is_off_is_not() {
    let labels = json!({"k8s-app": "kube-proxy"});
    let proxy = |nodes: &[String]| {
        component(
            "DaemonSet",
            "kube-proxy",
            &labels,
            "registry.example/kube-proxy:1",
            nodes,
        )
    };
    let with = |nodes: &[String]| {
        proxy(nodes)
            .into_iter()
            .fold(world(), |world, object| world.object("infra", object))
    };
    red(
        &KubeProxy,
        with(&["infra-1".to_owned()]),
        &["DaemonSet kube-system/kube-proxy with 1 pods"],
    )
    .await;
    with(&[]).expect(&KubeProxy, infra(), "pass").await;
}

#[tokio::test(start_paused = true)]
async fn definitions_that_are_missing_or_not_served_are_red() {
    let gone = world().without_object("infra", "CustomResourceDefinition", "ciliumnodes.cilium.io");
    red(
        &Definitions,
        gone,
        &["CustomResourceDefinition ciliumnodes.cilium.io", "there is none"],
    )
    .await;
    let stale = json!({"status": {"storedVersions": ["v2alpha1", "v2"]}});
    let stale = changed("CustomResourceDefinition", "ciliumnodes.cilium.io", &stale);
    red(&Definitions, stale, &["objects may be stored as v2alpha1; served: v2"]).await;
}

#[tokio::test(start_paused = true)]
async fn extensions_without_a_server_are_red() {
    let api = json!({"kind": "APIService", "metadata": {"name": "v1beta1.metrics.k8s.io"},
        "status": {"conditions": [{"type": "Available", "status": "False", "reason": "ServiceNotFound"}]}});
    red(
        &Extensions,
        world().object("infra", api),
        &["v1beta1.metrics.k8s.io", "ServiceNotFound"],
    )
    .await;
    let webhook = |service: &str| {
        let webhooks = json!([{"name": "hook.example", "failurePolicy": "Fail",
            "clientConfig": {"service": {"namespace": "kube-system", "name": service}}}]);
        world().object(
            "infra",
            json!({"kind": "ValidatingWebhookConfiguration", "metadata": {"name": "hook"},
            "webhooks": webhooks}),
        )
    };
    red(
        &Extensions,
        webhook("gone"),
        &["webhook hook.example", "its Service kube-system/gone", "is refused"],
    )
    .await;
    red(
        &Extensions,
        webhook("hubble-relay"),
        &["a ready endpoint of its Service kube-system/hubble-relay"],
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_cannot_end_is_red() {
    let since = |ago: i64| {
        let at = jiff::Timestamp::from_second(jiff::Timestamp::now().as_second() - ago).expect("a time");
        json!({"kind": "Namespace", "metadata": {"name": "old", "deletionTimestamp": at.to_string()}})
    };
    world()
        .object("infra", since(20))
        .expect(&Namespaces, infra(), "pass")
        .await;
    red(
        &Namespaces,
        world().object("infra", since(300)),
        &["namespace old", "Terminating since"],
    )
    .await;
    let mut failed = since(20);
    failed["status"] = json!({"conditions": [{"type": "NamespaceDeletionDiscoveryFailure", "status": "True",
        "message": "metrics.k8s.io/v1beta1: stale"}]});
    red(
        &Namespaces,
        world().object("infra", failed),
        &["metrics.k8s.io/v1beta1"],
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_another_mesh_left_is_red() {
    for object in [
        json!({"kind": "Namespace", "metadata": {"name": "linkerd"}}),
        json!({"kind": "Namespace", "metadata": {"name": "shop", "annotations": {"linkerd.io/inject": "enabled"}}}),
        json!({"kind": "MutatingWebhookConfiguration",
            "metadata": {"name": "linkerd-proxy-injector-webhook-config"}}),
        json!({"kind": "Pod", "metadata": {"namespace": "shop", "name": "cart"},
            "spec": {"containers": [{"name": "cart"}, {"name": "linkerd-proxy"}]}}),
    ] {
        red(&OtherMeshes, world().object("infra", object), &["finding: Linkerd"]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_injected_container_is_red() {
    let containers = json!([{"name": "hubble-relay"}, {"name": "istio-proxy"}]);
    let injected = changed(
        "Pod",
        "hubble-relay-infra-1",
        &json!({"spec": {"containers": containers}}),
    );
    red(
        &OwnContainers,
        injected,
        &["pod kube-system/hubble-relay-infra-1", "beside them istio-proxy"],
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_certificate_that_has_ended_is_red_and_no_permission_is_skipped() {
    let ended = json!({"data": {"tls.crt": ENDED}});
    let said = [
        "Secret kube-system/hubble-server-certs, tls.crt",
        "it ended on 2026-02-01",
    ];
    red(&Certificates, changed("Secret", "hubble-server-certs", &ended), &said).await;
    let broken = json!({"data": {"tls.crt": "bm8gY2VydGlmaWNhdGU="}});
    changed("Secret", "hubble-server-certs", &broken)
        .expect(&Certificates, infra(), "inconclusive")
        .await;
}

/// infra, whose relay says so.
fn relay(said: &'static str) -> Fake {
    world().policies(move |_, query| match query {
        CiliumQuery::RelayStatus { .. } => json!(said),
        _ => Value::Null,
    })
}

#[tokio::test(start_paused = true)]
async fn a_node_that_relay_does_not_reach_is_named() {
    let said = world().expect(&HubbleRelay, infra(), "pass").await;
    assert!(said.contains("flows of 6 of 6 nodes"), "{said}");
    let lost = relay("Connected Nodes: 5/6\nUnavailable Nodes: 1\n  - infra/infra-2\n");
    let words = ["node infra/infra-2", "connected to 5 of 6 nodes"];
    red(&HubbleRelay, lost, &words).await;
    let of_others = relay("Connected Nodes: 5/6\nUnavailable Nodes: 1\n  - apps/apps-1\n");
    let said = of_others.expect(&HubbleRelay, infra(), "pass").await;
    assert!(
        said.contains("no flows of nodes of other clusters: apps/apps-1"),
        "{said}"
    );
    red(
        &HubbleRelay,
        relay("Connected Nodes: 2\n"),
        &["all 3 nodes of the cluster"],
    )
    .await;
    relay("Healthcheck: Ok\n")
        .expect(&HubbleRelay, infra(), "inconclusive")
        .await;
    let none = world().without_object("infra", "Service", "hubble-relay");
    none.expect(&HubbleRelay, infra(), "skipped").await;
    let tls = changed("Service", "hubble-relay", &json!({"spec": {"ports": [{"port": 443}]}}));
    tls.expect(&HubbleRelay, infra(), "skipped").await;
}

#[tokio::test(start_paused = true)]
async fn spire_must_run_where_agents_look_for_the_charts_own() {
    let spire = |address: &'static str| {
        world().facts(move |facts| {
            let found = facts.clusters.iter_mut().find(|one| one.name.as_str() == "infra");
            let cilium = found.and_then(|one| one.cilium.as_mut()).expect("Cilium");
            cilium
                .config
                .insert("mesh-auth-mutual-enabled".to_owned(), "true".to_owned());
            let key = "mesh-auth-spire-server-address".to_owned();
            cilium.config.insert(key, address.to_owned());
        })
    };
    let said = ["SPIRE server of infra", "SPIRE agent of infra", "there is none"];
    red(&Workloads, spire("spire-server.cilium-spire.svc:8081"), &said).await;
    spire("spire.example:8081").expect(&Workloads, infra(), "pass").await;
}
