//! What a check concludes. Pass, fail, inconclusive and skipped are different things.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The conclusion of one trial.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// The claim was seen to hold; `witnesses` name the positive observations, never empty.
    Pass {
        /// What was observed.
        witnesses: Vec<Witness>,
    },
    /// The claim was seen not to hold.
    Fail {
        /// Each deviation.
        findings: Vec<Finding>,
    },
    /// It could not be decided.
    Inconclusive {
        /// Why not, and what to do.
        why: String,
    },
    /// Not applicable here.
    Skipped {
        /// Why.
        why: String,
    },
}

/// A positive observation on which a pass rests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Witness {
    /// What was seen: `36 of 36 pairs answered, each by the pod asked`.
    pub what: String,
}

/// One deviation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// Where: `infra-1 -> apps-2`, `CiliumNode apps-2`.
    pub subject: String,
    /// What was expected, and by which rule or claim.
    pub expected: String,
    /// What was observed.
    pub observed: String,
}

impl Verdict {
    /// The outcome's word, as in reports: `pass`, `fail`, `inconclusive`, `skipped`.
    pub fn word(&self) -> &'static str {
        match self {
            Verdict::Pass { .. } => "pass",
            Verdict::Fail { .. } => "fail",
            Verdict::Inconclusive { .. } => "inconclusive",
            Verdict::Skipped { .. } => "skipped",
        }
    }
    /// One line on it: the first deviation, the reason, or the first witness.
    pub fn headline(&self) -> String {
        match self {
            Verdict::Pass { witnesses } => witnesses.first().map(|w| w.what.clone()).unwrap_or_default(),
            Verdict::Fail { findings } => match findings.as_slice() {
                [] => "failed without a finding".to_owned(),
                [one] => format!("{}: {}", one.subject, one.observed),
                [first, rest @ ..] => format!("{}: {} (and {} more)", first.subject, first.observed, rest.len()),
            },
            Verdict::Inconclusive { why } | Verdict::Skipped { why } => why.clone(),
        }
    }
    /// Inconclusive because of `why`.
    pub fn inconclusive(why: impl Into<String>) -> Self {
        Verdict::Inconclusive { why: why.into() }
    }
    /// Skipped because of `why`.
    pub fn skipped(why: impl Into<String>) -> Self {
        Verdict::Skipped { why: why.into() }
    }
}
