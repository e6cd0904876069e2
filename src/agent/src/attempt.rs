//! One exchange under way: its clock, how far it came, and from that the outcome when it fails or its time is up.
//!
//! Knows nothing about sockets: clients report to it what happened.

use crate::failure::{Failure, Stage};
use meshproof_contract::{Identity, Outcome, Timing};
use std::{net::IpAddr, time::Duration};
use tokio::time::Instant;

/// The state of one exchange.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    started: Instant,
    deadline: Instant,
    timing: Timing,
    stage: Stage,
    address: Option<IpAddr>,
}

/// What a server reports about itself and its client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Peer {
    pub(crate) identity: Option<Identity>,
    pub(crate) source: Option<IpAddr>,
}

impl Attempt {
    /// Starts the clock at `started`, which for a series is the scheduled time and may lie in the past.
    pub(crate) fn new(started: Instant, deadline: Duration) -> Self {
        Self {
            started,
            deadline: started + deadline,
            timing: Timing::default(),
            stage: Stage::Resolving,
            address: None,
        }
    }
    /// When it was due.
    pub(crate) fn started(&self) -> Instant {
        self.started
    }
    /// When the outcome has to be known.
    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }
    /// The name (if it was one) is resolved; from here on the far side is being reached.
    pub(crate) fn resolved(&mut self, address: IpAddr, by_name: ByName) {
        if by_name == ByName::Yes {
            self.timing.dns = Some(self.elapsed());
        }
        self.address = Some(address);
        self.stage = Stage::Reaching;
    }
    /// The connection is established.
    pub(crate) fn connected(&mut self) {
        self.timing.connect = Some(self.elapsed());
        self.stage = Stage::Connected { received: 0 };
    }
    /// An exchange begins on a connection that was open before.
    pub(crate) fn reused(&mut self, address: IpAddr) {
        self.address = Some(address);
        self.stage = Stage::Connected { received: 0 };
    }
    /// So many more bytes came.
    pub(crate) fn received(&mut self, bytes: usize) {
        if bytes > 0 {
            self.first_byte();
        }
        if let Stage::Connected { received } = &mut self.stage {
            *received += bytes as u64;
        }
    }
    /// The answer begins.
    pub(crate) fn first_byte(&mut self) {
        if self.timing.first_byte.is_none() {
            self.timing.first_byte = Some(self.elapsed());
        }
    }
    /// Microseconds since the start.
    pub(crate) fn elapsed(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
    /// The times so far, with `total` now.
    pub(crate) fn timing(&self) -> Timing {
        Timing {
            total: self.elapsed(),
            ..self.timing
        }
    }

    /// The outcome of a complete exchange; `bytes` came back equal to those sent.
    pub(crate) fn answered(&self, peer: Peer, status: Option<u16>, bytes: u64) -> Outcome {
        Outcome::Answered {
            served_by: peer.identity,
            source: peer.source,
            address: self.address,
            status,
            bytes,
            timing: self.timing(),
        }
    }

    /// The outcome of an exchange that failed here.
    pub(crate) fn failed(&self, failure: Failure) -> Outcome {
        failure.outcome(self.stage, self.timing())
    }

    /// The outcome of an exchange whose time is up.
    pub(crate) fn expired(&self) -> Outcome {
        // A process that was frozen or starved may have slept through the answer: that says nothing about the network.
        let late = Instant::now().saturating_duration_since(self.deadline);
        let allowed = (self.deadline - self.started).max(Duration::from_millis(200)) / 2;
        if late > allowed {
            return Outcome::LocalError {
                reason: format!(
                    "the agent was not scheduled for {} ms past the deadline",
                    late.as_millis()
                ),
            };
        }
        self.failed(Failure::Silence)
    }
}

/// Whether a target was given as a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ByName {
    /// It was resolved.
    Yes,
    /// It was an address.
    No,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const HOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[test]
    fn silence_is_named_by_the_stage_reached() {
        let mut attempt = Attempt::new(Instant::now(), Duration::from_secs(1));
        assert!(matches!(attempt.expired(), Outcome::NameError { code: None, .. }));
        attempt.resolved(HOST, ByName::No);
        assert!(matches!(attempt.expired(), Outcome::Timeout { .. }));
        attempt.connected();
        attempt.received(7);
        assert!(matches!(attempt.expired(), Outcome::Stalled { received: 7, .. }));
    }

    #[test]
    fn a_deadline_noticed_far_too_late_is_a_local_error() {
        let long_ago = Instant::now() - Duration::from_secs(10);
        let mut attempt = Attempt::new(long_ago, Duration::from_millis(100));
        attempt.resolved(HOST, ByName::No);
        assert!(attempt.expired().is_local_error());
    }

    #[test]
    fn only_names_are_timed_as_dns() {
        let mut attempt = Attempt::new(Instant::now(), Duration::from_secs(1));
        attempt.resolved(HOST, ByName::No);
        assert_eq!(attempt.timing().dns, None);
        attempt.resolved(HOST, ByName::Yes);
        assert!(attempt.timing().dns.is_some());
    }
}
