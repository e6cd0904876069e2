//! The run report: what `report.json` holds, and all that a renderer may know.

use jiff::Timestamp;
use meshproof_contract::{
    CheckId, ClaimSource, ClusterName, Evidence, Exit, Facts, FaultName, Instance, Measurement, RunId, TrialName,
    Verdict,
    event::{Phase, Shortfall},
    evidence::{Command, Row},
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
    /// What had to run and did not; with any, the run proved less than the operators require.
    #[serde(default)]
    pub shortfalls: Vec<Shortfall>,
    /// What no check says, but people should know.
    pub warnings: Vec<String>,
    /// Faults that were injected on purpose, in order.
    pub faults: Vec<FaultReport>,
    /// How long each phase took.
    pub phases: Vec<PhaseReport>,
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

/// Trials by verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs)]
pub struct Counts {
    pub passed: usize,
    pub failed: usize,
    pub inconclusive: usize,
    pub skipped: usize,
}

impl Counts {
    /// Counts trials.
    pub fn of<'a>(trials: impl IntoIterator<Item = &'a TrialReport>) -> Self {
        let mut counts = Self::default();
        for trial in trials {
            match trial.verdict {
                Verdict::Pass { .. } => counts.passed += 1,
                Verdict::Fail { .. } => counts.failed += 1,
                Verdict::Inconclusive { .. } => counts.inconclusive += 1,
                Verdict::Skipped { .. } => counts.skipped += 1,
            }
        }
        counts
    }
    /// All trials.
    pub fn total(&self) -> usize {
        self.passed + self.failed + self.inconclusive + self.skipped
    }
    /// What these counts alone mean for the exit code.
    pub fn exit(&self) -> Exit {
        if self.failed > 0 {
            Exit::Failed
        } else if self.inconclusive > 0 {
            Exit::CouldNotTell
        } else if self.passed == 0 {
            Exit::TooLittle
        } else {
            Exit::Passed
        }
    }
}

/// A fault that was injected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FaultReport {
    /// Which.
    pub fault: FaultName,
    /// Whether it was healed before the run ended.
    pub healed: bool,
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
}

impl TrialReport {
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
    /// What it saw: its evidence without the commands.
    pub fn observations(&self) -> impl Iterator<Item = &Evidence> {
        self.evidence
            .iter()
            .filter(|evidence| !matches!(evidence, Evidence::Command(_)))
    }
    /// The name within its suite: `check[infra->apps]`.
    pub fn short_name(&self) -> &str {
        self.trial
            .as_str()
            .split_once("::")
            .map_or(self.trial.as_str(), |(_, rest)| rest)
    }
    /// One line that says why: the first deviation, the reason, or the first witness.
    pub fn headline(&self) -> String {
        match &self.verdict {
            Verdict::Pass { witnesses } => witnesses.first().map(|w| w.what.clone()).unwrap_or_default(),
            Verdict::Fail { findings } => match findings.first() {
                Some(first) if findings.len() > 1 => {
                    format!(
                        "{}: {} (and {} more)",
                        first.subject,
                        first.observed,
                        findings.len() - 1
                    )
                }
                Some(first) => format!("{}: {}", first.subject, first.observed),
                None => "failed without naming a deviation".to_owned(),
            },
            Verdict::Inconclusive { why } | Verdict::Skipped { why } => why.clone(),
        }
    }
}

impl RunReport {
    /// All trials in the order of the plan, suite by suite.
    pub fn trials(&self) -> impl Iterator<Item = &TrialReport> {
        self.suites.iter().flat_map(|suite| &suite.trials)
    }
    /// Failed trials.
    pub fn failed(&self) -> Vec<&TrialReport> {
        self.trials()
            .filter(|trial| matches!(trial.verdict, Verdict::Fail { .. }))
            .collect()
    }
    /// Inconclusive trials.
    pub fn inconclusive(&self) -> Vec<&TrialReport> {
        self.trials()
            .filter(|trial| matches!(trial.verdict, Verdict::Inconclusive { .. }))
            .collect()
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
    /// Clusters whose claims were taken from what they show, in order.
    pub fn live_claims(&self) -> Vec<&ClusterName> {
        let mut names = Vec::new();
        for claim in self.facts.iter().flat_map(|facts| &facts.claims) {
            if matches!(claim.source, ClaimSource::Live { .. }) && !names.contains(&&claim.cluster) {
                names.push(&claim.cluster);
            }
        }
        names
    }
    /// The same as a sentence without a full stop; none when all claims are the operators'.
    pub fn live_claims_notice(&self) -> Option<String> {
        let names: Vec<_> = self.live_claims().into_iter().map(ClusterName::as_str).collect();
        (!names.is_empty()).then(|| {
            format!(
                "Claims of {} were taken from the live configuration, not from files of the operators",
                names.join(" and ")
            )
        })
    }
    /// The exit code's meaning.
    pub fn exit(&self) -> Option<Exit> {
        Exit::from_code(self.exit_code)
    }
    /// A sentence on the exit code.
    pub fn meaning(&self) -> String {
        match (&self.ending, self.exit()) {
            (Ending::Aborted { reason }, _) => format!("the run could not go on: {reason}"),
            (Ending::Cut, _) => {
                "the run ended without saying so (killed or crashed); what it had seen is here".to_owned()
            }
            (Ending::Complete, Some(exit)) => exit.meaning().to_owned(),
            (Ending::Complete, None) => format!("exit code {}", self.exit_code),
        }
    }
}

/// Whether any claim of the facts was taken from what a cluster shows.
pub(crate) fn has_live_claims(facts: &Facts) -> bool {
    facts
        .claims
        .iter()
        .any(|claim| matches!(claim.source, ClaimSource::Live { .. }))
}
