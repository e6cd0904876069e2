//! The check x fault matrix and its judgement: pure, so that its rules are tested without a lab.

mod defect;
mod markdown;
#[cfg(test)]
mod tests;

pub use defect::Defect;

use meshproof_contract::{CheckId, FaultName, Signature};
use std::collections::{BTreeMap, BTreeSet};

/// What `meshproof prove` saw.
#[derive(Clone, Debug, Default)]
pub struct Matrix {
    /// Every check that ran, with the faults that must turn it red by its own account.
    pub checks: BTreeMap<CheckId, BTreeSet<FaultName>>,
    /// Every check that has such, with the faults that take away what it observes with: they must make it
    /// inconclusive.
    pub blinded: BTreeMap<CheckId, BTreeSet<FaultName>>,
    /// Every check that has such, with the faults that can make it inconclusive, depending on where they act.
    pub dimmed: BTreeMap<CheckId, BTreeSet<FaultName>>,
    /// Checks that were not green in the healthy lab before any fault, with their reason.
    pub unhealthy: BTreeMap<CheckId, String>,
    /// Faults that concern nothing here: every check that would catch them is skipped in this configuration.
    pub unconcerned: BTreeSet<FaultName>,
    /// One row a fault.
    pub rows: Vec<Row>,
}

/// Whether checks must notice what is injected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// It is a fault.
    Noticed,
    /// It is within what is promised: every check must stay green.
    Unnoticed,
}

/// One fault's effect.
#[derive(Clone, Debug)]
pub struct Row {
    /// The fault, with its size if it has one.
    pub fault: FaultName,
    /// The same without its size, as checks name it.
    pub of: FaultName,
    /// Whether checks must notice it.
    pub expected: Expected,
    /// What it breaks, one line.
    pub summary: String,
    /// Checks that ran against it.
    pub ran: BTreeSet<CheckId>,
    /// Checks that said that they do not apply, with their reason.
    pub skipped: BTreeMap<CheckId, String>,
    /// Checks that turned red, with their first finding.
    pub caught: BTreeMap<CheckId, String>,
    /// Checks that were inconclusive, with their reason.
    pub inconclusive: BTreeMap<CheckId, String>,
    /// Checks that were not green after healing, with their reason.
    pub unhealed: BTreeMap<CheckId, String>,
    /// Checks that turned red, with the clusters or directions in which they did.
    pub red_in: BTreeMap<CheckId, BTreeSet<String>>,
    /// The kind of place that the red checks have in common.
    pub place: Option<String>,
}

impl Row {
    /// Whether the check ran and was green.
    fn was_green(&self, check: &CheckId) -> bool {
        self.ran.contains(check) && !self.caught.contains_key(check) && !self.inconclusive.contains_key(check)
    }

    /// Whether the check caught the fault, and no check of another suite did.
    fn is_caught_only_by_suite_of(&self, check: &CheckId) -> bool {
        self.caught.contains_key(check) && self.caught.keys().all(|other| other.suite() == check.suite())
    }
}

/// Whether every fault was injected, or only some by name: then a check that none of them turns red proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coverage {
    /// Every fault of the lab.
    AllFaults,
    /// Some.
    SomeFaults,
}

impl Matrix {
    /// Adds what was seen of other checks.
    pub fn merge(&mut self, other: Self) {
        self.checks.extend(other.checks);
        self.blinded.extend(other.blinded);
        self.dimmed.extend(other.dimmed);
        self.unhealthy.extend(other.unhealthy);
        self.unconcerned.extend(other.unconcerned);
        self.rows.extend(other.rows);
    }

    /// The signatures of its faults, for diagnosing runs.
    pub fn signatures(&self, profile: &str) -> Vec<Signature> {
        let noticed = self.rows.iter().filter(|row| row.expected == Expected::Noticed);
        noticed
            .map(|row| Signature {
                fault: row.fault.to_string(),
                of: row.of.to_string(),
                profile: profile.to_owned(),
                what: row.summary.clone(),
                red: row.red_in.clone(),
                unsure: row.inconclusive.keys().cloned().collect(),
                green: row.ran.iter().filter(|check| row.was_green(check)).cloned().collect(),
                place: row.place.clone(),
            })
            .collect()
    }

    /// The defects, most serious first; none is the proof.
    pub fn defects(&self, coverage: Coverage) -> Vec<Defect> {
        let false_alarms = self.unhealthy.iter().map(|(check, reason)| Defect::FalseAlarm {
            check: check.clone(),
            reason: reason.clone(),
        });
        let mut defects: Vec<Defect> = false_alarms.collect();
        defects.extend(self.rows.iter().flat_map(|row| self.defects_of(row)));
        if coverage == Coverage::AllFaults {
            defects.extend(self.checks.keys().filter_map(|check| self.defect_of(check)));
        }
        defects
    }

    fn defects_of(&self, row: &Row) -> Vec<Defect> {
        let mut defects = match row.expected {
            Expected::Noticed => self.misses(row),
            Expected::Unnoticed => Self::alarms(row),
        };
        defects.extend(row.unhealed.iter().map(|(check, reason)| Defect::Unhealed {
            fault: row.fault.clone(),
            check: check.clone(),
            reason: reason.clone(),
        }));
        defects
    }

    /// What is not green although the row is within what is promised.
    fn alarms(row: &Row) -> Vec<Defect> {
        let alarms = row.caught.iter().chain(&row.inconclusive);
        let alarms = alarms.map(|(check, reason)| Defect::TooSensitive {
            fault: row.fault.clone(),
            check: check.clone(),
            reason: reason.clone(),
        });
        alarms.collect()
    }

    /// What did not notice the row's fault and had to.
    fn misses(&self, row: &Row) -> Vec<Defect> {
        let mut defects = Vec::new();
        if !self.is_noticed(row) {
            defects.push(Defect::Survivor {
                fault: row.fault.clone(),
            });
        }
        let named = self.checks.iter().filter(|(_, faults)| faults.contains(&row.of));
        let missed = named
            .map(|(check, _)| check)
            .filter(|check| row.ran.contains(*check) && !row.caught.contains_key(*check));
        defects.extend(missed.map(|check| Defect::Missed {
            fault: row.fault.clone(),
            check: check.clone(),
            unsure: row.inconclusive.get(check).cloned(),
        }));
        let is_named = |check: &CheckId| self.checks.get(check).is_some_and(|faults| faults.contains(&row.of));
        let unsure = row.inconclusive.iter();
        let unsure = unsure.filter(|(check, _)| !is_named(check) && !self.can_blind(&row.of, check));
        defects.extend(unsure.map(|(check, why)| Defect::Unsure {
            fault: row.fault.clone(),
            check: check.clone(),
            why: why.clone(),
        }));
        let skipped = row.skipped.iter().filter(|(check, _)| self.checks.contains_key(*check));
        defects.extend(skipped.map(|(check, why)| Defect::Skipped {
            fault: row.fault.clone(),
            check: check.clone(),
            why: why.clone(),
        }));
        let green = self.blinded_by(&row.of).filter(|check| row.was_green(check));
        defects.extend(green.map(|check| Defect::GreenBlind {
            fault: row.fault.clone(),
            check: check.clone(),
        }));
        defects
    }

    /// What is wrong with a check when every fault was injected.
    fn defect_of(&self, check: &CheckId) -> Option<Defect> {
        let check = check.clone();
        let mut rows = self.rows.iter().filter(|row| row.expected == Expected::Noticed);
        if !rows.clone().any(|row| row.caught.contains_key(&check)) {
            Some(Defect::CannotFail { check })
        } else if !rows.any(|row| row.is_caught_only_by_suite_of(&check)) {
            Some(Defect::NoUniqueFault { check })
        } else {
            None
        }
    }

    /// Whether the fault takes away what the check observes with, or can.
    pub fn can_blind(&self, fault: &FaultName, check: &CheckId) -> bool {
        let declared = [&self.blinded, &self.dimmed];
        let mut of_check = declared.into_iter().filter_map(|faults| faults.get(check));
        of_check.any(|faults| faults.contains(fault))
    }

    /// Whether some check must notice the fault, which is named without a size.
    pub fn is_concerned(&self, fault: &FaultName) -> bool {
        let mut named = self.checks.values().chain(self.blinded.values());
        named.any(|faults| faults.contains(fault))
    }

    /// Whether some check turned red, or one that the fault blinds was inconclusive.
    pub fn is_noticed(&self, row: &Row) -> bool {
        !row.caught.is_empty()
            || self
                .blinded_by(&row.of)
                .any(|check| row.inconclusive.contains_key(check))
    }

    fn blinded_by(&self, fault: &FaultName) -> impl Iterator<Item = &CheckId> {
        let blinded = self.blinded.iter().filter(move |(_, faults)| faults.contains(fault));
        blinded.map(|(check, _)| check)
    }
}
