//! The suite against two recorded clusters of Cilium 1.18.3, and each way in which an agent or the API can be wrong.

mod backends;
mod controllers;
mod nodes;
mod pods;
mod recorded;
mod services;
mod settings;
pub mod shaped;

use recorded::{Routing, routed, world};

use crate::testing::{Fake, infra};
use meshproof_contract::{Check, CheckContext, Instance};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

#[tokio::test(start_paused = true)]
async fn recorded_clusters_are_green_at_once() {
    for check in super::SUITE.checks {
        let start = Instant::now();
        let text = world().expect(*check, infra(), "pass").await;
        assert!(text.contains("in 1 look"), "{}: {text}", check.id());
        assert_eq!(start.elapsed(), Duration::ZERO, "{}", check.id());
    }
}

#[tokio::test(start_paused = true)]
async fn recorded_clusters_with_native_routing_are_green_at_once() {
    for check in super::SUITE.checks {
        for instance in [infra(), Instance::Cluster("apps".into())] {
            let text = routed(Routing::Native, |_, _, _| {})
                .expect(*check, instance, "pass")
                .await;
            assert!(text.contains("in 1 look"), "{}: {text}", check.id());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_cluster_without_cilium_is_skipped() {
    for check in super::SUITE.checks {
        let without = world().facts(|facts| facts.clusters[0].cilium = None);
        without.expect(*check, infra(), "skipped").await;
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_compared_is_not_green() {
    for check in super::SUITE.checks {
        let id = check.id();
        let nobody = world().facts(|facts| facts.clusters[0].nodes.clear());
        let (text, _) = nobody.run(*check, infra()).await;
        // CiliumNodes and EndpointSlices are there without agents.
        let is_of_api = ["state::nodes", "state::backends"].contains(&id.as_str());
        let is_fair = text.starts_with("inconclusive") || is_of_api;
        assert!(is_fair, "{id}: {text}");
    }
}

/// All trials of a run share what is read: lists and commands do not grow with the checks.
#[tokio::test(start_paused = true)]
async fn a_look_is_taken_once_for_all_checks() {
    let world = world();
    let asked = world.asked.clone();
    let environment = Arc::new(world);
    let observed = Arc::default();
    for check in super::SUITE.checks {
        let context = CheckContext::new(environment.clone(), infra()).observing(Arc::clone(&observed));
        let verdict = check.run(&context).await;
        assert_eq!(verdict.word(), "pass", "{}", check.id());
    }
    // Six questions of each of two clusters; the status is shared with other suites.
    assert_eq!(asked.load(std::sync::atomic::Ordering::Relaxed), 12);
}

/// Runs a check in a world, on cluster infra.
async fn expect(world: Fake, check: &dyn Check, word: &str) -> String {
    world.expect(check, infra(), word).await
}
