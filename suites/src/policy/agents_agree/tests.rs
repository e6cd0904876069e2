//! Agents that agree, and each way in which they do not.

use super::AgentsAgree;
use crate::testing::{Fake, infra};
use meshproof_contract::CiliumQuery;
use serde_json::{Value, json};

/// What one agent reports otherwise.
type Change = fn(CiliumQuery, &mut Value);

/// What an agent with one policy reports, as recorded from 1.18.3.
fn output(query: CiliumQuery) -> Value {
    let label =
        |key: &str, value: &str| json!({"key": format!("io.cilium.k8s.policy.{key}"), "value": value, "source": "k8s"});
    let labels = [
        label("derived-from", "CiliumNetworkPolicy"),
        label("name", "echo-allow-client"),
        label("namespace", "demo"),
    ];
    match query {
        CiliumQuery::Policy => {
            let rules = json!([{"endpointSelector": {}, "ingress": [{}], "labels": labels}]);
            json!({"revision": 5, "policy": rules.to_string()})
        }
        _ => json!([{
            "id": 161,
            "spec": {"options": {"PolicyAuditMode": "Disabled"}},
            "status": {
                "external-identifiers": {"pod-name": "demo/echo-1"},
                "policy": {"realized": {"policy-revision": 5}},
                "state": "ready",
            },
        }]),
    }
}

fn mesh(tamper: impl Fn(&str, CiliumQuery, &mut Value) + Send + Sync + 'static) -> Fake {
    let policy = json!({
        "kind": "CiliumNetworkPolicy", "metadata": {"name": "echo-allow-client", "namespace": "demo"},
        "spec": {"endpointSelector": {}, "ingress": [{}]},
    });
    Fake::healthy().object("infra", policy).policies(move |node, query| {
        let mut value = output(query);
        tamper(node, query, &mut value);
        value
    })
}

#[tokio::test(start_paused = true)]
async fn agents_that_have_realized_what_the_api_has_are_green() {
    let text = mesh(|_, _, _| {}).expect(&AgentsAgree, infra(), "pass").await;
    assert!(text.contains("3 endpoints of 3 agents: ready, with 1 policy"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn what_one_agent_does_otherwise_is_red() {
    let cases: [(Change, &str); 5] = [
        (
            |query, value| {
                if query == CiliumQuery::Endpoints {
                    value[0]["status"]["state"] = json!("waiting-for-identity");
                }
            },
            "state of endpoint 161 (demo/echo-1) on infra-2 | expected ready | observed waiting-for-identity",
        ),
        (
            |query, value| {
                if query == CiliumQuery::Endpoints {
                    value[0]["status"]["policy"]["realized"]["policy-revision"] = json!(4);
                }
            },
            "realized revision of endpoint 161 (demo/echo-1) on infra-2 | expected at least",
        ),
        (
            |query, value| {
                if query == CiliumQuery::Endpoints {
                    value[0]["spec"]["options"]["PolicyAuditMode"] = json!("Enabled");
                }
            },
            "PolicyAuditMode of endpoint 161",
        ),
        (
            |query, value| {
                if query == CiliumQuery::Policy {
                    value["policy"] = json!("[]");
                }
            },
            "known to the agent, since the API has it",
        ),
        (
            |query, value| {
                if query == CiliumQuery::Policy {
                    let text = value["policy"].as_str().unwrap_or_default();
                    value["policy"] = json!(text.replace("echo-allow-client", "deleted"));
                }
            },
            "CiliumNetworkPolicy demo/deleted on infra-2 | expected deleted in the agent",
        ),
    ];
    for (change, finding) in cases {
        let fake = mesh(move |node, query, value| {
            if node == "infra-2" {
                change(query, value);
            }
        });
        let text = fake.expect(&AgentsAgree, infra(), "fail").await;
        assert!(text.contains(finding), "{finding}: {text}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_inconclusive() {
    mesh(|_, _, value| *value = json!({}))
        .expect(&AgentsAgree, infra(), "inconclusive")
        .await;
    mesh(|_, _, _| {})
        .cilium_error_on("infra-3")
        .expect(&AgentsAgree, infra(), "inconclusive")
        .await;
    mesh(|_, _, _| {})
        .cilium_refused()
        .expect(&AgentsAgree, infra(), "inconclusive")
        .await;
    let hidden = mesh(|_, _, _| {}).list_refused("CiliumNetworkPolicy");
    hidden.expect(&AgentsAgree, infra(), "inconclusive").await;
}
