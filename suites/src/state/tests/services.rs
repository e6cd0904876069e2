//! Agents that have other backends than the EndpointSlices, in their lists or in the data path.

use super::{
    expect,
    recorded::{object, slice_of, told, world},
};
use crate::{state::services::Services, testing::Fake};
use meshproof_contract::CiliumQuery;
use serde_json::{Value, json};

/// The cluster IP of the global Service `demo/echo` of infra.
const ECHO: &str = "10.96.160.24:80/TCP";
const DEAD: &str = "10.244.2.99:8080";

/// Changes the data path's map on one node.
fn map(on: &'static str, change: impl Fn(&mut Value) + Send + Sync + 'static) -> Fake {
    told(move |node, query, output| {
        if node == on && query == CiliumQuery::BalancerMap {
            change(output);
        }
    })
}

/// Takes away everything that begins so from what the agents of infra have of services.
fn without(prefix: &'static str) -> Fake {
    told(move |node, query, output| match query {
        CiliumQuery::BalancerMap if node.starts_with("infra") => {
            let slots = output.as_object_mut().expect("an object");
            slots.retain(|key, texts| {
                !(key.starts_with(ECHO) && texts[0].as_str().is_some_and(|text| text.starts_with(prefix)))
            });
        }
        CiliumQuery::Services if node.starts_with("infra") => {
            for service in output.as_array_mut().expect("a list") {
                let realized = &mut service["status"]["realized"];
                if realized["flags"]["name"] == "echo" {
                    let backends = realized["backend-addresses"].as_array_mut().expect("backends");
                    backends.retain(|one| !one["ip"].as_str().is_some_and(|ip| ip.starts_with(prefix)));
                }
            }
        }
        _ => {}
    })
}

/// The Service `demo/echo` of a cluster with other annotations.
fn annotated(world: Fake, cluster: &str, annotations: Value) -> Fake {
    let mut service = object(cluster, "Service", "echo");
    service["metadata"]["annotations"] = annotations;
    world
        .without_object(cluster, "Service", "echo")
        .object(cluster, service)
}

#[tokio::test(start_paused = true)]
async fn a_dead_backend_that_one_data_path_keeps_is_red() {
    let dead = map("infra-2", |output| {
        output[format!("{ECHO} (5)")] = json!([format!("{DEAD}/TCP (9) (5)")])
    });
    let text = expect(dead, &Services, "fail").await;
    assert!(
        text.contains("Service demo/echo port 80/TCP (http), agent on infra-2"),
        "{text}"
    );
    assert!(text.contains(&format!("keeps {DEAD}, which none has")), "{text}");
    assert!(
        text.contains("exec cilium-infra-2 -c cilium-agent -- cilium-dbg bpf lb list"),
        "{text}"
    );
    // On the node's own address of a NodePort.
    let dead = map("infra-1", |output| {
        output["10.25.12.11:30080/TCP (3)"] = json!([format!("{DEAD}/TCP (11) (3)")]);
    });
    let text = expect(dead, &Services, "fail").await;
    assert!(text.contains("Service demo/echo-local"), "{text}");
    let broken = map("infra-1", |output| {
        output[format!("{ECHO} (2)")] = json!(["backend 17 not found"])
    });
    let text = expect(broken, &Services, "fail").await;
    assert!(
        text.contains("1 of its slots lead nowhere") && text.contains("10.244.2.190:8080"),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_one_data_path_lacks_is_red() {
    for slot in 1..=4 {
        let lacking = map("infra-1", move |output| {
            drop(
                output
                    .as_object_mut()
                    .expect("an object")
                    .remove(&format!("{ECHO} ({slot})")),
            );
        });
        let text = expect(lacking, &Services, "fail").await;
        assert!(
            text.contains("agent on infra-1") && text.contains("observed missing"),
            "{text}"
        );
        assert_eq!(text.contains("of another cluster"), slot > 2, "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_global_service_merged_in_one_direction_only_is_red() {
    let text = expect(without("10.246."), &Services, "fail").await;
    assert!(
        text.contains("all 2 agents of infra") && text.contains("of another cluster"),
        "{text}"
    );
    // It is right when one side does not share, or this one is not global.
    for (cluster, annotations) in [
        (
            "apps",
            json!({"service.cilium.io/global": "true", "service.cilium.io/shared": "false"}),
        ),
        ("infra", json!({"io.cilium/global-service": "false"})),
    ] {
        expect(
            annotated(without("10.246."), cluster, annotations.clone()),
            &Services,
            "pass",
        )
        .await;
        let merged = expect(annotated(world(), cluster, annotations), &Services, "fail").await;
        assert!(merged.contains("keeps 10.246."), "{merged}");
    }
    let legacy = json!({"io.cilium/global-service": "true"});
    expect(annotated(world(), "apps", legacy), &Services, "pass").await;
}

#[tokio::test(start_paused = true)]
async fn affinity_needs_the_preferred_side_only() {
    let prefers = |side: &str| json!({"service.cilium.io/global": "true", "service.cilium.io/affinity": side});
    for (side, other) in [("local", "10.246."), ("remote", "10.244.")] {
        expect(annotated(world(), "infra", prefers(side)), &Services, "pass").await;
        expect(annotated(without(other), "infra", prefers(side)), &Services, "pass").await;
    }
    let text = expect(
        annotated(without("10.244."), "infra", prefers("local")),
        &Services,
        "fail",
    )
    .await;
    assert!(text.contains("10.244.1.245:8080"), "{text}");
    let text = expect(
        annotated(without("10.246."), "infra", prefers("none")),
        &Services,
        "fail",
    )
    .await;
    assert!(text.contains("cilium/issues/46623"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn two_ports_on_one_target_are_told_as_the_known_fault() {
    let second = |world: Fake, cluster: &str| {
        let (mut service, mut slice) = (object(cluster, "Service", "echo"), slice_of(cluster, "echo"));
        let port = json!({"name": "alt", "port": 88, "targetPort": 8080, "protocol": "TCP"});
        service["spec"]["ports"].as_array_mut().expect("ports").push(port);
        slice["metadata"]["name"] = json!("echo-alt");
        slice["ports"] = json!([{"name": "alt", "port": 8080, "protocol": "TCP"}]);
        let world = world
            .without_object(cluster, "Service", "echo")
            .object(cluster, service);
        world.object(cluster, slice)
    };
    let only_one = told(|node, query, output| match query {
        CiliumQuery::Services if node.starts_with("infra") => {
            let services = output.as_array_mut().expect("a list");
            let is_echo = |one: &&Value| one["status"]["realized"]["flags"]["name"] == "echo";
            let mut alt = services.iter().find(is_echo).expect("recorded").clone();
            let realized = &mut alt["status"]["realized"];
            realized["frontend-address"]["port"] = json!(88);
            let backends = realized["backend-addresses"].as_array_mut().expect("backends");
            backends.retain(|one| one["ip"].as_str().is_some_and(|ip| ip.starts_with("10.244.")));
            services.push(alt);
        }
        CiliumQuery::BalancerMap if node.starts_with("infra") => {
            for slot in 0..=2 {
                output[format!("10.96.160.24:88/TCP ({slot})")] = output[format!("{ECHO} ({slot})")].clone();
            }
        }
        _ => {}
    });
    let world = second(second(only_one, "infra"), "apps");
    let text = expect(world, &Services, "fail").await;
    assert!(
        text.contains("port 88/TCP (alt)") && text.contains("of another cluster"),
        "{text}"
    );
    assert!(text.contains("cilium/issues/45109"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn endpoints_that_terminate_may_be_there_and_unready_ones_may_not() {
    let all = |world: Fake, ready: bool, serving: bool| {
        let mut slice = slice_of("apps", "echo");
        let name = slice["metadata"]["name"].as_str().expect("a name").to_owned();
        for endpoint in slice["endpoints"].as_array_mut().expect("endpoints") {
            endpoint["conditions"] = json!({"ready": ready, "serving": serving, "terminating": !ready});
        }
        world
            .without_object("apps", "EndpointSlice", &name)
            .object("apps", slice)
    };
    expect(all(world(), false, true), &Services, "pass").await;
    expect(all(without("10.246."), false, true), &Services, "pass").await;
    expect(all(without("10.246."), false, false), &Services, "pass").await;
    let text = expect(all(world(), false, false), &Services, "fail").await;
    assert!(text.contains("keeps 10.246."), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_frontend_of_no_service_and_a_service_without_frontend_are_red() {
    let kept = world().without_object("infra", "Service", "nobackends");
    let text = expect(kept, &Services, "fail").await;
    assert!(
        text.contains("Service demo/nobackends") && text.contains("no such Service"),
        "{text}"
    );
    let lacking = told(|node, query, output| {
        if node == "infra-1" && query == CiliumQuery::Services {
            let services = output.as_array_mut().expect("a list");
            services.retain(|one| one["status"]["realized"]["flags"]["name"] != "nobackends");
        }
    });
    let text = expect(lacking, &Services, "fail").await;
    assert!(
        text.contains("Service demo/nobackends port 80/TCP") && text.contains("not in the agent's list"),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn services_of_others_and_of_no_address_are_left_alone() {
    let service = |name: &str, labels: Value, spec: Value| {
        let metadata = json!({"namespace": "demo", "name": name, "labels": labels});
        json!({"kind": "Service", "metadata": metadata, "spec": spec})
    };
    let ports = json!([{"port": 80}]);
    let others = [
        service("headless", json!({}), json!({"clusterIP": "None", "ports": ports})),
        service(
            "external",
            json!({}),
            json!({"type": "ExternalName", "externalName": "example.org"}),
        ),
        service(
            "other-proxy",
            json!({"service.kubernetes.io/service-proxy-name": "other"}),
            json!({"clusterIP": "10.96.9.9", "ports": ports}),
        ),
        service(
            "sctp",
            json!({}),
            json!({"clusterIP": "10.96.9.10", "ports": [{"port": 80, "protocol": "SCTP"}]}),
        ),
    ];
    let world = others
        .into_iter()
        .fold(world(), |world, one| world.object("infra", one));
    expect(world, &Services, "pass").await;
}

#[tokio::test(start_paused = true)]
async fn a_state_other_than_active_is_red() {
    let quarantined = told(|node, query, output| {
        if node == "infra-2" && query == CiliumQuery::Services {
            let services = output.as_array_mut().expect("a list");
            let is_echo = |one: &&mut Value| one["status"]["realized"]["flags"]["name"] == "echo";
            let echo = services.iter_mut().find(is_echo).expect("recorded");
            echo["status"]["realized"]["backend-addresses"][0]["state"] = json!("quarantined");
        }
    });
    let text = expect(quarantined, &Services, "fail").await;
    assert!(text.contains("is quarantined"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_inconclusive() {
    for kind in ["Service", "EndpointSlice"] {
        expect(world().list_refused(kind), &Services, "inconclusive").await;
    }
    expect(map("infra-2", |output| *output = json!({})), &Services, "inconclusive").await;
    expect(world().cilium_error_on("infra-2"), &Services, "inconclusive").await;
}

#[tokio::test(start_paused = true)]
async fn a_frontend_without_its_first_slot_is_red() {
    let gone = map("infra-2", |output| {
        drop(
            output
                .as_object_mut()
                .expect("an object")
                .remove(&format!("{ECHO} (0)")),
        )
    });
    let text = expect(gone, &Services, "fail").await;
    assert!(
        text.contains("agent on infra-2") && text.contains("10.96.160.24:80 has no slot 0"),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_global_in_one_cluster_only_is_red_there() {
    let local = annotated(without("10.246."), "apps", json!({}));
    let text = expect(local, &Services, "fail").await;
    assert!(
        text.contains("Service demo/echo |") && text.contains("global in infra, not in apps"),
        "{text}"
    );
    assert!(!text.contains("keeps") && !text.contains("missing"), "{text}");
}
