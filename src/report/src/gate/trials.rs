//! Verdicts compared, trial by trial.

use crate::model::{RunReport, TrialReport};
use meshproof_contract::{NodeLabel, Standing, TrialName, Verdict, evidence::CellOutcome};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap};

/// What became of a trial. Ordered by what people look at first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// It fails, and did not before: no-go.
    NewFailure,
    /// It failed before, and now also where it was fine: no-go.
    MorePlaces,
    /// It ran before, and not now: no-go.
    CoverageLost,
    /// It could tell before, and cannot now.
    NewInconclusive,
    /// It failed before, too.
    StillFailing,
    /// It could not tell before, either.
    StillInconclusive,
    /// A waiver keeps it from deciding.
    Waived,
    /// It failed or could not tell before, and passes.
    Fixed,
    /// It passes, and did not run before.
    NewCheck,
}

/// What became of one trial.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TrialChange {
    /// Which.
    pub trial: TrialName,
    /// What became of it.
    pub kind: ChangeKind,
    /// Its standing in the latest run of the baseline that could tell: `passed`, `failed`, `skipped`, `not run`, …
    pub before: String,
    /// In how many runs of the baseline it failed.
    pub failed_before: usize,
    /// Its standing now.
    pub now: String,
    /// Why, in one line: the first finding, the reason, the waiver.
    pub why: String,
    /// The command that runs it again, alone.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub again: String,
}

/// The trials that changed or stay red, by kind and in the order of the plan.
pub(super) fn changes(baseline: &[&RunReport], current: &RunReport) -> Vec<TrialChange> {
    let before = by_name(baseline);
    let now: HashMap<&TrialName, &TrialReport> = current.trials().map(|trial| (&trial.trial, trial)).collect();
    let of_current = current.trials().filter_map(|trial| {
        let earlier = before.get(&trial.trial).map_or(&[][..], Vec::as_slice);
        change(earlier, trial)
    });
    let mut changes: Vec<TrialChange> = of_current.collect();
    // Of what is gone altogether, each once, in the order of the latest plan that had it.
    let mut gone = BTreeSet::new();
    for trial in baseline.iter().rev().flat_map(|run| run.trials()) {
        if now.contains_key(&trial.trial) || !gone.insert(&trial.trial) {
            continue;
        }
        let earlier = &before[&trial.trial];
        if let Some(told) = latest(earlier).filter(|trial| trial.standing() != Standing::Skipped) {
            changes.push(TrialChange {
                trial: trial.trial.clone(),
                kind: ChangeKind::CoverageLost,
                before: told.standing().word().to_owned(),
                failed_before: failures(earlier),
                now: "not run".to_owned(),
                why: "the current run did not select it".to_owned(),
                again: String::new(),
            });
        }
    }
    changes.sort_by_key(|change| change.kind);
    changes
}

/// How many trials could tell on both sides.
pub(super) fn observed_on_both_sides(baseline: &[&RunReport], current: &RunReport) -> usize {
    let before = by_name(baseline);
    let told = current.trials().filter(|trial| could_tell(trial));
    told.filter(|trial| {
        before
            .get(&trial.trial)
            .is_some_and(|all| all.iter().any(|one| could_tell(one)))
    })
    .count()
}

fn by_name<'a>(baseline: &[&'a RunReport]) -> HashMap<&'a TrialName, Vec<&'a TrialReport>> {
    let mut found: HashMap<_, Vec<_>> = HashMap::new();
    for trial in baseline.iter().flat_map(|run| run.trials()) {
        found.entry(&trial.trial).or_default().push(trial);
    }
    found
}

fn could_tell(trial: &TrialReport) -> bool {
    matches!(trial.verdict, Verdict::Pass { .. } | Verdict::Fail { .. })
}

/// The latest that could tell; else the latest that ran; else the latest.
fn latest<'a>(earlier: &[&'a TrialReport]) -> Option<&'a TrialReport> {
    let from_the_end = || earlier.iter().rev().copied();
    let ran = |trial: &&TrialReport| trial.standing() != Standing::Skipped;
    let told = from_the_end().find(|trial| could_tell(trial));
    told.or_else(|| from_the_end().find(ran))
        .or_else(|| from_the_end().next())
}

fn failures(earlier: &[&TrialReport]) -> usize {
    let failed = earlier
        .iter()
        .filter(|trial| matches!(trial.verdict, Verdict::Fail { .. }));
    failed.count()
}

/// What became of a trial of the current run; none where it is as it was, and fine.
fn change(earlier: &[&TrialReport], now: &TrialReport) -> Option<TrialChange> {
    let before = latest(earlier);
    let standing = before.map(TrialReport::standing);
    let kind = match (standing, now.standing()) {
        (_, Standing::Waived | Standing::Unobserved) => ChangeKind::Waived,
        (Some(Standing::Failed), Standing::Failed) => match has_spread(before?, now) {
            true => ChangeKind::MorePlaces,
            false => ChangeKind::StillFailing,
        },
        (_, Standing::Failed) => ChangeKind::NewFailure,
        (Some(Standing::Inconclusive | Standing::Unobserved), Standing::Inconclusive) => ChangeKind::StillInconclusive,
        (_, Standing::Inconclusive) => ChangeKind::NewInconclusive,
        (None | Some(Standing::Skipped), Standing::Skipped) => return None,
        (Some(_), Standing::Skipped) => ChangeKind::CoverageLost,
        (Some(Standing::Passed), Standing::Passed) => return None,
        (None | Some(Standing::Skipped), Standing::Passed) => ChangeKind::NewCheck,
        (Some(_), Standing::Passed) => ChangeKind::Fixed,
    };
    let why = match &now.waiver {
        Some(waiver) if kind == ChangeKind::Waived => format!("{waiver}; seen: {}", now.verdict.headline()),
        _ => now.verdict.headline(),
    };
    Some(TrialChange {
        trial: now.trial.clone(),
        kind,
        before: standing.map_or("not run", Standing::word).to_owned(),
        failed_before: failures(earlier),
        now: now.standing().word().to_owned(),
        why,
        again: now.again.clone(),
    })
}

/// Whether a trial that failed before now also fails on a path that was fine then.
fn has_spread(before: &TrialReport, now: &TrialReport) -> bool {
    let fine: BTreeSet<Path<'_>> = cells(before, |outcome| outcome == CellOutcome::Ok).collect();
    let is_bad = |outcome| matches!(outcome, CellOutcome::NoAnswer | CellOutcome::Mismatch);
    let bad: BTreeSet<Path<'_>> = cells(now, is_bad).collect();
    !bad.is_disjoint(&fine)
}

type Path<'a> = (&'a str, &'a NodeLabel, &'a NodeLabel);

fn cells(trial: &TrialReport, wanted: impl Fn(CellOutcome) -> bool) -> impl Iterator<Item = Path<'_>> {
    let cells = trial
        .rows()
        .flat_map(|row| row.cells.iter().map(move |cell| (row, cell)));
    cells
        .filter(move |(_, cell)| wanted(cell.outcome))
        .map(|(row, cell)| (row.what.as_str(), &row.from, &cell.to))
}
