//! Checks of rules for cluster DNS, skipped where pods ask a cache on their own node instead of its replicas.

use super::Conditional;
use crate::policy::{case::PolicyCheck, fixture::cluster_dns::is_node_local};
use meshproof_contract::{CheckContext, Verdict};

/// Runs a check where pods ask cluster DNS itself.
pub const fn if_cluster_dns(check: &'static PolicyCheck) -> Conditional {
    Conditional {
        check,
        unmet: |context| Box::pin(async { node_local(context) }),
    }
}

/// The reason where they do not.
pub(in crate::policy) fn node_local(context: &CheckContext) -> Option<Verdict> {
    let facts = context.environment.facts();
    let cluster = context.instance.to();
    let dns = facts.cluster(cluster)?.dns.as_ref().filter(|dns| is_node_local(dns))?;
    Some(Verdict::skipped(format!(
        "pods of {cluster} ask NodeLocal DNSCache at {}, which is their node for policies: rules for cluster DNS do \
         not apply to it",
        dns.address
    )))
}
