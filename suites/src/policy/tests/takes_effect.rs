//! The time of policies, measured by streams.

use super::{super::takes_effect::TakesEffect, world::World};
use crate::testing::infra;
use meshproof_contract::{Evidence, evidence::CellOutcome};
use meshproof_oracle::{Endpoint, Expected, Party};
use std::time::Duration;

#[tokio::test(start_paused = true)]
async fn a_policy_that_is_enforced_and_deleted_in_time_is_green_and_timed() {
    let world = World {
        lag: Duration::from_millis(500),
        ..World::healthy()
    };
    let text = world.expect(&TakesEffect, infra(), "pass").await;
    for figure in ["enforced_after", "half_enforced_connections", "open_after"] {
        assert!(text.contains(figure), "{figure}: {text}");
    }
    assert!(text.contains("node infra-3: enforced after"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_is_enforced_late_or_not_on_one_node_is_red() {
    let late = World {
        lag: Duration::from_secs(20),
        ..World::healthy()
    };
    let text = late.expect(&TakesEffect, infra(), "fail").await;
    assert!(text.contains("later than 10 s after the policy was applied"), "{text}");
    let open = World::healthy().tampering(|_, expected, flow| match &flow.to {
        Party::Endpoint(Endpoint { node, .. }) if node == "infra-2" => Expected::Allowed,
        _ => expected,
    });
    let text = open.expect(&TakesEffect, infra(), "fail").await;
    assert!(
        text.contains("node infra-2") && text.contains("cilium-infra-2"),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_is_not_removed_is_red() {
    let world = World {
        release: None,
        ..World::healthy()
    };
    let text = world.expect(&TakesEffect, infra(), "fail").await;
    assert!(text.contains("within 10 s of the policy's deletion"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_generator_that_is_late_makes_times_less_well_known_and_no_verdict() {
    let ms = Duration::from_millis;
    let busy = World {
        lag: ms(200),
        stall: Some((ms(550), ms(980))),
        ..World::healthy()
    };
    let text = busy.expect(&TakesEffect, infra(), "pass").await;
    assert!(
        text.contains("resolution") && text.contains("430.0 ms late") && !text.contains("measured again"),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn what_a_late_generator_leaves_open_is_measured_again() {
    let ms = Duration::from_millis;
    let busy = World {
        lag: ms(9500),
        stall: Some((ms(9900), ms(10_900))),
        ..World::healthy()
    };
    let text = busy.expect(&TakesEffect, infra(), "pass").await;
    assert!(text.contains("measured again"), "{text}");
    let late = World {
        lag: ms(12_000),
        stall: Some((ms(12_200), ms(12_700))),
        ..World::healthy()
    };
    late.expect(&TakesEffect, infra(), "fail").await;
}

#[tokio::test(start_paused = true)]
async fn each_node_has_a_cell_with_its_time() {
    let evidence = World::healthy().evidence(&TakesEffect, infra()).await;
    let rows = evidence.iter().filter_map(|one| match one {
        Evidence::Row(row) => Some(row),
        _ => None,
    });
    let mut cells: Vec<_> = rows.flat_map(|row| &row.cells).collect();
    cells.sort_by_key(|cell| &cell.to);
    let nodes: Vec<&str> = cells.iter().map(|cell| cell.to.node.as_str()).collect();
    assert_eq!(nodes, ["infra-1", "infra-2", "infra-3"]);
    for cell in cells {
        assert_eq!(cell.outcome, CellOutcome::Ok, "{cell:?}");
        let enforced = cell.value.expect("a time");
        assert!(
            (20_000.0..=50_000.0).contains(&enforced),
            "enforced after 30 ms: {cell:?}"
        );
    }
}
