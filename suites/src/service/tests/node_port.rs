//! NodePorts of one cluster, as the clients of the other see them.

use super::{
    super::node_port::NodePort,
    world::{backends, healthy},
};
use crate::testing::{Fake, NODE_PORT, infra_to_apps, timeout};
use meshproof_contract::{Action, Claim, ClaimKind, Identity, Outcome, Timing};
use serde_json::json;

/// Apps serves NodePorts as `served` says: by the address of the node that is asked, and by the right answer.
fn node_ports(served: impl Fn(&str, Outcome) -> Outcome + Send + Sync + 'static) -> Fake {
    let plain = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "svc-plain", "namespace": "meshproof"},
        "spec": {"selector": {"meshproof.dev/workload": "backend"}},
    });
    let fake = Fake::healthy().object("apps", plain).rule(move |probe| {
        let (Action::Http { to, .. } | Action::UdpEcho { to, .. }) = probe.action else {
            return None;
        };
        let pod = &backends()[2 + probe.number as usize % 2];
        let right = probe.answered_as(Identity {
            cluster: pod.id.cluster.to_string(),
            node: pod.node.to_string(),
            namespace: pod.namespace.clone(),
            pod: pod.id.pod.clone(),
        });
        (NODE_PORT..=NODE_PORT + 1)
            .contains(&to.port)
            .then(|| served(&to.host, right))
    });
    fake.facts(|facts| {
        facts.agents.extend(healthy().facts.agents);
        facts.services = healthy().facts.services;
        let claim = facts.claims[0].clone();
        facts.claims.push(Claim {
            kind: ClaimKind::KubeProxyReplacement,
            ..claim
        });
    })
}

#[tokio::test(start_paused = true)]
async fn node_ports_of_every_node_are_green_and_of_all_but_one_red() {
    let check = NodePort::Outside;
    let text = node_ports(|_, right| right)
        .expect(&check, infra_to_apps(), "pass")
        .await;
    assert!(text.contains("10.25.11.16:30080 of apps-3"), "{text}");
    let refused = Outcome::Refused {
        timing: Timing::default(),
    };
    let one = node_ports(move |node, right| match node {
        "10.25.11.15" => refused.clone(),
        _ => right,
    });
    let text = one.expect(&check, infra_to_apps(), "fail").await;
    assert!(
        text.contains("NodePort 10.25.11.15:30080 of apps-2 from infra-1") && !text.contains("of apps-3 from"),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_node_port_that_other_pods_answer_is_red_and_a_silent_path_no_proof() {
    let check = NodePort::Outside;
    let others = node_ports(|_, right| match right {
        Outcome::Answered {
            served_by: Some(mut identity),
            source,
            address,
            status,
            bytes,
            timing,
        } => {
            identity.cluster = "infra".to_owned();
            Outcome::Answered {
                served_by: Some(identity),
                source,
                address,
                status,
                bytes,
                timing,
            }
        }
        other => other,
    });
    let text = others.expect(&check, infra_to_apps(), "fail").await;
    assert!(text.contains("unexpected answers"), "{text}");
    let silent = node_ports(|_, _| timeout());
    let text = silent.expect(&check, infra_to_apps(), "inconclusive").await;
    assert!(text.contains("a firewall between the clusters is possible"), "{text}");
    let refused = node_ports(|_, right| right).apply_refused();
    refused.expect(&check, infra_to_apps(), "inconclusive").await;
}
