//! Checks that run only under a condition: where it does not hold they are skipped and say why.

pub mod cluster_dns;
pub mod external_hosts;
pub mod l7_proxy;
pub mod pings;

use super::case::PolicyCheck;
use async_trait::async_trait;
use futures::future::BoxFuture;
use meshproof_contract::{Check, CheckContext, CheckId, CheckText, Needs, Scope, Verdict};

/// A check and its condition.
pub struct Conditional {
    check: &'static PolicyCheck,
    /// The verdict where the condition does not hold.
    unmet: for<'a> fn(&'a CheckContext) -> BoxFuture<'a, Option<Verdict>>,
}

#[async_trait]
impl Check for Conditional {
    fn id(&self) -> CheckId {
        self.check.id()
    }
    fn text(&self) -> CheckText {
        self.check.text()
    }
    fn scope(&self) -> Scope {
        self.check.scope()
    }
    fn needs(&self) -> Needs {
        self.check.needs()
    }
    fn faults(&self) -> &'static [&'static str] {
        self.check.faults()
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        match (self.unmet)(context).await {
            Some(verdict) => verdict,
            None => self.check.run(context).await,
        }
    }
}
