//! CiliumNodes that are none, or share what is one node's, and agents that know others.

use super::{
    expect,
    recorded::{object, told, world},
};
use crate::state::nodes::Nodes;
use meshproof_contract::CiliumQuery;
use serde_json::json;

#[tokio::test(start_paused = true)]
async fn a_ghost_with_a_living_nodes_address_is_red_and_named() {
    let mut ghost = object("infra", "CiliumNode", "infra-2");
    ghost["metadata"]["name"] = json!("infra-2-old");
    let text = expect(world().object("infra", ghost.clone()), &Nodes, "fail").await;
    assert!(
        text.contains("CiliumNode infra-2-old of infra") && text.contains("no Node has this name"),
        "{text}"
    );
    assert!(
        text.contains("address 10.25.12.12") && text.contains("WireGuard key "),
        "{text}"
    );
    assert!(text.contains("infra-2 of infra and infra-2-old of infra"), "{text}");
    assert!(
        text.contains("all 2 agents of infra"),
        "the agents do not list it: {text}"
    );
    ghost["metadata"]["annotations"] = json!({"cilium.io/do-not-gc": "true"});
    ghost["spec"] = json!({"addresses": [{"type": "InternalIP", "ip": "10.25.12.99"}]});
    let listed = told(|_, query, list| {
        if query == CiliumQuery::Nodes {
            list.as_array_mut()
                .expect("a list")
                .push(json!({"name": "infra/infra-2-old"}));
        }
    });
    let text = expect(listed.object("infra", ghost), &Nodes, "pass").await;
    assert!(
        text.contains("left out 1: CiliumNodes that their operators keep"),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn what_two_nodes_of_different_clusters_share_is_red() {
    let key = object("apps", "CiliumNode", "apps-1")["metadata"]["annotations"].clone();
    let mut node = object("infra", "CiliumNode", "infra-1");
    node["metadata"]["annotations"] = key;
    let shared = world()
        .without_object("infra", "CiliumNode", "infra-1")
        .object("infra", node);
    let text = expect(shared, &Nodes, "fail").await;
    assert!(
        text.contains("WireGuard key") && text.contains("apps-1 of apps and infra-1 of infra"),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_not_ready_or_has_no_ciliumnode_is_red() {
    let condition = json!({
        "type": "Ready", "status": "Unknown", "message": "Kubelet stopped posting node status.",
        "lastTransitionTime": "2026-11-30T14:18:31Z",
    });
    let node = json!({"kind": "Node", "metadata": {"name": "infra-2"}, "status": {"conditions": [condition]}});
    let silent = world().without_object("infra", "Node", "infra-2").object("infra", node);
    let text = expect(silent, &Nodes, "fail").await;
    assert!(
        text.contains("CiliumNode infra-2 of infra") && text.contains("since 2026-11-30T14:18:31Z"),
        "{text}"
    );
    let bare = world().without_object("infra", "CiliumNode", "infra-2");
    let text = expect(bare, &Nodes, "fail").await;
    assert!(
        text.contains("Node infra-2 of infra") && text.contains("no agent has ever run there"),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_lacks_or_keeps_a_node_is_red() {
    let other = told(|node, query, list| {
        if node == "infra-1" && query == CiliumQuery::Nodes {
            let nodes = list.as_array_mut().expect("a list");
            nodes.retain(|node| node["name"] != "apps/apps-2");
            nodes.push(json!({"name": "apps/apps-9"}));
        }
    });
    let text = expect(other, &Nodes, "fail").await;
    assert!(
        text.contains("node apps/apps-2, agent on infra-1") && text.contains("observed missing"),
        "{text}"
    );
    assert!(
        text.contains("node apps/apps-9, agent on infra-1") && text.contains("still listed"),
        "{text}"
    );
    let silent = told(|_, query, list| {
        if query == CiliumQuery::Nodes {
            *list = json!([]);
        }
    });
    expect(silent, &Nodes, "inconclusive").await;
}

#[tokio::test(start_paused = true)]
async fn an_address_that_is_not_the_nodes_is_red() {
    let mut node = object("infra", "CiliumNode", "infra-1");
    node["spec"]["addresses"][0]["ip"] = json!("10.25.12.99");
    let changed = world()
        .without_object("infra", "CiliumNode", "infra-1")
        .object("infra", node);
    let text = expect(changed, &Nodes, "fail").await;
    assert!(
        text.contains("CiliumNode infra-1 of infra") && text.contains("observed InternalIP 10.25.12.99"),
        "{text}"
    );
    let known = told(|node, query, list| {
        if node == "infra-2" && query == CiliumQuery::Nodes {
            let all = list.as_array_mut().expect("a list");
            let other = all.iter_mut().find(|one| one["name"] == "apps/apps-1").expect("listed");
            other["primary-address"]["ipv4"]["ip"] = json!("10.25.12.98");
        }
    });
    let text = expect(known, &Nodes, "fail").await;
    assert!(
        text.contains("node apps/apps-1, agent on infra-2") && text.contains("observed address 10.25.12.98"),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn ranges_of_pods_that_overlap_are_red() {
    let mut node = object("infra", "CiliumNode", "infra-1");
    node["spec"]["ipam"]["podCIDRs"] = json!(["10.244.0.0/16"]);
    let changed = world()
        .without_object("infra", "CiliumNode", "infra-1")
        .object("infra", node);
    let text = expect(changed, &Nodes, "fail").await;
    assert!(
        text.contains("has 10.244.2.0/24") || text.contains("has 10.244.0.0/16"),
        "{text}"
    );
}
