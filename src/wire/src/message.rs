//! The messages.

use meshproof_contract::{CaptureReport, CaptureSpec, Identity, Outcome, Probe, StreamReport, StreamSpec, Target};
use serde::{Deserialize, Serialize};

/// The protocol's number: raised by every change that an older side would misunderstand.
pub const PROTOCOL: u32 = 2;

/// The agent's first frame. Its first two fields keep their names and types for ever, so that any two versions notice
/// that they differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`PROTOCOL`] of the agent.
    pub protocol: u32,
    /// The agent's version, for people.
    pub version: String,
    /// Who it is.
    pub identity: Identity,
    /// Name servers of the pod's `resolv.conf`.
    #[serde(default)]
    pub nameservers: Vec<String>,
    /// Search domains of the pod's `resolv.conf`.
    #[serde(default)]
    pub search: Vec<String>,
}

/// A command with the id that its response will carry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Chosen by the harness; unique among the requests under way on this stream.
    pub id: u64,
    /// What to do.
    pub command: Command,
}

/// What an agent can be asked to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Command {
    /// Run these probes, all at once.
    Batch {
        /// The probes; the outcomes come in their order.
        probes: Vec<Probe>,
    },
    /// Answer the readiness probe of the kubelet with this from now on.
    SetReady {
        /// Whether the pod is ready.
        ready: bool,
    },
    /// Answer with [`Answer::Done`].
    Ping,
    /// Answer with [`Answer::Clock`]. A few of these, the quickest taken, tie the agent's clock to the harness's.
    Clock,
    /// Connect from the pod, and answer with the outcome as [`Answer::Outcomes`]. If the connection was made, this
    /// stream is its bytes from then on, both ways and until either side ends: no frame follows.
    Relay {
        /// Where to.
        to: Target,
        /// Limit of the connection attempt, in microseconds.
        deadline: u64,
    },
    /// Start an open-loop stream; answered with [`Answer::Done`] once it runs. Streams belong to the agent, not to this
    /// connection.
    StartStream {
        /// Chosen by the harness; an error if one of that number runs.
        stream: u64,
        /// What it does.
        spec: StreamSpec,
    },
    /// Answer with [`Answer::Stream`]: what is known since the last time. It goes on.
    CollectStream {
        /// Which.
        stream: u64,
    },
    /// Send no more, wait for what is under way (at most one deadline), answer with the last [`Answer::Stream`] and
    /// forget it.
    StopStream {
        /// Which.
        stream: u64,
    },
    /// Start a capture; answered with [`Answer::Done`] once packets are seen from then on. Needs CAP_NET_RAW.
    StartCapture {
        /// Chosen by the harness; an error if one of that number runs.
        capture: u64,
        /// What to watch.
        spec: CaptureSpec,
    },
    /// Answer with [`Answer::Capture`]: what was seen up to now. It goes on.
    CollectCapture {
        /// Which.
        capture: u64,
    },
    /// Answer with the last [`Answer::Capture`] and forget it.
    StopCapture {
        /// Which.
        capture: u64,
    },
}

/// The answer to the request of that id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Response {
    /// The request's id.
    pub id: u64,
    /// The answer.
    pub answer: Answer,
}

/// What an agent answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// Outcomes in the order of the probes.
    Outcomes {
        /// One a probe.
        outcomes: Vec<Outcome>,
    },
    /// Done, nothing to say.
    Done,
    /// The agent's clock (CLOCK_MONOTONIC) in microseconds: of one node, so compare only after [`Command::Clock`].
    Clock {
        /// Now.
        micros: u64,
    },
    /// A stream's report.
    Stream {
        /// The report.
        report: StreamReport,
    },
    /// A capture's report.
    Capture {
        /// The report.
        report: CaptureReport,
    },
    /// The request could not be carried out.
    Error {
        /// Why.
        reason: String,
    },
}
