//! Checks of ICMP rules, skipped where no pod may send pings.

use super::Conditional;
use crate::policy::{case::PolicyCheck, cases::both_ways_and_ping, fixture::Fixture, run_case::pings_are_forbidden};
use meshproof_contract::{CheckContext, Verdict};

/// Runs a check where pods may send pings.
pub const fn if_pings(check: &'static PolicyCheck) -> Conditional {
    Conditional {
        check,
        unmet: |context| Box::pin(no_pings(context)),
    }
}

async fn no_pings(context: &CheckContext) -> Option<Verdict> {
    // The subject pods are returned before the check borrows some.
    let forbidden = match Fixture::new(context).await {
        Ok(fixture) => {
            let cells = both_ways_and_ping(&fixture, &fixture.peers_of(&context.instance));
            pings_are_forbidden(context, cells).await
        }
        Err(verdict) => return Some(verdict),
    };
    forbidden.then(|| {
        Verdict::skipped(
            "the pods may not send pings (net.ipv4.ping_group_range of the nodes' container runtime); all their other \
             probes were answered",
        )
    })
}
