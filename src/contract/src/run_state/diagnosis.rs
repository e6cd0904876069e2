//! The known faults whose signatures the red checks fit: what most probably is wrong.
//!
//! A check that a signature does not mention says little about it. A check that few faults turn red says more
//! than one that many do. Several faults are found one after another, each by what those before do not explain.

use super::{CommonPlace, RunState, TrialState};
use crate::{CheckId, Signatures, Standing, TrialName, Verdict, signature::Signature, text::counted};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Faults named at most, alternatives included.
const SUSPECTS: usize = 3;
/// A score from which on a first fault is named, and one from which on a further one is.
const FITS: f64 = 0.45;
const FITS_BESIDE: f64 = 0.6;
/// Another fault whose score is at most so much lower is named beside the best.
const CLOSE: f64 = 0.1;
/// What an inconclusive check counts where a red one is expected, or the other way round.
const HALF: f64 = 0.5;
/// What a red check counts against a signature that does not mention it.
const UNKNOWN: f64 = 0.35;
/// What a check counts that a signature expects to be red and that did not run.
const NOT_RUN: f64 = 0.1;

/// What the red checks of a run point to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Diagnosis {
    /// Faults at once, the one that explains most first; none where no known fault fits.
    pub causes: Vec<Suspicion>,
    /// Red checks that none of them explains.
    pub unexplained: Vec<TrialName>,
}

/// A fault, and those that it cannot be told from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Suspicion {
    /// The one that fits best.
    pub fault: Suspect,
    /// Others that fit almost as well.
    pub instead: Vec<Suspect>,
    /// How many more fit as well as the last of them.
    pub others: usize,
    /// Red checks that it explains.
    pub explains: Vec<TrialName>,
    /// Where they have failed, as a sentence, if that is one place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// Checks that would tell these faults apart and have not: they did not run, or were inconclusive.
    pub apart: Vec<CheckId>,
    /// Commands that show more.
    pub commands: Vec<String>,
}

/// A known fault.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Suspect {
    /// Its name in docs/prove.md.
    pub name: String,
    /// What would be wrong, in one line.
    pub what: String,
    /// How well it fits, from 0 to 1.
    pub score: f64,
}

/// Checks by what a run saw.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Red ones, each with the clusters or directions in which it is.
    pub red: BTreeMap<CheckId, BTreeSet<String>>,
    /// Inconclusive ones.
    pub unsure: BTreeSet<CheckId>,
    /// Ones that ran and passed.
    pub green: BTreeSet<CheckId>,
    /// The kind of place that the red ones have in common.
    pub place: Option<String>,
}

/// A fault that fits, by its position among the signatures' faults.
#[derive(Clone, Debug)]
pub struct Found<'a> {
    /// The best row of it, and its score.
    pub best: (&'a Signature, f64),
    /// Rows of other faults, best first, with their scores.
    pub close: Vec<(&'a Signature, f64)>,
    /// Red checks that it explains.
    pub explains: BTreeSet<CheckId>,
}

/// The faults that what was seen fits, the one that explains most first.
pub fn diagnose<'a>(seen: &Seen, known: &'a Signatures) -> Vec<Found<'a>> {
    let weights = Weights::of(known);
    let mut left: BTreeSet<CheckId> = seen.red.keys().cloned().collect();
    let mut found: Vec<Found<'a>> = Vec::new();
    while !left.is_empty() && found.len() < SUSPECTS {
        let ranked = ranked(seen, &left, known, &weights);
        let Some((best, score)) = ranked.first().copied() else {
            break;
        };
        let least = if found.is_empty() { FITS } else { FITS_BESIDE };
        let explains = explained(best, &left, found.is_empty());
        if score < least || explains.is_empty() {
            break;
        }
        left.retain(|check| !explains.contains(check));
        let others = ranked.into_iter().skip(1);
        found.push(Found {
            best: (best, score),
            close: others
                .take_while(|(_, other)| *other >= score - CLOSE && *other >= least)
                .collect(),
            explains,
        });
    }
    found
}

/// The red checks that a fault explains. A first one may also have what was never tried with it.
fn explained(row: &Signature, left: &BTreeSet<CheckId>, is_first: bool) -> BTreeSet<CheckId> {
    let explains = |check: &&CheckId| {
        let is_tried = row.green.contains(*check);
        row.red.contains_key(*check) || row.unsure.contains(*check) || (is_first && !is_tried && is_alike(row, check))
    };
    left.iter().filter(explains).cloned().collect()
}

/// Whether some check of the same suite is red with it: what it was not tried with may be, too.
fn is_alike(row: &Signature, check: &CheckId) -> bool {
    row.red.keys().any(|other| other.suite() == check.suite())
}

/// The best row of each fault with its score, best first; of equals the one that is named first.
fn ranked<'a>(
    seen: &Seen,
    left: &BTreeSet<CheckId>,
    known: &'a Signatures,
    weights: &Weights<'_>,
) -> Vec<(&'a Signature, f64)> {
    let mut best: BTreeMap<&str, (&Signature, f64)> = BTreeMap::new();
    for row in &known.rows {
        let score = score(seen, left, row, weights);
        let entry = best.entry(row.of.as_str()).or_insert((row, score));
        if score > entry.1 {
            *entry = (row, score);
        }
    }
    let mut ranked: Vec<_> = best.into_values().filter(|(_, score)| *score > 0.0).collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
    ranked
}

/// How well a row fits what is left to explain: the weight of what agrees, as a share of that and of what contradicts.
fn score(seen: &Seen, left: &BTreeSet<CheckId>, row: &Signature, weights: &Weights<'_>) -> f64 {
    let (mut agrees, mut contradicts) = (0.0, 0.0);
    for check in left {
        let weight = weights.of_check(check);
        if let Some(expected) = row.red.get(check) {
            let share = overlap(expected, &seen.red[check]);
            agrees += weight * share;
            contradicts += weight * (1.0 - share);
        } else if row.unsure.contains(check) {
            agrees += weight * HALF;
            contradicts += weight * (1.0 - HALF);
        } else if row.green.contains(check) {
            contradicts += weight;
        } else {
            contradicts += weight * UNKNOWN;
        }
    }
    for check in row.red.keys() {
        let weight = weights.of_check(check);
        if seen.green.contains(check) {
            contradicts += weight;
        } else if seen.unsure.contains(check) {
            agrees += weight * HALF * HALF;
        } else if !seen.red.contains_key(check) {
            // Of two faults that fit, the one that promises less that was not looked at.
            contradicts += weight * NOT_RUN;
        }
    }
    for check in row.unsure.iter().filter(|check| seen.green.contains(*check)) {
        contradicts += weights.of_check(check) * HALF;
    }
    if let (Some(expected), Some(place)) = (&row.place, &seen.place) {
        let weight = agrees * 0.1;
        match expected == place {
            true => agrees += weight,
            false => contradicts += weight,
        }
    }
    if agrees > 0.0 {
        agrees / (agrees + contradicts)
    } else {
        0.0
    }
}

/// How alike two sets of clusters or directions are in number: a fault that acts on one is another than one that acts
/// on both, wherever that was. One where nothing is known.
fn overlap(expected: &BTreeSet<String>, seen: &BTreeSet<String>) -> f64 {
    let (a, b) = (expected.len() as f64, seen.len() as f64);
    match expected.is_empty() || seen.is_empty() {
        true => 1.0,
        false => 1.0 - 0.3 * (1.0 - a.min(b) / a.max(b)),
    }
}

/// What a check says: the fewer faults turn it red, the more.
struct Weights<'a> {
    faults: f64,
    turning_red: HashMap<&'a CheckId, f64>,
}

impl<'a> Weights<'a> {
    fn of(known: &'a Signatures) -> Self {
        let mut red: HashMap<&CheckId, BTreeSet<&str>> = HashMap::new();
        for row in &known.rows {
            for check in row.red.keys() {
                red.entry(check).or_default().insert(&row.of);
            }
        }
        let faults: BTreeSet<&str> = known.rows.iter().map(|row| row.of.as_str()).collect();
        Self {
            faults: faults.len() as f64,
            turning_red: red
                .into_iter()
                .map(|(check, faults)| (check, faults.len() as f64))
                .collect(),
        }
    }

    fn of_check(&self, check: &CheckId) -> f64 {
        let red = self.turning_red.get(check).copied().unwrap_or(1.0);
        ((1.0 + self.faults) / red).ln().max(0.1)
    }
}

impl RunState {
    /// What the red checks point to; none where no check is red.
    pub fn diagnosis(&self) -> Option<Diagnosis> {
        self.diagnosis_by(Signatures::known())
    }

    /// The same by other signatures.
    pub fn diagnosis_by(&self, known: &Signatures) -> Option<Diagnosis> {
        let seen = self.seen_by_checks();
        if seen.red.is_empty() {
            return None;
        }
        let found = diagnose(&seen, known);
        let explained: BTreeSet<&CheckId> = found.iter().flat_map(|found| &found.explains).collect();
        let unexplained = self.red_trials(|check| !explained.contains(check));
        Some(Diagnosis {
            unexplained: unexplained.map(|trial| trial.planned.trial.clone()).collect(),
            causes: found.iter().map(|found| self.suspicion(found, &seen)).collect(),
        })
    }

    /// Checks by their worst verdict.
    pub fn seen_by_checks(&self) -> Seen {
        let mut seen = Seen {
            place: self.common_place().map(|place| place.place.kind().to_owned()),
            ..Seen::default()
        };
        for trial in &self.trials {
            let check = trial.planned.check.clone();
            match (trial.standing(), trial.verdict()) {
                (Some(Standing::Failed), _) => {
                    let instance = trial.instance.iter().map(ToString::to_string);
                    seen.red.entry(check).or_default().extend(instance);
                }
                (Some(Standing::Inconclusive), _) => drop(seen.unsure.insert(check)),
                (_, Some(Verdict::Pass { .. })) => drop(seen.green.insert(check)),
                _ => {}
            }
        }
        seen.unsure.retain(|check| !seen.red.contains_key(check));
        seen.green
            .retain(|check| !seen.red.contains_key(check) && !seen.unsure.contains(check));
        seen
    }

    fn red_trials(&self, wanted: impl Fn(&CheckId) -> bool) -> impl Iterator<Item = &TrialState> {
        let red = self
            .trials
            .iter()
            .filter(|trial| trial.standing() == Some(Standing::Failed));
        red.filter(move |trial| wanted(&trial.planned.check))
    }

    fn suspicion(&self, found: &Found<'_>, seen: &Seen) -> Suspicion {
        let suspect = |(row, score): &(&Signature, f64)| Suspect {
            name: row.of.clone(),
            what: row.what.clone(),
            score: *score,
        };
        let instead: Vec<_> = found.close.iter().take(SUSPECTS - 1).collect();
        let explains: Vec<&TrialState> = self.red_trials(|check| found.explains.contains(check)).collect();
        let first = explains.first().and_then(|trial| trial.finished.as_ref());
        Suspicion {
            fault: suspect(&found.best),
            others: found.close.len() - instead.len(),
            apart: apart(found.best.0, &instead, seen),
            instead: instead.into_iter().map(suspect).collect(),
            place: self.place_of(&explains).map(|place| place.text),
            commands: first
                .iter()
                .flat_map(|trial| trial.commands())
                .take(2)
                .map(str::to_owned)
                .collect(),
            explains: explains.iter().map(|trial| trial.planned.trial.clone()).collect(),
        }
    }

    /// The place of these red checks, if that is one.
    fn place_of(&self, trials: &[&TrialState]) -> Option<CommonPlace> {
        let place = self.common_place()?;
        let is_there = |trial: &&&TrialState| place.concerns(&trial.planned.trial);
        let there = trials.iter().filter(is_there).count();
        (there * 2 > trials.len()).then_some(place)
    }
}

/// Checks that are red with one of these faults and green with another, and of which nothing is known.
fn apart(best: &Signature, instead: &[&(&Signature, f64)], seen: &Seen) -> Vec<CheckId> {
    let is_open = |check: &&CheckId| !seen.red.contains_key(*check) && !seen.green.contains(*check);
    let mut apart = BTreeSet::new();
    for (other, _) in instead {
        for (a, b) in [(best, *other), (*other, best)] {
            apart.extend(
                a.red
                    .keys()
                    .filter(|check| b.green.contains(*check))
                    .filter(is_open)
                    .cloned(),
            );
        }
    }
    apart.into_iter().collect()
}

impl Diagnosis {
    /// Sentences without a full stop, for people: each fault with what it explains, and what no known fault explains.
    pub fn sentences(&self) -> Vec<String> {
        let red: usize = self.causes.iter().map(|cause| cause.explains.len()).sum::<usize>() + self.unexplained.len();
        let mut sentences: Vec<String> = self.causes.iter().map(|cause| cause.sentence(red)).collect();
        if self.causes.is_empty() {
            let (fits, checks) = ("no known fault fits", counted(red, "red check"));
            sentences.push(format!("{fits} the {checks}"));
        } else if !self.unexplained.is_empty() {
            let more = counted(self.unexplained.len(), "red check");
            sentences.push(format!("no known fault explains {more} beside that"));
        }
        sentences
    }
}

impl Suspicion {
    /// `likely cause: UDP between nodes is dropped (udp-dropped, 0.94); it explains 36 of 36 red checks`.
    fn sentence(&self, red: usize) -> String {
        let Suspect { name, what, score } = &self.fault;
        let mut text = format!(
            "likely cause: {what} (`{name}`, {score:.2}); it explains {} of {}",
            self.explains.len(),
            counted(red, "red check")
        );
        if let Some(place) = &self.place {
            text.push_str(&format!(". {place}"));
        }
        for other in &self.instead {
            text.push_str(&format!("; or: {} (`{}`, {:.2})", other.what, other.name, other.score));
        }
        if self.others > 0 {
            text.push_str(&format!("; {} as well", counted(self.others, "other known fault")));
        }
        if let [first, ..] = self.apart.as_slice() {
            text.push_str(&format!("; to tell them apart, run `{first}`"));
        }
        text
    }
}

#[cfg(test)]
mod tests;
