//! Suite `policy`: what policies say is what happens, cell by cell, with the right kind of refusal, and in time.
//!
//! Policies select only groups of this suite's own pods. What must happen in each cell is computed from the policies'
//! text by `meshproof-oracle`, never from what happens.

mod agents_agree;
mod case;
mod cases;
mod cell;
mod conditional;
mod every_node;
mod fixture;
mod generated;
mod participant;
mod peer_service;
mod random_policy;
mod run_case;
mod scene;
mod subjects;
mod takes_effect;

#[cfg(test)]
mod tests;

use meshproof_contract::{CheckContext, Suite};
use std::time::Duration;

/// The suite's world in memory, healthy.
#[cfg(test)]
pub(crate) fn world(shape: crate::testing::Shape) -> std::sync::Arc<dyn meshproof_contract::Environment> {
    std::sync::Arc::new(tests::world::World::healthy_of(shape))
}

/// How long a change of policy may take to be enforced on every node.
fn enforced_within(context: &CheckContext) -> Duration {
    context.environment.facts().thresholds.policy_enforcement
}

/// The suite.
pub const SUITE: Suite = Suite {
    name: "policy",
    about: "Network policies are enforced as written, cell by cell and with the right kind of refusal, and end with \
            their deletion.",
    checks: &[
        &cases::deny::DEFAULT_DENY_INGRESS,
        &cases::deny::DEFAULT_DENY_EGRESS,
        &cases::deny::DEFAULT_DENY_ACROSS,
        &cases::deny::DENY_OVER_ALLOW,
        &cases::deny::NO_DEFAULT_DENY,
        &cases::peers::LABELS,
        &cases::peers::EXPRESSIONS,
        &cases::peers::NAMESPACES,
        &cases::peers::SERVICE_ACCOUNTS,
        &cases::peers::CIDR,
        &cases::clusters::CLUSTERS,
        &cases::entities::FROM_ENTITIES,
        &cases::entities::TO_ENTITIES,
        &cases::ports::PORTS,
        &cases::ports::PORT_RANGES,
        &cases::ports::NAMED_PORTS,
        &cases::ports::PROTOCOLS,
        &conditional::pings::if_pings(&cases::ports::ICMP),
        &cases::empty::EMPTY,
        &cases::kinds::CLUSTER_WIDE,
        &cases::kinds::KUBERNETES,
        &cases::kinds::IP_BLOCK,
        &conditional::l7_proxy::if_l7_proxy(&cases::http::METHOD_AND_PATH),
        &conditional::l7_proxy::if_l7_proxy(&cases::http::HEADERS),
        &conditional::cluster_dns::if_cluster_dns(&cases::names::NAMES),
        &conditional::cluster_dns::if_cluster_dns(&cases::names::NAMES_AND_PODS),
        &conditional::external_hosts::if_external_hosts(&cases::external_hosts::FQDN),
        &conditional::external_hosts::if_external_hosts(&cases::external_hosts::ADDRESSES),
        &cases::authentication::REQUIRED,
        &cases::authentication::ALWAYS_FAILS,
        &every_node::EveryNode,
        &takes_effect::TakesEffect,
        &agents_agree::AgentsAgree,
        &generated::Generated,
    ],
};
