//! The checks of cases against a mesh in memory.

mod conditions;
mod enforcement;
mod every_node;
mod houses;
mod takes_effect;
mod timing;
pub mod world;

use super::{case::PolicyCheck, cases};
use crate::testing::{infra, infra_to_apps};
use meshproof_contract::{Instance, Scope};
use std::collections::BTreeSet;

const CHECKS: &[&PolicyCheck] = &[
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
    &cases::ports::ICMP,
    &cases::empty::EMPTY,
    &cases::kinds::CLUSTER_WIDE,
    &cases::kinds::KUBERNETES,
    &cases::kinds::IP_BLOCK,
    &cases::http::METHOD_AND_PATH,
    &cases::http::HEADERS,
    &cases::names::NAMES,
    &cases::names::NAMES_AND_PODS,
    &cases::external_hosts::FQDN,
    &cases::external_hosts::ADDRESSES,
    &cases::authentication::REQUIRED,
    &cases::authentication::ALWAYS_FAILS,
];

/// Checks that are not made of cases; their tests are beside them or in `timing`.
const OTHERS: &[&str] = &[
    "policy::every_node",
    "policy::takes_effect",
    "policy::agents_agree",
    "policy::generated",
];

fn instance(check: &PolicyCheck) -> Instance {
    match check.scope {
        Scope::Cluster => infra(),
        Scope::Direction => infra_to_apps(),
        Scope::Flow(_) => unreachable!("suite policy has no flows of operators"),
    }
}

#[test]
fn all_checks_of_the_suite_are_tested() {
    let tested: BTreeSet<&str> = CHECKS.iter().map(|check| check.id).collect();
    assert_eq!(tested.len(), CHECKS.len());
    for check in super::SUITE.checks {
        let id = check.id();
        let here = tested.contains(id.as_str());
        let elsewhere = OTHERS.contains(&id.as_str());
        assert!(here || elsewhere, "{id} is in the suite and not in the tests");
    }
}
