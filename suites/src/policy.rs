//! Suite `policy`: what policies say is what happens, cell by cell, with the right kind of refusal, and how long it takes.
//!
//! Policies select only groups of this suite's own pods; what must happen in each cell is computed from the policies' text by
//! `meshproof-oracle`, never by looking at what happens.

mod actor;
mod agents_agree;
mod case;
mod cases;
mod cell;
pub mod generate;
mod generated;
mod pinged;
mod play;
mod proxied;
mod scene;
mod takes_effect;
mod ward;

#[cfg(test)]
mod tests;

use cases::outside::{self, needs_outside};
use cases::{authentication, clusters, deny, empty, entities, http, kinds, names, peers, ports};
use meshproof_contract::{CheckContext, Suite};
use pinged::pinged;
use proxied::proxied;
use std::time::Duration;

/// How long a change of policy may take to come through on every node.
fn enforced_within(context: &CheckContext) -> Duration {
    context.environment.facts().thresholds.policy_enforcement
}

/// The suite.
pub const SUITE: Suite = Suite {
    name: "policy",
    about: "Network policies are enforced as written, cell by cell and with the right kind of refusal, and come off again",
    checks: &[
        &deny::DEFAULT_DENY_INGRESS,
        &deny::DEFAULT_DENY_EGRESS,
        &deny::DEFAULT_DENY_ACROSS,
        &deny::DENY_OVER_ALLOW,
        &deny::NO_DEFAULT_DENY,
        &peers::LABELS,
        &peers::EXPRESSIONS,
        &peers::NAMESPACES,
        &peers::SERVICE_ACCOUNTS,
        &peers::CIDR,
        &clusters::CLUSTERS,
        &entities::FROM_ENTITIES,
        &entities::TO_ENTITIES,
        &ports::PORTS,
        &ports::PORT_RANGES,
        &ports::NAMED_PORTS,
        &ports::PROTOCOLS,
        &pinged(&ports::ICMP),
        &empty::EMPTY,
        &kinds::CLUSTER_WIDE,
        &kinds::KUBERNETES,
        &proxied(&http::METHOD_AND_PATH),
        &proxied(&http::HEADERS),
        &names::NAMES,
        &names::NAMES_AND_PODS,
        &needs_outside(&outside::FQDN),
        &needs_outside(&outside::ADDRESSES),
        &authentication::REQUIRED,
        &authentication::ALWAYS_FAILS,
        &takes_effect::TakesEffect,
        &agents_agree::AgentsAgree,
        &generated::Generated,
    ],
};

/// Checks whose tests stand beside them and not among those of all families.
#[cfg(test)]
const OWN_TESTS: &[&str] = &["policy::takes_effect", "policy::agents_agree", "policy::generated"];
