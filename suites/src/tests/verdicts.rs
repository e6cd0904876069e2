//! What the harness could not see is neither red nor green, whatever the check.

use super::assert_none;
use crate::{
    ALL,
    testing::{
        Fake, MISSION,
        blind::{Blind, Trouble},
        instance_of,
    },
};
use meshproof_contract::{Check, CheckContext, Environment, Verdict};
use std::sync::Arc;

/// Checks that read objects of the API only to say more, or to excuse a failure, so that they may be green without it.
const NEED_NO_API: [&str; 3] = ["connectivity::host_to_", "dns::replica_answers", "service::"];
/// Checks that judge what Cilium reports, so that they may be green although agents cannot cause more of it.
const NEED_NO_AGENTS: [&str; 8] = [
    "encryption::handshakes_fresh",
    "policy::agents_agree",
    "state::addresses",
    "state::controllers",
    "state::endpoints",
    "state::nodes",
    "state::services",
    "state::settings",
];

/// A healthy world for the checks of a suite.
fn world(suite: &str) -> Arc<dyn Environment> {
    match suite {
        "components" => crate::components::world(MISSION),
        "encryption" => crate::encryption::world(MISSION),
        "failover" => crate::failover::world(),
        "flows" => crate::flows::world(),
        "gitops" => crate::gitops::world(MISSION),
        "policy" => crate::policy::world(MISSION),
        "service" => crate::service::world(MISSION),
        "state" => crate::state::world(MISSION),
        _ => Arc::new(Fake::healthy()),
    }
}

async fn run(check: &dyn Check, environment: Arc<dyn Environment>) -> Verdict {
    check.run(&CheckContext::new(environment, instance_of(check))).await
}

#[tokio::test(start_paused = true)]
async fn what_the_harness_could_not_see_is_inconclusive() {
    let mut shortcomings = Vec::new();
    for trouble in Trouble::ALL {
        for (suite, check) in ALL
            .iter()
            .flat_map(|suite| suite.checks.iter().map(|check| (suite.name, *check)))
        {
            let blind = Arc::new(Blind::new(world(suite), trouble));
            let (id, verdict) = (check.id(), run(check, blind.clone()).await);
            let needs_no_api = trouble == Trouble::ApiRefuses && NEED_NO_API.iter().any(|e| id.as_str().starts_with(e));
            let needs_no_agents = trouble != Trouble::ApiRefuses && NEED_NO_AGENTS.contains(&id.as_str());
            let is_fair = match verdict {
                Verdict::Inconclusive { .. } | Verdict::Skipped { .. } => true,
                // It may pass where it needs nothing of what is missing.
                Verdict::Pass { .. } => {
                    needs_no_api || needs_no_agents || !(blind.looked() || trouble.takes_agents_of(check.needs()))
                }
                Verdict::Fail { .. } => false,
            };
            if !is_fair {
                shortcomings.push(format!(
                    "{id}: must be inconclusive or skipped when {trouble}: {verdict:?}"
                ));
            }
        }
    }
    assert_none(&shortcomings);
}

/// Else the test above would prove nothing: a world in which a check is red or inconclusive anyway is no test of it.
#[tokio::test(start_paused = true)]
async fn the_healthy_worlds_are_green() {
    let mut shortcomings = Vec::new();
    for (suite, check) in ALL
        .iter()
        .flat_map(|suite| suite.checks.iter().map(|check| (suite.name, *check)))
    {
        let verdict = run(check, world(suite)).await;
        if !matches!(verdict, Verdict::Pass { .. }) {
            shortcomings.push(format!(
                "{}: must pass in the healthy world of its suite: {verdict:?}",
                check.id()
            ));
        }
    }
    assert_none(&shortcomings);
}
