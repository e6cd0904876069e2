//! ICMP rules, which cannot be tried where no pod may send pings.

use super::case::{Family, Provided};
use super::cases::both_ways_and_ping;
use super::play::pings_are_forbidden;
use super::scene::Scene;
use super::ward::GROUPS;
use meshproof_contract::{CheckContext, Verdict};

/// A family about pings.
pub const fn pinged(family: &'static Family) -> Provided {
    Provided {
        family,
        lacking: |context| Box::pin(no_pings(context)),
    }
}

async fn no_pings(context: &CheckContext) -> Option<Verdict> {
    // The ward is given back before the family borrows one.
    let forbidden = match Scene::set(context, &GROUPS).await {
        Ok(scene) => {
            let cells = both_ways_and_ping(&scene, &scene.neighbours(&context.instance));
            pings_are_forbidden(context, cells).await
        }
        Err(verdict) => return Some(verdict),
    };
    forbidden.then(|| {
        Verdict::skipped(
            "the pods may not send pings (net.ipv4.ping_group_range of the nodes' container runtime), and nothing else is wrong with their agents",
        )
    })
}
