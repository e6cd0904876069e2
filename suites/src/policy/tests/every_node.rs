//! Enforcement on each node by itself, and packet by packet.

use super::{super::every_node::EveryNode, world::World};
use crate::testing::infra;
use meshproof_oracle::{Endpoint, Expected, Flow, Party};
use std::sync::atomic::{AtomicU32, Ordering};

fn node(party: &Party) -> Option<&str> {
    match party {
        Party::Endpoint(Endpoint { node, .. }) => Some(node),
        Party::Node { .. } | Party::World { .. } => None,
    }
}

/// Whether the flow is one that a subject pod of the node sends.
fn leaves(flow: &Flow, from: &str) -> bool {
    let is_subject = match &flow.from {
        Party::Endpoint(endpoint) => endpoint.labels.contains_key("subject"),
        Party::Node { .. } | Party::World { .. } => false,
    };
    is_subject && node(&flow.from) == Some(from)
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_every_node_enforces_is_green() {
    let text = World::healthy().expect(&EveryNode, infra(), "pass").await;
    assert!(text.contains("every node: all"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn one_node_that_ignores_egress_is_red_and_named() {
    let open = World::healthy().tampering(|_, expected, flow| match leaves(flow, "infra-3") {
        true => Expected::Allowed,
        false => expected,
    });
    let text = open.expect(&EveryNode, infra(), "fail").await;
    assert!(text.contains("subject-all in meshproof on infra-3 -> "), "{text}");
}

#[tokio::test(start_paused = true)]
async fn one_of_ten_packets_that_passes_is_red() {
    let sent = AtomicU32::new(0);
    let leaky = World::healthy().tampering(move |_, expected, flow| {
        let drops = expected == Expected::Dropped && leaves(flow, "infra-2");
        match drops && sent.fetch_add(1, Ordering::Relaxed) % 10 == 9 {
            true => Expected::Allowed,
            false => expected,
        }
    });
    let text = leaky.expect(&EveryNode, infra(), "fail").await;
    assert!(
        text.contains("on infra-2 -> ") && text.contains("of 30 answered"),
        "{text}"
    );
}
