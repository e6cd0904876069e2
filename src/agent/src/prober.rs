//! Single exchanges, each with its own deadline, as many at a time as descriptors allow.

use crate::{
    attempt::Attempt,
    client::{self, HttpSession},
    resolver::Resolver,
};
use meshproof_contract::{Action, Outcome, Probe, Target, probe::Connection};
use std::{sync::Arc, time::Duration};
use tokio::{
    net::TcpStream,
    sync::{Semaphore, SemaphorePermit},
    time::Instant,
};

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
        self.exchange(probe, attempt, permit.ok(), session).await
    }

    /// One exchange of a stream, sent so much later than it was due: it has its whole time from then on, while its
    /// latency counts from when it was due.
    pub(crate) async fn late(&self, probe: &Probe, due: Instant, late: Duration, session: &mut HttpSession) -> Outcome {
        let permit = self.permits.acquire().await;
        let attempt = Attempt::new(due, probe.deadline + late);
        self.exchange(probe, attempt, permit.ok(), session).await
    }

    /// A connection that is kept, once its outcome is known.
    pub(crate) async fn connect(&self, to: &Target, deadline: Duration) -> (Outcome, Option<TcpStream>) {
        let permit = self.permits.acquire().await;
        let connected = client::connect(to, Attempt::new(Instant::now(), deadline), &self.resolver).await;
        drop(permit);
        connected
    }

    async fn exchange(
        &self,
        probe: &Probe,
        attempt: Attempt,
        permit: Option<SemaphorePermit<'_>>,
        session: &mut HttpSession,
    ) -> Outcome {
        if attempt.deadline() <= Instant::now() {
            return if session.is_shared() {
                // Its turn on the connection never came: that is how a stall looks from behind it.
                Outcome::Stalled {
                    received: 0,
                    timing: attempt.timing(),
                }
            } else {
                Outcome::LocalError {
                    reason: "the probe waited longer than its deadline for a free slot: the agent's machine is busy, \
                             or too many exchanges are in progress"
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
