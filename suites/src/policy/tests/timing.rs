//! How long is waited for a change, and for Cilium's agents.

use super::{
    super::{
        cases::{deny, peers},
        generated::Generated,
    },
    world::{Agents, World},
};
use crate::testing::infra;
use meshproof_contract::Thresholds;
use meshproof_oracle::Expected;
use std::time::Duration;
use tokio::time::Instant;

#[tokio::test(start_paused = true)]
async fn a_change_that_takes_its_time_is_green_and_timed() {
    let world = World {
        lag: Duration::from_secs(2),
        ..World::new()
    };
    let text = world.expect(&peers::LABELS, infra(), "pass").await;
    assert!(text.contains("enforced_within"), "{text}");
    let world = World {
        lag: Duration::from_secs(20),
        ..World::new()
    };
    world.expect(&peers::LABELS, infra(), "fail").await;
}

#[tokio::test(start_paused = true)]
async fn generated_policies_are_green_and_simplified_when_they_deviate() {
    World::new().expect(&Generated, infra(), "pass").await;
    let world = World::new().tampering(|_, _, _| Expected::Allowed);
    let text = world.expect(&Generated, infra(), "fail").await;
    assert!(
        text.contains("of seed 1, simplified") && text.contains("policy: {"),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn agents_that_hang_are_queried_once_and_not_for_long() {
    let hanging = || {
        let world = World {
            agents: Agents::Hang(Duration::from_secs(33)),
            ..World::new()
        };
        world.tampering(|_, _, _| Expected::Allowed)
    };
    let begun = Instant::now();
    hanging().expect(&peers::EXPRESSIONS, infra(), "fail").await;
    let limit = 2 * Thresholds::default().policy_enforcement + Duration::from_secs(6);
    assert!(begun.elapsed() < limit, "two cases took {:?}", begun.elapsed());
    let begun = Instant::now();
    hanging().expect(&Generated, infra(), "fail").await;
    assert!(begun.elapsed() < Duration::from_secs(100), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn what_cilium_reports_as_realized_is_probed_again_before_it_is_red() {
    let late = |millis| World {
        agents: Agents::ReportRealized,
        lag: Duration::from_millis(millis),
        ..World::new()
    };
    late(2300).expect(&deny::DEFAULT_DENY_INGRESS, infra(), "pass").await;
    let begun = Instant::now();
    late(60_000).expect(&deny::DEFAULT_DENY_INGRESS, infra(), "fail").await;
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_source_that_stalls_for_a_while_is_not_a_finding() {
    let begun = Instant::now();
    let world = World {
        agents: Agents::ReportRealized,
        ..World::new()
    };
    // For longer than it takes to believe Cilium's report.
    let world = world.tampering(move |from, expected, _| {
        if from == "infra-1" && stalls(begun) {
            Expected::Dropped
        } else {
            expected
        }
    });
    world.expect(&deny::DEFAULT_DENY_EGRESS, infra(), "pass").await;
}

/// Whether it is so soon after this that all paths were seen open and a policy has just been applied.
fn stalls(begun: Instant) -> bool {
    (Duration::from_millis(10)..Duration::from_secs(5)).contains(&begun.elapsed())
}
