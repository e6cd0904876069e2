//! Checks of policies for external hosts, skipped where meshproof.yaml names none.

use super::{Conditional, cluster_dns::node_local};
use crate::policy::case::PolicyCheck;
use meshproof_contract::{CheckContext, Verdict};

/// Runs a check where meshproof.yaml names external hosts.
pub const fn if_external_hosts(check: &'static PolicyCheck) -> Conditional {
    Conditional {
        check,
        unmet: |context| Box::pin(async { none_named(context).or_else(|| node_local(context)) }),
    }
}

fn none_named(context: &CheckContext) -> Option<Verdict> {
    let none = context.environment.facts().outside.is_empty();
    none.then(|| Verdict::skipped("no external host is configured (`outside` in meshproof.yaml)"))
}
