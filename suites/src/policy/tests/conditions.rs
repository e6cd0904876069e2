//! Checks that run only under a condition.

use super::{
    super::{
        cases::{deny, external_hosts, http, ports},
        conditional::{external_hosts::if_external_hosts, l7_proxy::if_l7_proxy, pings::if_pings},
    },
    world::{Pings, World},
};
use crate::testing::infra;
use meshproof_oracle::{Expected, Request};
use serde_json::{Value, json};
use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};
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

#[tokio::test(start_paused = true)]
async fn without_an_l7_proxy_its_checks_are_skipped() {
    let check = if_l7_proxy(&http::HEADERS);
    let with = |proxy: Value| World {
        proxy,
        ..World::healthy()
    };
    let text = with(Value::Null).expect(&check, infra(), "skipped").await;
    assert!(text.contains("no agent of infra has an L7 proxy"), "{text}");
    let embedded = || with(json!({"envoy-deployment-mode": "embedded"}));
    embedded().expect(&check, infra(), "pass").await;
    // Once the policy is in force, requests are redirected to a proxy that does not run.
    let in_force = AtomicBool::new(false);
    let silent = embedded().tampering(move |_, expected, flow| {
        in_force.fetch_or(expected == Expected::Dropped, Ordering::Relaxed);
        match flow.request {
            Request::Http(_) if in_force.load(Ordering::Relaxed) => Expected::Dropped,
            _ => expected,
        }
    });
    let text = silent.expect(&check, infra(), "skipped").await;
    assert!(text.contains("no Envoy runs in infra"), "{text}");
}
