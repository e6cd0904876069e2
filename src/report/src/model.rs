//! The run report: what `report.json` holds, and all that a renderer may know.

mod of_state;

use jiff::Timestamp;
use meshproof_contract::{
    ApiRequests, CheckId, Evidence, Exit, Facts, Instance, Measurement, RunId, Standing, TrialName, Verdict, Waiver,
    event::{Phase, Shortfall},
    evidence::{Command, KnownFault, Row},
    run_state::{CauseReport, ClaimReport, CommonPlace, Counts, Diagnosis, InjectedFault},
    waiver::{SPENT, SpentWaiver},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Version of `report.json`; raised when a reader of the older one would misread it.
pub const REPORT_VERSION: u32 = 2;

/// A whole run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunReport {
    /// [`REPORT_VERSION`].
    pub report_version: u32,
    /// The run.
    pub run: RunId,
    /// Version of meshproof that made the run.
    pub version: String,
    /// The command line.
    pub command: Vec<String>,
    /// When it started; none when the log lacks its first event.
    #[schemars(with = "Option<String>")]
    pub started: Option<Timestamp>,
    /// From the first to the last event, in seconds.
    pub seconds: f64,
    /// How it ended.
    pub ending: Ending,
    /// The exit code.
    pub exit_code: u8,
    /// The exit code's word: `passed`, `failed`, `inconclusive`, `nothing proven`, `interrupted`, `not started`.
    pub verdict: String,
    /// Trials by verdict.
    pub counts: Counts,
    /// Whether any claim was taken from the live configuration instead of the operators' files.
    pub claims_from_live_configuration: bool,
    /// What is claimed, followed from the operators' files to what checks saw; broken claims first.
    #[serde(default)]
    pub claims: Vec<ClaimReport>,
    /// What had to run and did not; with any, the run proved less than the operators require.
    #[serde(default)]
    pub shortfalls: Vec<Shortfall>,
    /// Waivers that must go; with any, the run fails.
    #[serde(default)]
    pub spent_waivers: Vec<SpentWaiver>,
    /// What kept checks from observing, or went wrong with nodes meanwhile: each once, with the checks concerned.
    #[serde(default)]
    pub causes: Vec<CauseReport>,
    /// The place to which most red checks are confined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub common_place: Option<CommonPlace>,
    /// The known faults that the failed checks fit; none where none failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diagnosis: Option<Diagnosis>,
    /// What no check says, but people should know.
    pub warnings: Vec<String>,
    /// Faults that were injected on purpose, in order.
    pub faults: Vec<InjectedFault>,
    /// How long each phase took.
    pub phases: Vec<PhaseReport>,
    /// The requests that meshproof made to the clusters' API servers, by cluster, verb and resource.
    #[serde(default)]
    pub api_requests: Vec<ApiRequests>,
    /// The suites in the order of the plan.
    pub suites: Vec<SuiteReport>,
    /// The clusters as found; none when the run did not come that far.
    pub facts: Option<Facts>,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Ending {
    /// It came to its end.
    Complete,
    /// It could not go on.
    Aborted {
        /// Why.
        reason: String,
    },
    /// The log ends in the middle: the process was killed or crashed.
    Cut,
}

/// A phase that a run went through.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PhaseReport {
    /// Which.
    pub phase: Phase,
    /// How long it took.
    pub seconds: f64,
}

/// A suite's trials.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SuiteReport {
    /// Its name.
    pub name: String,
    /// Its trials by verdict.
    pub counts: Counts,
    /// The sum of its trials' times; they ran beside each other, so this is not the time that passed.
    pub seconds: f64,
    /// Its trials in the order of the plan.
    pub trials: Vec<TrialReport>,
}

/// One trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TrialReport {
    /// `suite::check[infra->apps]`.
    pub trial: TrialName,
    /// The check.
    pub check: CheckId,
    /// On what it ran; none when only its name is known and that says nothing.
    pub instance: Option<Instance>,
    /// The check's title.
    pub title: String,
    /// What to look at when it is red.
    pub when_red: String,
    /// The positive control.
    pub control: String,
    /// The command that runs it again, alone.
    pub again: String,
    /// When it started; none when it never did.
    #[schemars(with = "Option<String>")]
    pub started: Option<Timestamp>,
    /// How long it took.
    pub seconds: f64,
    /// What it concluded.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// Its figures.
    pub measurements: Vec<Measurement>,
    /// What it saw: rows of matrices, packets, commands to run next, notes.
    pub evidence: Vec<Evidence>,
    /// The waiver that covers it; in force, it keeps a failure from failing the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiver: Option<Waiver>,
    /// What was wrong with nodes or API servers of its clusters while it failed: sentences without a full stop.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub meanwhile: Vec<String>,
}

impl TrialReport {
    /// What it means to the run.
    pub fn standing(&self) -> Standing {
        Standing::of(&self.verdict, self.waiver.as_ref())
    }
    /// The waiver that accepts its failure, if that is in force.
    pub fn accepted(&self) -> Option<&Waiver> {
        self.waiver.as_ref().filter(|_| self.standing().is_waived())
    }
    /// The rows of matrices in its evidence.
    pub fn rows(&self) -> impl Iterator<Item = &Row> {
        self.evidence.iter().filter_map(|evidence| match evidence {
            Evidence::Row(row) => Some(row),
            _ => None,
        })
    }
    /// The commands in its evidence.
    pub fn commands(&self) -> impl Iterator<Item = &Command> {
        self.evidence.iter().filter_map(|evidence| match evidence {
            Evidence::Command(command) => Some(command),
            _ => None,
        })
    }
    /// The faults of Cilium itself that what it saw fits.
    pub fn known_faults(&self) -> impl Iterator<Item = &KnownFault> {
        self.evidence.iter().filter_map(|evidence| match evidence {
            Evidence::KnownFault(known) => Some(known),
            _ => None,
        })
    }
    /// What it saw: its evidence without the commands.
    pub fn observations(&self) -> impl Iterator<Item = &Evidence> {
        self.evidence
            .iter()
            .filter(|evidence| !matches!(evidence, Evidence::Command(_)))
    }
}

impl RunReport {
    /// All trials in the order of the plan, suite by suite.
    pub fn trials(&self) -> impl Iterator<Item = &TrialReport> {
        self.suites.iter().flat_map(|suite| &suite.trials)
    }
    /// Failed trials, less the waived ones.
    pub fn failed(&self) -> Vec<&TrialReport> {
        self.standing(|standing| standing == Standing::Failed)
    }
    /// Inconclusive trials, less the waived ones.
    pub fn inconclusive(&self) -> Vec<&TrialReport> {
        self.standing(|standing| standing == Standing::Inconclusive)
    }
    /// Trials that a waiver keeps from deciding about the run.
    pub fn waived(&self) -> Vec<&TrialReport> {
        self.standing(Standing::is_waived)
    }
    fn standing(&self, wanted: impl Fn(Standing) -> bool) -> Vec<&TrialReport> {
        self.trials().filter(|trial| wanted(trial.standing())).collect()
    }
    /// The cause under which a trial is counted that could not observe.
    pub fn cause_of(&self, trial: &TrialName) -> Option<&CauseReport> {
        self.causes.iter().find(|cause| cause.concerns(trial))
    }
    /// Reasons for skipping with the trials that they concern, in the order of the plan.
    pub fn skipped(&self) -> Vec<(&str, Vec<&TrialReport>)> {
        let mut groups: Vec<(&str, Vec<&TrialReport>)> = Vec::new();
        for trial in self.trials() {
            let Verdict::Skipped { why } = &trial.verdict else {
                continue;
            };
            match groups.iter_mut().find(|(reason, _)| reason == why) {
                Some((_, trials)) => trials.push(trial),
                None => groups.push((why, vec![trial])),
            }
        }
        groups
    }
    /// What the failed checks point to, as sentences without a full stop.
    pub fn diagnosis_sentences(&self) -> Vec<String> {
        self.diagnosis.as_ref().map_or(Vec::new(), Diagnosis::sentences)
    }
    /// Whose claims were not the operators' own, as a sentence without a full stop; none when all were.
    pub fn live_claims_notice(&self) -> Option<String> {
        self.facts.as_ref()?.live_claims_notice()
    }
    /// The exit code's meaning.
    pub fn exit(&self) -> Option<Exit> {
        Exit::from_code(self.exit_code)
    }
    /// A sentence on the exit code.
    pub fn meaning(&self) -> String {
        match (&self.ending, self.exit()) {
            (Ending::Aborted { reason }, _) => format!("the run was aborted: {reason}"),
            (Ending::Cut, _) => {
                "the event log ends early (the run was killed or crashed); this is what it had observed".to_owned()
            }
            (Ending::Complete, Some(Exit::Failed)) if self.counts.failed == 0 && !self.spent_waivers.is_empty() => {
                SPENT.to_owned()
            }
            (Ending::Complete, Some(exit)) => exit.meaning().to_owned(),
            (Ending::Complete, None) => format!("exit code {}", self.exit_code),
        }
    }
}
