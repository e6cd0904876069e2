//! What is enforced, what is not, and what is not the policy's fault.

use super::{
    super::cases::{deny, external_hosts, ports},
    CHECKS, instance,
    world::World,
};
use crate::{
    kit::object::policy::cluster_wide,
    testing::{infra, infra_to_apps},
};
use meshproof_contract::{
    Evidence, Outcome, Timing,
    evidence::{CellOutcome, Row},
};
use meshproof_oracle::{Endpoint, Expected, Flow, Party};
use serde_json::json;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

#[tokio::test(start_paused = true)]
async fn a_mesh_that_enforces_is_green_in_every_check() {
    for check in CHECKS {
        let text = World::new().expect(*check, instance(check), "pass").await;
        let tested = text.matches("open before the policy and after its deletion").count();
        assert_eq!(
            tested,
            check.cases.len(),
            "{}: every case has a witness of its own",
            check.id
        );
        assert!(!text.contains("Row("), "{}: rows are for deviations: {text}", check.id);
    }
}

#[tokio::test(start_paused = true)]
async fn a_mesh_that_enforces_nothing_is_red_in_every_check() {
    for check in CHECKS {
        let mut world = World::new().tampering(|_, _, _| Expected::Allowed);
        world.facts.thresholds.policy_enforcement = Duration::from_secs(3);
        world.expect(*check, instance(check), "fail").await;
    }
}

#[tokio::test(start_paused = true)]
async fn one_node_that_does_not_enforce_is_red() {
    let world = World::new().tampering(|_, expected, flow| match &flow.to {
        Party::Endpoint(Endpoint { node, .. }) if node == "infra-1" => Expected::Allowed,
        _ => expected,
    });
    let text = world.expect(&deny::DEFAULT_DENY_INGRESS, infra(), "fail").await;
    assert!(text.contains("on infra-1, GET /: answered"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_another_kind_is_red() {
    let world = World {
        drop: Outcome::Refused {
            timing: Timing::default(),
        },
        ..World::new()
    };
    let text = world.expect(&deny::DEFAULT_DENY_INGRESS, infra(), "fail").await;
    assert!(text.contains("silently dropped (timeout)"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_path_that_is_broken_by_itself_is_not_blamed_on_the_policy() {
    let selected = |flow: &Flow| matches!(&flow.to, Party::Endpoint(e) if e.labels.contains_key("subject"));
    let world = World::new().tampering(move |_, expected, flow| match expected {
        Expected::Allowed if selected(flow) && flow.port == 8082 => Expected::Dropped,
        other => other,
    });
    let text = world.expect(&deny::DEFAULT_DENY_EGRESS, infra(), "inconclusive").await;
    assert!(text.contains("was not open before"), "{text}");
    let denials = Arc::new(AtomicU32::new(0));
    let world = World::new().tampering(move |_, expected, flow| {
        // Open before the policy, closed from its first denial on, and still closed after its deletion.
        let denied = expected == Expected::Dropped;
        let seen = denials.fetch_add(u32::from(denied), Ordering::Relaxed);
        if seen > 0 && flow.port == 8080 && selected(flow) {
            Expected::Dropped
        } else {
            expected
        }
    });
    let text = world.expect(&ports::PORTS, infra(), "inconclusive").await;
    assert!(text.contains("the cause is not this policy"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn what_stays_closed_after_the_deletion_is_red() {
    let world = World {
        release: None,
        ..World::new()
    };
    let text = world.expect(&deny::DEFAULT_DENY_EGRESS, infra(), "fail").await;
    assert!(
        text.contains("after the policy's deletion") && text.contains("open again within"),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_path_that_never_was_open_proves_nothing() {
    let world = World::new().tampering(|_, _, _| Expected::Dropped);
    let text = world.expect(&deny::DEFAULT_DENY_INGRESS, infra(), "inconclusive").await;
    assert!(text.contains("was not open before the policy"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_cannot_be_applied_is_inconclusive() {
    let world = World {
        apply_refused: true,
        ..World::new()
    };
    world.expect(&deny::DEFAULT_DENY_INGRESS, infra(), "inconclusive").await;
}

#[tokio::test(start_paused = true)]
async fn a_name_that_opens_another_host_is_red() {
    let world = World::new().tampering(|_, expected, flow| match &flow.to {
        Party::World { names, .. } if names[0].starts_with("two") => Expected::Allowed,
        _ => expected,
    });
    let text = world.expect(&external_hosts::FQDN, infra(), "fail").await;
    assert!(text.contains("TCP 80 of two.outside.example."), "{text}");
}

#[tokio::test(start_paused = true)]
async fn each_node_of_the_other_cluster_takes_part() {
    let world = World::new().tampering(|from, expected, _| match from {
        "infra-3" => Expected::Allowed,
        _ => expected,
    });
    let text = world.expect(&deny::DEFAULT_DENY_ACROSS, infra_to_apps(), "fail").await;
    assert!(text.contains("on infra-3"), "{text}");
    assert!(
        text.contains("is on apps-1; policy::every_node tests every node"),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_foreign_policy_is_named_where_something_deviates() {
    let foreign = |label: &str| {
        let mut policy = cluster_wide(json!({
            "endpointSelector": {"matchLabels": {"role": label}},
            "ingress": [{"toPorts": [{"ports": [{"port": "1"}]}]}],
        }));
        policy["metadata"] = json!({"name": "lockdown"});
        World {
            foreign: vec![policy],
            ..World::new()
        }
    };
    let text = foreign("peer")
        .expect(&deny::DEFAULT_DENY_EGRESS, infra(), "inconclusive")
        .await;
    let named = "policies of others also select these pods: CiliumClusterwideNetworkPolicy lockdown in infra";
    assert!(text.contains(named), "{text}");
    let world = foreign("nobody").tampering(|_, _, _| Expected::Allowed);
    let text = world.expect(&deny::DEFAULT_DENY_EGRESS, infra(), "fail").await;
    assert!(!text.contains("lockdown"), "it selects no pod of ours: {text}");
}

#[tokio::test(start_paused = true)]
async fn deviating_cells_are_rows_with_commands_for_the_deciding_node() {
    let world = World::new().tampering(|_, expected, flow| match &flow.to {
        Party::Endpoint(Endpoint { node, .. }) if node == "infra-1" => Expected::Allowed,
        _ => expected,
    });
    let evidence = world.evidence(&deny::DEFAULT_DENY_INGRESS, infra()).await;
    let rows = evidence.iter().filter_map(|one| match one {
        Evidence::Row(row) => Some(row),
        _ => None,
    });
    let rows: Vec<&Row> = rows.collect();
    assert_eq!(
        rows.len(),
        3,
        "one for each node from which peers reach infra-1: {rows:?}"
    );
    for row in rows {
        assert_eq!(row.what, "default deny ingress");
        let (deviating, others) = row.cells.split_first().expect("cells");
        assert_eq!(deviating.to.node.as_str(), "infra-1", "{row:?}");
        assert_eq!(deviating.outcome, CellOutcome::Mismatch, "{row:?}");
        let detail = deviating.detail.as_deref().unwrap_or_default();
        assert!(
            detail.starts_with("GET /: answered") && detail.contains("; and "),
            "{detail}"
        );
        assert!(others.iter().all(|cell| cell.outcome == CellOutcome::Ok), "{row:?}");
    }
    let commands = evidence.iter().filter_map(|one| match one {
        Evidence::Command(command) => Some(command.command.as_str()),
        _ => None,
    });
    let commands: Vec<&str> = commands.collect();
    assert_eq!(commands.len(), 2, "{commands:?}");
    assert!(commands.iter().all(|c| c.contains("cilium-infra-1")), "{commands:?}");
}
