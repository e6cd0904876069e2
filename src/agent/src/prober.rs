//! Batches: all probes of one at once, as far as descriptors reach, each with its own deadline.

use crate::{attempt::Attempt, client, client::HttpSession, memory, resolver::Resolver, series};
use meshproof_contract::{Action, Outcome, Probe, probe::Connection};
use std::sync::Arc;
use tokio::{
    sync::Semaphore,
    task::{JoinError, JoinSet, yield_now},
    time::Instant,
};

/// Probes that are started before the runtime looks at sockets again, so that a burst of thousands does not age in our own queue.
const BURST: usize = 32;

/// Carries out probes.
#[derive(Debug)]
pub(crate) struct Prober {
    pub(crate) resolver: Resolver,
    /// One for each exchange under way.
    permits: Arc<Semaphore>,
}

impl Prober {
    /// A prober with at most `exchanges` under way at a time.
    pub(crate) fn new(resolver: Resolver, exchanges: usize) -> Self {
        Self {
            resolver,
            permits: Arc::new(Semaphore::new(exchanges)),
        }
    }

    /// Runs all probes at once; the outcomes are in their order. Dropping it ends them.
    pub(crate) async fn batch(prober: &Arc<Self>, probes: Vec<Probe>) -> Vec<Outcome> {
        let mut outcomes = Outcomes(probes.iter().map(|_| None).collect());
        let mut tasks = JoinSet::new();
        for (index, probe) in probes.into_iter().enumerate() {
            if index % BURST == BURST - 1 {
                yield_now().await;
                // A finished task keeps its memory until it is joined.
                while let Some(done) = tasks.try_join_next() {
                    outcomes.put(done);
                }
            }
            let prober = Arc::clone(prober);
            tasks.spawn(async move { (index, prober.probe(probe).await) });
        }
        while let Some(done) = tasks.join_next().await {
            outcomes.put(done);
        }
        drop(tasks);
        let outcomes = outcomes.complete();
        memory::give_back();
        outcomes
    }

    async fn probe(self: &Arc<Self>, probe: Probe) -> Outcome {
        if probe.count == 1 {
            return self.once(&probe, None).await;
        }
        Box::pin(series::run(self, probe)).await
    }

    /// One exchange on its own, from now or from its scheduled time.
    pub(crate) async fn once(&self, probe: &Probe, scheduled: Option<Instant>) -> Outcome {
        let mut session = HttpSession::new(Connection::New);
        self.with_session(probe, scheduled, &mut session).await
    }

    /// One exchange that may use the session's connection.
    pub(crate) async fn with_session(
        &self,
        probe: &Probe,
        scheduled: Option<Instant>,
        session: &mut HttpSession,
    ) -> Outcome {
        let permit = self.permits.acquire().await;
        let attempt = Attempt::new(scheduled.unwrap_or_else(Instant::now), probe.deadline);
        if attempt.deadline() <= Instant::now() {
            return if session.is_shared() {
                // Its turn on the connection never came: that is how a stall looks from behind it.
                Outcome::Stalled {
                    received: 0,
                    timing: attempt.timing(),
                }
            } else {
                Outcome::LocalError {
                    reason: "it was due for longer than its deadline before it could begin: the agent's machine is busy, or too many exchanges are under way"
                        .to_owned(),
                }
            };
        }
        let outcome = client::perform(&probe.action, attempt, &self.resolver, session).await;
        drop(permit);
        outcome
    }

    /// Whether the exchanges of a series follow one another on one connection.
    pub(crate) fn shares_connection(action: &Action) -> bool {
        matches!(
            action,
            Action::Http {
                connection: Connection::KeepAlive,
                ..
            }
        )
    }
}

/// The outcomes of a batch as they come.
struct Outcomes(Vec<Option<Outcome>>);

impl Outcomes {
    fn put(&mut self, done: Result<(usize, Outcome), JoinError>) {
        if let Ok((index, outcome)) = done {
            self.0[index] = Some(outcome);
        }
    }

    fn complete(self) -> Vec<Outcome> {
        let lost = || Outcome::LocalError {
            reason: "the probe's task ended without an outcome: a bug in the agent".to_owned(),
        };
        self.0.into_iter().map(|outcome| outcome.unwrap_or_else(lost)).collect()
    }
}
