//! The check of ICMP rules, which says so where no pod may send pings.

use super::case::Family;
use super::cases::both_ways_and_ping;
use super::play::pings_are_forbidden;
use super::scene::Scene;
use super::ward::GROUPS;
use async_trait::async_trait;
use meshproof_contract::{Check, CheckContext, CheckId, CheckText, Needs, Scope, Verdict};

/// A family about pings.
pub struct Pinged(pub &'static Family);

#[async_trait]
impl Check for Pinged {
    fn id(&self) -> CheckId {
        self.0.id()
    }
    fn text(&self) -> CheckText {
        self.0.text()
    }
    fn scope(&self) -> Scope {
        self.0.scope()
    }
    fn needs(&self) -> Needs {
        self.0.needs()
    }
    fn faults(&self) -> &'static [&'static str] {
        self.0.faults()
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        // The ward is given back before the family borrows one.
        let forbidden = match Scene::set(context, &GROUPS).await {
            Ok(scene) => {
                let cells = both_ways_and_ping(&scene, &scene.neighbours(&context.instance));
                pings_are_forbidden(context, cells).await
            }
            Err(verdict) => return verdict,
        };
        match forbidden {
            true => Verdict::skipped(
                "the pods may not send pings (net.ipv4.ping_group_range of the nodes' container runtime), and nothing else is wrong with their agents",
            ),
            false => self.0.run(context).await,
        }
    }
}
