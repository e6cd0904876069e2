//! Open-loop streams that run on an agent while the harness does something to the clusters (facts of availability
//! measuring).
//!
//! Probe number k is sent at `start + k * interval` whatever became of those before; latency counts from that time;
//! every outcome is typed; the generator's own lag is reported with each sample.

use crate::{Action, Identity, Outcome, Target};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What a stream does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamSpec {
    /// What each probe is.
    pub kind: StreamKind,
    /// Spacing of the probes, at least 1 ms.
    #[serde(with = "crate::probe::micros")]
    pub interval: Duration,
    /// Time that each probe has, from when it is sent on. Keep it well below 1 s, the first retransmission of TCP.
    #[serde(with = "crate::probe::micros")]
    pub deadline: Duration,
    /// After so long it ends by itself, up to an hour, so that a harness that died leaves nothing running.
    #[serde(with = "crate::probe::micros")]
    pub lifetime: Duration,
}

/// The kinds of stream. Never merge their figures: each is a different application.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "stream", rename_all = "snake_case")]
pub enum StreamKind {
    /// Each probe is this action on its own: a new connection, a datagram, a DNS question. An HTTP action with
    /// keep-alive shares one connection: a request waits for the one before, as in an application.
    Each {
        /// The action; not a path MTU.
        action: Action,
    },
    /// One long-lived TCP connection to an agent with pings on it. When it breaks (reset, closed, or nothing came for a
    /// whole deadline), the pings under way fail and the next one connects again.
    LongTcp {
        /// An agent's TCP port.
        to: Target,
        /// Bytes of each ping, up to 64 KiB.
        payload: u32,
    },
}

/// The outcomes of probes since the report before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StreamReport {
    /// When number 0 was due, in microseconds of the agent's clock (`Command::Clock`).
    pub start: u64,
    /// Microseconds between the probes.
    pub interval: u64,
    /// Probes that are known now, by number. Each is reported once.
    pub samples: Vec<StreamSample>,
    /// The servers that samples refer to; grows from report to report and keeps its order.
    pub servers: Vec<Identity>,
    /// Probes whose outcome is not known yet.
    pub under_way: u32,
    /// Samples that were lost because nobody collected them.
    pub overwritten: u64,
    /// Largest lag of the generator behind its schedule so far, in microseconds: how far apart probes may be, and so
    /// how well times are known.
    pub lag: u64,
    /// How often a shared connection was opened, the first time included; 0 for kinds without one.
    pub connections: u32,
    /// Whether it sends no more.
    pub ended: bool,
}

/// One probe of a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StreamSample {
    /// Its number: it was due at `start + number * interval`.
    pub number: u64,
    /// Microseconds by which it was sent later than that.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub late: u32,
    /// Its outcome.
    pub result: StreamResult,
}

fn is_zero(micros: &u32) -> bool {
    *micros == 0
}

/// The outcome of a probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum StreamResult {
    /// A success, as of [`Outcome::is_success`].
    Good {
        /// Position in [`StreamReport::servers`]; none where no agent answers (DNS).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        server: Option<u32>,
        /// Microseconds from when it was due.
        latency: u32,
    },
    /// Anything else, an answer with an error status included.
    Bad {
        /// What.
        outcome: Outcome,
    },
}
