//! A check of this suite: one event, carried out again with wider spacing where the machine was too busy to judge it.

use super::{
    SCENARIO,
    retry_when_busy::{Unjudged, retry_when_busy},
};
use async_trait::async_trait;
use futures::future::BoxFuture;
use meshproof_contract::{Admission, Check, CheckContext, CheckId, CheckText, ClaimKind, Needs, Scope, Verdict};
use std::time::Duration;

/// The future of one attempt.
pub type Attempt<'a> = BoxFuture<'a, Result<Verdict, Unjudged>>;

/// A check made of one event.
pub struct FailoverCheck {
    /// Its id.
    pub id: &'static str,
    /// Its texts.
    pub text: CheckText,
    /// On what it runs; a direction needs a cluster mesh.
    pub scope: Scope,
    /// What may run beside it.
    pub admission: Admission,
    /// The lab's faults that turn it red.
    pub faults: &'static [&'static str],
    /// Carries the event out once, with at least this spacing of probes, and judges what the streams saw.
    pub attempt: for<'a> fn(&'a CheckContext, Duration) -> Attempt<'a>,
}

#[async_trait]
impl Check for FailoverCheck {
    fn id(&self) -> CheckId {
        CheckId::from(self.id)
    }
    fn text(&self) -> CheckText {
        self.text
    }
    fn scope(&self) -> Scope {
        self.scope
    }
    fn needs(&self) -> Needs {
        Needs {
            scenario: Some(SCENARIO),
            claim: match self.scope {
                Scope::Cluster | Scope::Flow(_) => None,
                Scope::Direction => Some(ClaimKind::ClusterMesh),
            },
            admission: self.admission,
            mutates: true,
        }
    }
    fn faults(&self) -> &'static [&'static str] {
        self.faults
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        retry_when_busy(context, |spacing| (self.attempt)(context, spacing)).await
    }
}
