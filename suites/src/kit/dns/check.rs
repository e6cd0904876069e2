//! A check that asks cluster DNS from every node. What such a check says for itself is [`Questions`]; the rest is here.

use super::{ask::ask, question::Question, zone::Zone};
use crate::kit::needs;
use async_trait::async_trait;
use meshproof_contract::{Check, CheckContext, CheckId, CheckText, Needs, Scope, Tally, Verdict};

/// What one kind of question to cluster DNS says for itself.
#[async_trait]
pub trait Questions: Send + Sync {
    /// The check's id.
    fn id(&self) -> CheckId;
    /// The check's texts.
    fn text(&self) -> CheckText;
    /// The faults that turn it red.
    fn faults(&self) -> &'static [&'static str];
    /// Who asks: the client on every node, unless the check says otherwise.
    fn zone(&self, context: &CheckContext) -> Result<Zone, Verdict> {
        Zone::of(context)
    }
    /// The questions with their right answers, or the verdict where there is nothing to ask.
    async fn questions(&self, context: &CheckContext, zone: &Zone) -> Result<Vec<Question>, Verdict>;
}

/// The check that asks these questions from every node of a cluster.
pub struct DnsCheck<Q>(pub Q);

#[async_trait]
impl<Q: Questions> Check for DnsCheck<Q> {
    fn id(&self) -> CheckId {
        self.0.id()
    }
    fn text(&self) -> CheckText {
        self.0.text()
    }
    fn scope(&self) -> Scope {
        Scope::Cluster
    }
    fn needs(&self) -> Needs {
        needs::SHARED
    }
    fn faults(&self) -> &'static [&'static str] {
        self.0.faults()
    }
    async fn run(&self, context: &CheckContext) -> Verdict {
        let zone = match self.0.zone(context) {
            Ok(zone) => zone,
            Err(verdict) => return verdict,
        };
        match self.0.questions(context, &zone).await {
            Ok(questions) => {
                let mut tally = Tally::new();
                ask(context, &zone, &questions, &mut tally).await;
                tally.verdict()
            }
            Err(verdict) => verdict,
        }
    }
}
