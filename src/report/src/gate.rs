//! The gate: a run compared with earlier ones. May it go on, or back?
//!
//! Pure: reports in, a decision with its reasons out. Verdicts are compared by trial, figures by samples. What was
//! wrong before and still is does not stop anything, since nobody made it worse; it is told.

mod claims;
mod figures;
mod markdown;
mod series;
mod statistics;
mod text;
mod trials;

pub use claims::LostClaim;
pub use figures::{FigureChange, LARGE_EFFECT, LEAST_SAMPLES, Meaning, SIGNIFICANCE, Side};
pub use markdown::markdown;
pub use series::FigureKind;
pub use text::text;
pub use trials::{ChangeKind, TrialChange};

use crate::model::{Ending, RunReport};
use jiff::Timestamp;
use meshproof_contract::{Exit, RunId, text::counted, waiver::SpentWaiver};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt};

/// Version of the gate's JSON; raised when a reader of the older one would misread it.
pub const GATE_VERSION: u32 = 1;

/// The comparison of a run with earlier ones.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GateReport {
    /// [`GATE_VERSION`].
    pub gate_version: u32,
    /// Whether to go on.
    pub decision: Decision,
    /// Why, the decisive ones first; of a go, what was compared.
    pub reasons: Vec<Reason>,
    /// The runs that it is compared with, oldest first.
    pub baseline: Vec<GateRun>,
    /// The run.
    pub current: GateRun,
    /// What is different about the clusters, as sentences without a full stop: versions, nodes.
    pub differences: Vec<String>,
    /// Trials that changed or stay red, by kind.
    pub trials: Vec<TrialChange>,
    /// Claims that were made or held before.
    pub claims: Vec<LostClaim>,
    /// Waivers of the current run that must go.
    pub spent_waivers: Vec<SpentWaiver>,
    /// Every figure that both sides have.
    pub figures: Vec<FigureChange>,
}

/// The gate's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// Nothing became worse.
    Go,
    /// Something did.
    NoGo,
    /// Too little was observed to say so.
    CannotTell,
}

impl Decision {
    /// The exit code: 0, 1 or 3.
    pub fn exit(self) -> Exit {
        match self {
            Decision::Go => Exit::Passed,
            Decision::NoGo => Exit::Failed,
            Decision::CannotTell => Exit::CouldNotTell,
        }
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Decision::Go => "GO",
            Decision::NoGo => "NO-GO",
            Decision::CannotTell => "CANNOT TELL",
        })
    }
}

/// One reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reason {
    /// What it decides by itself.
    pub decides: Decision,
    /// A sentence without a full stop.
    pub text: String,
}

/// A run that is compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GateRun {
    /// Which.
    pub run: RunId,
    /// When it started.
    #[schemars(with = "Option<String>")]
    pub started: Option<Timestamp>,
    /// Version of meshproof.
    pub version: String,
    /// Its own verdict: `passed`, `failed`, …
    pub verdict: String,
    /// Why it did not come to its end; none if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unfinished: Option<String>,
}

impl From<&RunReport> for GateRun {
    fn from(report: &RunReport) -> Self {
        Self {
            run: report.run.clone(),
            started: report.started,
            version: report.version.clone(),
            verdict: report.verdict.clone(),
            unfinished: unfinished(report),
        }
    }
}

/// Why a run did not come to its end.
fn unfinished(report: &RunReport) -> Option<String> {
    match (&report.ending, report.exit()) {
        (Ending::Aborted { reason }, _) => Some(reason.clone()),
        (Ending::Cut, _) => Some("the process was killed or crashed".to_owned()),
        (Ending::Complete, Some(Exit::Interrupted)) => Some("interrupted".to_owned()),
        (Ending::Complete, _) => None,
    }
}

/// Compares a run with earlier ones, of which those that came to their end count; without any, all do.
pub fn compare(baseline: &[RunReport], current: &RunReport) -> GateReport {
    let mut used: Vec<&RunReport> = baseline.iter().filter(|run| unfinished(run).is_none()).collect();
    let is_baseline_whole = !used.is_empty();
    if !is_baseline_whole {
        used = baseline.iter().collect();
    }
    used.sort_by_key(|run| run.started);
    let mut report = GateReport {
        gate_version: GATE_VERSION,
        decision: Decision::Go,
        reasons: Vec::new(),
        baseline: used.iter().map(|run| GateRun::from(*run)).collect(),
        current: current.into(),
        differences: used.last().map_or(Vec::new(), |before| differences(before, current)),
        trials: trials::changes(&used, current),
        claims: used.last().map_or(Vec::new(), |before| claims::lost(before, current)),
        spent_waivers: current.spent_waivers.clone(),
        figures: figures::figures(used.iter().copied(), current),
    };
    report.reasons = reasons(
        &report,
        is_baseline_whole,
        trials::observed_on_both_sides(&used, current),
    );
    report.decision = report
        .reasons
        .iter()
        .map(|reason| reason.decides)
        .fold(Decision::Go, worse);
    report
}

fn worse(a: Decision, b: Decision) -> Decision {
    [Decision::NoGo, Decision::CannotTell]
        .into_iter()
        .find(|decision| a == *decision || b == *decision)
        .unwrap_or(Decision::Go)
}

fn reasons(report: &GateReport, is_baseline_whole: bool, observed: usize) -> Vec<Reason> {
    let mut reasons = Vec::new();
    let mut add = |decides, text: String| reasons.push(Reason { decides, text });
    let number = |kind| report.of(kind).count();
    let told = |count: usize, what: &str| format!("{} {what}", counted(count, "check"));
    if number(ChangeKind::NewFailure) > 0 {
        add(Decision::NoGo, told(number(ChangeKind::NewFailure), "newly failed"));
    }
    if number(ChangeKind::MorePlaces) > 0 {
        let text = told(number(ChangeKind::MorePlaces), "failed before, and now at more places");
        add(Decision::NoGo, text);
    }
    let regressions = report.figures(Meaning::Regression).count();
    if regressions > 0 {
        add(
            Decision::NoGo,
            format!("{} became worse", counted(regressions, "figure")),
        );
    }
    if !report.claims.is_empty() {
        let text = format!(
            "{} no longer made, or no longer true",
            counted(report.claims.len(), "claim")
        );
        add(Decision::NoGo, text);
    }
    let unfinished = report.current.unfinished.as_ref();
    let lost = number(ChangeKind::CoverageLost);
    if lost > 0 {
        let decides = unfinished.map_or(Decision::NoGo, |_| Decision::CannotTell);
        add(decides, told(lost, "ran before and not now"));
    }
    if let Some(why) = unfinished {
        add(
            Decision::CannotTell,
            format!("the current run did not come to its end: {why}"),
        );
    }
    if number(ChangeKind::NewInconclusive) > 0 {
        let text = told(number(ChangeKind::NewInconclusive), "newly inconclusive");
        add(Decision::CannotTell, text);
    }
    if !is_baseline_whole {
        let text = "no run of the baseline came to its end: take another one".to_owned();
        add(Decision::CannotTell, text);
    }
    if observed == 0 {
        let text = "no check was observed in both the baseline and the current run".to_owned();
        add(Decision::CannotTell, text);
    }
    let enough = report.figures.iter().filter(|figure| figure.decides()).count();
    if reasons.is_empty() {
        reasons.push(Reason {
            decides: Decision::Go,
            text: format!(
                "none of {} and {} became worse",
                counted(observed, "check"),
                counted(enough, "figure")
            ),
        });
    }
    reasons.sort_by_key(|reason| reason.decides != Decision::NoGo);
    reasons
}

/// What is different about the clusters.
fn differences(before: &RunReport, now: &RunReport) -> Vec<String> {
    let described = |report: &RunReport| -> BTreeMap<(String, &str), String> {
        let mut found = BTreeMap::new();
        for cluster in report.facts.iter().flat_map(|facts| &facts.clusters) {
            let mut add = |what, value| found.insert((cluster.name.to_string(), what), value);
            add("Kubernetes", cluster.version.clone());
            let cilium = cluster.cilium.as_ref();
            add(
                "Cilium",
                cilium.map_or("none".to_owned(), |cilium| cilium.version.clone()),
            );
            let mut nodes: Vec<&str> = cluster.nodes.iter().map(|node| node.name.as_str()).collect();
            nodes.sort_unstable();
            add("nodes", nodes.join(", "));
        }
        found.insert((String::new(), "meshproof"), report.version.clone());
        found
    };
    let (old, new) = (described(before), described(now));
    let changed = new
        .iter()
        .filter(|(what, value)| old.get(*what).is_some_and(|old| old != *value));
    let mut sentences: Vec<String> = changed
        .map(|(key, value)| {
            let what = format!("{} {}", key.0, key.1);
            format!("{}: {} before, {value} now", what.trim(), old[key])
        })
        .collect();
    for (run, when) in [(before, "baseline"), (now, "current run")] {
        for fault in &run.faults {
            sentences.push(format!(
                "in the {when} a fault was injected on purpose: {}",
                fault.fault
            ));
        }
    }
    sentences
}

impl GateReport {
    /// Trials of one kind.
    pub fn of(&self, kind: ChangeKind) -> impl Iterator<Item = &TrialChange> {
        self.trials.iter().filter(move |change| change.kind == kind)
    }
    /// Figures of one meaning.
    pub fn figures(&self, meaning: Meaning) -> impl Iterator<Item = &FigureChange> {
        self.figures.iter().filter(move |figure| figure.meaning == meaning)
    }
    /// The report as JSON.
    pub fn json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("a report has string keys and finite numbers only");
        text.push('\n');
        text
    }
}

#[cfg(test)]
mod tests;
