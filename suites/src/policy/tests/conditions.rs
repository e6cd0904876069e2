//! Checks that run only under a condition.

use super::{
    super::{
        cases::{deny, external_hosts, ports},
        conditional::{external_hosts::if_external_hosts, pings::if_pings},
    },
    world::{Pings, World},
};
use crate::testing::infra;
use meshproof_oracle::Expected;
use std::time::Duration;
use tokio::time::Instant;

#[tokio::test(start_paused = true)]
async fn without_an_external_host_its_checks_are_skipped() {
    let mut world = World::new();
    world.facts.outside.clear();
    let check = if_external_hosts(&external_hosts::FQDN);
    let text = world.expect(&check, infra(), "skipped").await;
    assert!(text.contains("meshproof.yaml"), "{text}");
    World::new().expect(&check, infra(), "pass").await;
}

fn without_pings() -> World {
    World {
        pings: Pings::Forbidden,
        ..World::new()
    }
}

#[tokio::test(start_paused = true)]
async fn where_pods_may_not_ping_the_rest_is_judged_and_the_check_of_icmp_is_skipped() {
    let begun = Instant::now();
    let text = without_pings()
        .expect(&deny::DEFAULT_DENY_INGRESS, infra(), "pass")
        .await;
    assert!(text.contains("pings are left out"), "{text}");
    assert!(begun.elapsed() < Duration::from_secs(4), "nothing is waited for");
    without_pings()
        .tampering(|_, _, _| Expected::Allowed)
        .expect(&deny::DEFAULT_DENY_INGRESS, infra(), "fail")
        .await;
    let text = without_pings()
        .expect(&if_pings(&ports::ICMP), infra(), "skipped")
        .await;
    assert!(text.contains("ping_group_range"), "{text}");
    World::new().expect(&if_pings(&ports::ICMP), infra(), "pass").await;
}

#[tokio::test(start_paused = true)]
async fn an_agent_with_other_trouble_keeps_its_pings() {
    let world = without_pings().tampering(|from, expected, flow| {
        if from == "infra-1" && flow.port == 8081 {
            Expected::Dropped
        } else {
            expected
        }
    });
    let text = world.expect(&deny::DEFAULT_DENY_INGRESS, infra(), "inconclusive").await;
    assert!(text.contains("was not open before"), "{text}");
}
