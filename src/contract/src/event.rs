//! The events of a run: one stream, of which the terminal, the log and every report are projections.

use crate::{
    ApiRequests, CheckId, ClusterChange, ClusterName, Evidence, Facts, FaultName, Instance, Measurement, RunId, Silent,
    TrialName, Verdict, Waiver, waiver::SpentWaiver,
};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Version of the event log; raised when a reader of the older one would misread it.
pub const LOG_VERSION: u32 = 2;

/// An event with its time: one line of `events.ndjson`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EventRecord {
    /// When.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// What.
    #[serde(flatten)]
    pub event: Event,
}

/// What happens in a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The first event.
    RunStarted {
        /// [`LOG_VERSION`].
        log_version: u32,
        /// The run.
        run: RunId,
        /// Version of meshproof.
        version: String,
        /// The command line as it was typed.
        command: Vec<String>,
        /// The command line that repeats the run for one trial: append the trial's name. It says where and under which
        /// conditions, and nothing of what selects or prints.
        again: Vec<String>,
    },
    /// A phase began; it ends when the next begins.
    Phase {
        /// Which.
        phase: Phase,
    },
    /// What a phase waits for now; replaces the one before.
    Waiting {
        /// For people: `apps: 5 of 6 agents ready`.
        what: String,
    },
    /// Something that people should know and that no check says.
    Warning {
        /// For people.
        message: String,
    },
    /// The clusters as found.
    FactsFound {
        /// The facts.
        facts: Box<Facts>,
    },
    /// The trials selected, in their order.
    Planned {
        /// Each with its texts, so that reports can be rebuilt from the log alone.
        trials: Vec<PlannedTrial>,
    },
    /// A trial began.
    TrialStarted {
        /// Which.
        trial: TrialName,
    },
    /// A trial ended.
    TrialFinished {
        /// Which.
        trial: TrialName,
        /// What it concluded.
        #[serde(flatten)]
        verdict: Verdict,
        /// How long it took, in microseconds.
        micros: u64,
        /// Its figures.
        measurements: Vec<Measurement>,
        /// Its evidence.
        evidence: Vec<Evidence>,
        /// What did not answer it; each once.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        silent: Vec<Silent>,
        /// The waiver that covers it. In force, it keeps a failure from failing the run; the verdict stays.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        waiver: Option<Box<Waiver>>,
    },
    /// A node or the API server of a cluster changed.
    ClusterChanged {
        /// Which cluster.
        cluster: ClusterName,
        /// How.
        #[serde(flatten)]
        change: ClusterChange,
    },
    /// A fault was injected or healed (`meshproof prove`, `--lab-fault`).
    Fault {
        /// Which.
        fault: FaultName,
        /// What was done.
        change: FaultChange,
    },
    /// Less than the required minimum ran (`required` in `meshproof.yaml`).
    RequiredMissed {
        /// What did not run, and why; never empty.
        shortfalls: Vec<Shortfall>,
    },
    /// The requests to the clusters' API servers so far; replaces the one before. It comes at the end of each phase.
    ApiRequests {
        /// By cluster, verb and resource.
        requests: Vec<ApiRequests>,
    },
    /// Waivers that must go; with any, the run fails.
    WaiversSpent {
        /// Which, and why; never empty.
        waivers: Vec<SpentWaiver>,
    },
    /// The run could not go on.
    Aborted {
        /// Why.
        reason: String,
        /// The exit code that it means (design: 2 configuration, 3 environment, 130 interrupted).
        exit_code: u8,
    },
    /// The last event.
    RunFinished {
        /// The exit code.
        exit_code: u8,
    },
}

/// A trial as planned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlannedTrial {
    /// Its name.
    pub trial: TrialName,
    /// The check.
    pub check: CheckId,
    /// The instance.
    pub instance: Instance,
    /// The check's title.
    pub title: String,
    /// What to do when it is red.
    pub when_red: String,
    /// What it takes to pass: the control.
    pub control: String,
}

/// Something that had to run and did not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Shortfall {
    /// What was required, and where that is written: `suite encryption (meshproof.yaml:12)`.
    pub required: String,
    /// What is missing of it, and why.
    pub why: String,
}

/// The phases of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The lab's clusters are started.
    Booting,
    /// Contexts, versions, nodes, Cilium are read.
    Discovering,
    /// Scenarios are deployed.
    Deploying,
    /// Checks run.
    Checking,
    /// Everything of the run is removed.
    CleaningUp,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Phase::Booting => "booting the lab",
            Phase::Discovering => "discovering",
            Phase::Deploying => "deploying",
            Phase::Checking => "checking",
            Phase::CleaningUp => "cleaning up",
        })
    }
}

/// What happened to a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum FaultChange {
    Injected,
    Healed,
}
