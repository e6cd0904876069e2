//! The messages.

use meshproof_contract::{Identity, Outcome, Probe};
use serde::{Deserialize, Serialize};

/// The protocol's number: raised by every change that an older side would misunderstand.
pub const PROTOCOL: u32 = 1;

/// The agent's first frame. Its first two fields keep their names and types for ever, so that any two versions can tell that they differ.
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

/// What an agent can be told.
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
    /// The request could not be carried out.
    Error {
        /// Why.
        reason: String,
    },
}
