//! Pods without CiliumEndpoint, and ipcaches that differ from them.

use super::{
    expect,
    recorded::{full_name, object, told, world},
};
use crate::state::{addresses::Addresses, endpoints::Endpoints};
use meshproof_contract::CiliumQuery;
use serde_json::{Value, json};

/// A pod of apps, as both clusters know it.
const REMOTE: &str = "10.246.1.50/32";
/// A pod of infra.
const LOCAL: &str = "10.244.1.60/32";
const ENTRY: &str = "identity=139443 encryptkey=255 tunnelendpoint=10.25.12.14 flags=hastunnel";

/// Changes the ipcache on one node.
fn ipcache(on: &'static str, change: impl Fn(&mut Value) + Send + Sync + 'static) -> crate::testing::Fake {
    told(move |node, query, output| {
        if node == on && query == CiliumQuery::Ipcache {
            change(output);
        }
    })
}

#[tokio::test(start_paused = true)]
async fn a_running_pod_without_its_ciliumendpoint_is_red() {
    let name = full_name("infra", "CiliumEndpoint", "fqdn-hdvwh");
    let gone = world().without_object("infra", "CiliumEndpoint", &name);
    let text = expect(gone, &Endpoints, "fail").await;
    assert!(text.contains("pod demo/fqdn-hdvwh on infra-1"), "{text}");
    assert!(
        text.contains("it has no CiliumEndpoint") && text.contains("get pods,ciliumendpoints -A"),
        "{text}"
    );
    for (change, problem) in [
        (json!({"identity": null}), "has no identity"),
        (
            json!({"networking": {"addressing": [{"ipv4": "10.244.1.61"}]}}),
            "its CiliumEndpoint has 10.244.1.61",
        ),
    ] {
        let mut endpoint = object("infra", "CiliumEndpoint", "fqdn-hdvwh");
        for (key, value) in change.as_object().expect("an object") {
            endpoint["status"][key] = value.clone();
        }
        let changed = world()
            .without_object("infra", "CiliumEndpoint", &name)
            .object("infra", endpoint);
        let text = expect(changed, &Endpoints, "fail").await;
        assert!(text.contains(problem), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn pods_that_do_not_run_or_are_no_endpoints_need_none() {
    let pod = |name: &str, spec: Value, status: Value| {
        json!({
            "kind": "Pod", "metadata": {"namespace": "demo", "name": name, "uid": name}, "spec": spec, "status": status,
        })
    };
    let address = json!({"phase": "Running", "podIP": "10.244.1.99"});
    let mut leaving = pod("leaving", json!({"nodeName": "infra-1"}), address.clone());
    leaving["metadata"]["deletionTimestamp"] = json!("2026-12-01T00:00:00Z");
    let others = [
        pod(
            "job",
            json!({"nodeName": "infra-1"}),
            json!({"phase": "Succeeded", "podIP": "10.244.1.98"}),
        ),
        pod("waits", json!({}), json!({"phase": "Pending"})),
        pod(
            "host",
            json!({"nodeName": "infra-1", "hostNetwork": true}),
            address.clone(),
        ),
        pod("virtual", json!({"nodeName": "liqo-apps"}), address),
        leaving,
    ];
    let world = others
        .into_iter()
        .fold(world(), |world, pod| world.object("infra", pod));
    let text = expect(world, &Endpoints, "pass").await;
    assert!(
        text.contains("left out 1: pods on nodes that are not Cilium's"),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_one_agent_lacks_or_has_wrong_is_red() {
    for address in [REMOTE, LOCAL] {
        let missing = ipcache("infra-2", |output| {
            drop(output.as_object_mut().expect("an object").remove(address))
        });
        let text = expect(missing, &Addresses, "fail").await;
        let pod = address.trim_end_matches("/32");
        assert!(text.contains(&format!("finding: {pod}, pod demo/fqdn-")), "{text}");
        assert!(
            text.contains("agent on infra-2") && text.contains("taken for the world"),
            "{text}"
        );
        assert!(
            text.contains("exec cilium-infra-2 -c cilium-agent -- cilium-dbg bpf ipcache list"),
            "{text}"
        );
    }
    let wrong = ipcache("infra-1", |output| output[REMOTE] = json!([ENTRY]));
    let text = expect(wrong, &Addresses, "fail").await;
    assert!(
        text.contains("expected identity 150844") && text.contains("observed identity 139443"),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_is_left_over_is_red_and_what_is_no_pods_is_not() {
    let left = ipcache("infra-1", |output| output["10.246.1.77/32"] = json!([ENTRY]));
    let text = expect(left, &Addresses, "fail").await;
    assert!(
        text.contains("10.246.1.77 of apps, agent on infra-1") && text.contains("in 3 looks"),
        "{text}"
    );
    let not_pods = ipcache("infra-1", |output| {
        // Of a CIDR, of a node, and out of the pods' ranges.
        output["10.246.1.78/32"] = json!(["identity=16777230 encryptkey=0 tunnelendpoint=0.0.0.0 flags=<none>"]);
        output["10.246.1.79/32"] = json!(["identity=8 encryptkey=0 tunnelendpoint=0.0.0.0 flags=<none>"]);
        output["192.0.2.7/32"] = json!([ENTRY]);
    });
    expect(not_pods, &Addresses, "pass").await;
    // A CiliumEndpoint without its pod goes with the operator's next round.
    let mut endpoint = object("apps", "CiliumEndpoint", "fqdn");
    endpoint["metadata"]["name"] = json!("departed");
    endpoint["status"]["networking"]["addressing"] = json!([{"ipv4": "10.246.1.77"}]);
    let owned = ipcache("infra-1", |output| output["10.246.1.77/32"] = json!([ENTRY]));
    expect(owned.object("apps", endpoint), &Addresses, "pass").await;
}

#[tokio::test(start_paused = true)]
async fn an_identity_that_an_agent_does_not_know_or_takes_for_another_is_red() {
    for (known, problem) in [
        (json!(null), "unknown: no policy matches it"),
        (json!({"id": 150_844, "labels": ["k8s:app=other"]}), "other labels"),
    ] {
        let world = told(move |node, query, output| {
            if node == "infra-1" && query == CiliumQuery::Identities {
                let all = output.as_array_mut().expect("a list");
                all.retain(|identity| identity["id"] != 150_844);
                all.extend((!known.is_null()).then(|| known.clone()));
            }
        });
        let text = expect(world, &Addresses, "fail").await;
        assert!(
            text.contains("identity 150844 of pods of namespace demo of apps, agent on infra-1"),
            "{text}"
        );
        assert!(
            text.contains(problem) && text.contains("cilium-dbg identity list"),
            "{text}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn hundreds_of_the_same_kind_are_not_as_many_findings() {
    let empty = ipcache("infra-1", |output| {
        *output = json!({"0.0.0.0/0": ["identity=2 encryptkey=0 tunnelendpoint=0.0.0.0 flags=<none>"]});
    });
    let text = expect(empty, &Addresses, "fail").await;
    assert_eq!(text.matches("finding: ").count(), 21, "{text}");
    assert!(text.contains("more; the commands show all of them"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn what_has_settled_when_it_is_read_again_is_left_out_and_counted() {
    let start = tokio::time::Instant::now();
    let late = ipcache("infra-1", move |output| {
        if start.elapsed().as_secs() < 5 {
            drop(output.as_object_mut().expect("an object").remove(REMOTE));
        }
    });
    let text = expect(late, &Addresses, "pass").await;
    assert!(
        text.contains("left out 1 difference: gone, or their objects changed"),
        "{text}"
    );
    // A pod that came and went between the looks leaves its address behind once more.
    let start = tokio::time::Instant::now();
    let lingers = ipcache("infra-1", move |output| {
        if start.elapsed().as_secs() < 15 {
            output["10.246.1.77/32"] = json!([ENTRY]);
        }
    });
    expect(lingers, &Addresses, "pass").await;
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_inconclusive() {
    for nonsense in [json!(null), json!({})] {
        let world = ipcache("infra-2", move |output| *output = nonsense.clone());
        let text = expect(world, &Addresses, "inconclusive").await;
        assert!(text.contains("infra-2"), "{text}");
    }
    for kind in ["Pod", "CiliumEndpoint"] {
        expect(world().list_refused(kind), &Endpoints, "inconclusive").await;
        expect(world().list_refused(kind), &Addresses, "inconclusive").await;
    }
    expect(world().cilium_refused(), &Addresses, "inconclusive").await;
    expect(world().cilium_error_on("infra-1"), &Addresses, "inconclusive").await;
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_leads_to_another_node_is_red() {
    let misled = ipcache("infra-2", |output| {
        let text = output[REMOTE][0]
            .as_str()
            .expect("a text")
            .replace("10.25.12.14", "10.25.12.15");
        output[REMOTE] = json!([text]);
    });
    let text = expect(misled, &Addresses, "fail").await;
    assert!(
        text.contains("expected tunnel endpoint of node apps-1 | observed tunnel endpoint 10.25.12.15"),
        "{text}"
    );
    let without = || {
        ipcache("infra-2", |output| {
            let text = output[REMOTE][0]
                .as_str()
                .expect("a text")
                .replace("10.25.12.14", "0.0.0.0");
            output[REMOTE] = json!([text]);
        })
    };
    // Native routing needs none.
    expect(without(), &Addresses, "pass").await;
    let tunnel = without().facts(|facts| {
        let cilium = facts.clusters[0].cilium.as_mut().expect("Cilium");
        cilium.config.insert("routing-mode".to_owned(), "tunnel".to_owned());
    });
    let text = expect(tunnel, &Addresses, "fail").await;
    assert!(text.contains("no tunnel endpoint"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_taken_for_something_else_is_red() {
    let unknown = ipcache("infra-1", |output| {
        drop(output.as_object_mut().expect("an object").remove("10.25.12.15/32"))
    });
    let text = expect(unknown, &Addresses, "fail").await;
    assert!(
        text.contains("10.25.12.15, address of node apps-2 of apps, agent on infra-1"),
        "{text}"
    );
    let world = ipcache("infra-1", |output| {
        output["10.244.2.12/32"] = json!(["identity=2 encryptkey=255 tunnelendpoint=10.25.12.12 flags=hastunnel"]);
    });
    let text = expect(world, &Addresses, "fail").await;
    assert!(
        text.contains("health endpoint of node infra-2") && text.contains("expected identity 4 (health)"),
        "{text}"
    );
    let own = ipcache("infra-1", |output| {
        output["10.25.12.11/32"] = json!(["identity=6 encryptkey=0 tunnelendpoint=0.0.0.0 flags=<none>"]);
    });
    expect(own, &Addresses, "fail").await;
}

#[tokio::test(start_paused = true)]
async fn two_pods_with_one_address_are_red_and_an_endpoint_on_another_node() {
    let mut twin = object("infra", "Pod", "fqdn-hdvwh");
    let mut endpoint = object("infra", "CiliumEndpoint", "fqdn-hdvwh");
    twin["metadata"]["name"] = json!("twin");
    twin["metadata"]["uid"] = json!("twin");
    endpoint["metadata"]["name"] = json!("twin");
    let text = expect(
        world().object("infra", twin).object("infra", endpoint),
        &Endpoints,
        "fail",
    )
    .await;
    assert!(text.contains("pod demo/twin has its address, too"), "{text}");
    let name = full_name("infra", "CiliumEndpoint", "fqdn-hdvwh");
    let mut elsewhere = object("infra", "CiliumEndpoint", "fqdn-hdvwh");
    elsewhere["status"]["networking"]["node"] = json!("10.25.12.12");
    let moved = world()
        .without_object("infra", "CiliumEndpoint", &name)
        .object("infra", elsewhere);
    let text = expect(moved, &Endpoints, "fail").await;
    assert!(
        text.contains("places it on the node with address 10.25.12.12"),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_one_agent_does_not_encrypt_for_is_red() {
    let plain = ipcache("infra-2", |output| {
        let text = output[REMOTE][0]
            .as_str()
            .expect("a text")
            .replace("encryptkey=255", "encryptkey=0");
        output[REMOTE] = json!([text]);
    });
    let text = expect(plain, &Addresses, "fail").await;
    assert!(
        text.contains("expected encryption key 255, as its CiliumEndpoint has | observed encryption key 0"),
        "{text}"
    );
}
