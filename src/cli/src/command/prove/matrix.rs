//! The check x fault matrix and its judgement: pure, so that its rules are tested without a lab.

use meshproof_contract::{CheckId, FaultName};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// What `meshproof prove` saw.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Matrix {
    /// Every check that ran, with the faults that it says must turn it red.
    pub checks: BTreeMap<CheckId, BTreeSet<FaultName>>,
    /// Every check that has such, with the faults that blind it: under them it must not be green.
    pub blinded: BTreeMap<CheckId, BTreeSet<FaultName>>,
    /// Checks that were not green in the healthy lab before any fault, with what they said.
    pub unhealthy: BTreeMap<CheckId, String>,
    /// One row a fault, in the order in which they were injected.
    pub rows: Vec<Row>,
}

/// One fault's effect.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The fault.
    pub fault: FaultName,
    /// What it breaks, one line.
    pub summary: String,
    /// Checks that ran against it.
    pub ran: BTreeSet<CheckId>,
    /// Checks that turned red, with their first finding.
    pub caught: BTreeMap<CheckId, String>,
    /// Checks that could not tell, with their reason.
    pub inconclusive: BTreeMap<CheckId, String>,
    /// Checks that were not green after healing, with what they said.
    pub unhealed: BTreeMap<CheckId, String>,
}

/// Why the proof fails.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Defect {
    /// The healthy lab is not green: a false alarm.
    FalseAlarm {
        /// Who raised it.
        check: CheckId,
        /// What it said.
        said: String,
    },
    /// No check turned red.
    Survivor {
        /// The fault.
        fault: FaultName,
    },
    /// A check names this fault and did not turn red.
    Missed {
        /// The fault.
        fault: FaultName,
        /// Who missed it.
        check: CheckId,
        /// Why it could not tell; none if it was green.
        unsure: Option<String>,
    },
    /// The fault takes away what a check observes with, and it was green all the same.
    GreenBlind {
        /// The fault.
        fault: FaultName,
        /// Who was green.
        check: CheckId,
    },
    /// After healing the check was not green again.
    Unhealed {
        /// The fault.
        fault: FaultName,
        /// Who saw it.
        check: CheckId,
        /// What it said.
        said: String,
    },
    /// No fault turned it red: a check that cannot fail is a bug.
    CannotFail {
        /// The check.
        check: CheckId,
    },
    /// Whatever turned it red was caught by other suites as well: it could go without being missed.
    NothingOwn {
        /// The check.
        check: CheckId,
    },
}

/// Whether every fault was met, or only some by name: then a check without a killer proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coverage {
    /// Every fault of the lab.
    AllFaults,
    /// Some.
    SomeFaults,
}

impl Matrix {
    /// Takes in what was seen of other checks.
    pub fn join(&mut self, other: Self) {
        self.checks.extend(other.checks);
        self.blinded.extend(other.blinded);
        self.unhealthy.extend(other.unhealthy);
        self.rows.extend(other.rows);
    }

    /// The defects, most serious first; none is the proof.
    pub fn defects(&self, coverage: Coverage) -> Vec<Defect> {
        let mut defects: Vec<Defect> = self
            .unhealthy
            .iter()
            .map(|(check, said)| Defect::FalseAlarm {
                check: check.clone(),
                said: said.clone(),
            })
            .collect();
        for row in &self.rows {
            if !self.is_noticed(row) {
                defects.push(Defect::Survivor {
                    fault: row.fault.clone(),
                });
            }
            let named = self
                .checks
                .iter()
                .filter(|(_, faults)| faults.contains(&row.fault))
                .map(|(check, _)| check);
            defects.extend(
                named
                    .filter(|check| row.ran.contains(*check) && !row.caught.contains_key(*check))
                    .map(|check| Defect::Missed {
                        fault: row.fault.clone(),
                        check: check.clone(),
                        unsure: row.inconclusive.get(check).cloned(),
                    }),
            );
            let seeing = self.blinded_by(&row.fault).filter(|check| {
                row.ran.contains(*check) && !row.caught.contains_key(*check) && !row.inconclusive.contains_key(*check)
            });
            defects.extend(seeing.map(|check| Defect::GreenBlind {
                fault: row.fault.clone(),
                check: check.clone(),
            }));
            defects.extend(row.unhealed.iter().map(|(check, said)| Defect::Unhealed {
                fault: row.fault.clone(),
                check: check.clone(),
                said: said.clone(),
            }));
        }
        if coverage == Coverage::AllFaults {
            let killed = |check: &CheckId| self.rows.iter().any(|row| row.caught.contains_key(check));
            let own = |check: &CheckId| self.rows.iter().any(|row| is_own(row, check));
            defects.extend(
                self.checks
                    .keys()
                    .filter_map(|check| match (killed(check), own(check)) {
                        (false, _) => Some(Defect::CannotFail { check: check.clone() }),
                        (true, false) => Some(Defect::NothingOwn { check: check.clone() }),
                        (true, true) => None,
                    }),
            );
        }
        defects
    }

    /// Whether some check turned red, or one that the fault blinds said that it could not tell.
    pub fn is_noticed(&self, row: &Row) -> bool {
        !row.caught.is_empty()
            || self
                .blinded_by(&row.fault)
                .any(|check| row.inconclusive.contains_key(check))
    }

    fn blinded_by(&self, fault: &FaultName) -> impl Iterator<Item = &CheckId> {
        let blinded = self.blinded.iter().filter(move |(_, faults)| faults.contains(fault));
        blinded.map(|(check, _)| check)
    }

    /// The matrix as Markdown: a table a suite, with a numbered column a check and a row for each fault that met it.
    pub fn markdown(&self) -> String {
        let mut text = String::from(
            "# Checks and the faults that they catch\n\n\
             **red**: the check caught the fault; ·: it ran and was green; ?: it could not tell; empty: it did not run.\n",
        );
        let mut suites: BTreeMap<&str, Vec<&CheckId>> = BTreeMap::new();
        for check in self.checks.keys() {
            suites.entry(check.suite()).or_default().push(check);
        }
        for (suite, checks) in suites {
            let _ = write!(text, "\n## {suite}\n\n");
            for (number, check) in checks.iter().enumerate() {
                let _ = writeln!(text, "{}. `{check}`", number + 1);
            }
            text.push_str("\n| fault |");
            for number in 1..=checks.len() {
                let _ = write!(text, " {number} |");
            }
            text.push_str("\n| --- |");
            text.push_str(&" --- |".repeat(checks.len()));
            for row in &self.rows {
                if !checks.iter().any(|check| row.ran.contains(*check)) {
                    continue;
                }
                let _ = write!(text, "\n| {} |", row.fault);
                for check in &checks {
                    let cell = match () {
                        () if row.caught.contains_key(*check) => "**red**",
                        () if row.inconclusive.contains_key(*check) => "?",
                        () if row.ran.contains(*check) => "·",
                        () => "",
                    };
                    let _ = write!(text, " {cell} |");
                }
            }
            text.push('\n');
        }
        text.push_str("\n## The faults\n\n");
        for row in &self.rows {
            let _ = writeln!(text, "- **{}**: {}", row.fault, row.summary);
        }
        text
    }
}

/// Whether the check caught the fault, and no check of another suite did.
fn is_own(row: &Row, check: &CheckId) -> bool {
    row.caught.contains_key(check) && row.caught.keys().all(|other| other.suite() == check.suite())
}

impl std::fmt::Display for Defect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Defect::FalseAlarm { check, said } => {
                write!(f, "false alarm: {check} is not green in the healthy lab: {said}")
            }
            Defect::Survivor { fault } => write!(f, "survivor: no check caught {fault}"),
            Defect::Missed { fault, check, unsure } => match unsure {
                None => write!(f, "missed: {check} names {fault} and was green"),
                Some(why) => write!(f, "missed: {check} names {fault} and could not tell: {why}"),
            },
            Defect::GreenBlind { fault, check } => {
                write!(
                    f,
                    "green while blind: {fault} takes away what {check} observes with, and it passed"
                )
            }
            Defect::Unhealed { fault, check, said } => {
                write!(f, "not healed: after {fault} {check} was not green again: {said}")
            }
            Defect::CannotFail { check } => write!(f, "cannot fail: no fault turned {check} red"),
            Defect::NothingOwn { check } => {
                write!(
                    f,
                    "nothing of its own: whatever {check} caught, another suite caught as well"
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str) -> CheckId {
        CheckId::from(name)
    }

    fn matrix() -> Matrix {
        let row = Row {
            fault: "udp-dropped".into(),
            summary: "UDP is dropped".into(),
            ran: [check("a::udp"), check("a::tcp")].into(),
            caught: [(check("a::udp"), "no answer".to_owned())].into(),
            inconclusive: BTreeMap::new(),
            unhealed: BTreeMap::new(),
        };
        let checks = [
            (check("a::udp"), ["udp-dropped".into()].into()),
            (check("a::tcp"), BTreeSet::new()),
        ]
        .into();
        Matrix {
            checks,
            blinded: BTreeMap::new(),
            unhealthy: BTreeMap::new(),
            rows: vec![row],
        }
    }

    #[test]
    fn a_check_that_nothing_kills_is_a_defect_when_all_faults_were_met() {
        assert_eq!(
            matrix().defects(Coverage::AllFaults),
            [Defect::CannotFail { check: check("a::tcp") }]
        );
        assert_eq!(matrix().defects(Coverage::SomeFaults), []);
    }

    #[test]
    fn a_fault_that_nobody_catches_is_a_survivor_and_missed_by_those_who_name_it() {
        let mut matrix = matrix();
        matrix.rows[0].caught.clear();
        let fault = FaultName::from("udp-dropped");
        assert_eq!(
            matrix.defects(Coverage::SomeFaults),
            [
                Defect::Survivor { fault: fault.clone() },
                Defect::Missed {
                    fault: fault.clone(),
                    check: check("a::udp"),
                    unsure: None
                }
            ]
        );
        matrix.rows[0]
            .inconclusive
            .insert(check("a::udp"), "nothing was sent".to_owned());
        let unsure = &matrix.defects(Coverage::SomeFaults)[1];
        assert_eq!(
            unsure.to_string(),
            "missed: a::udp names udp-dropped and could not tell: nothing was sent"
        );
    }

    #[test]
    fn a_blinded_check_must_say_that_it_cannot_tell() {
        let mut matrix = matrix();
        let fault = FaultName::from("udp-dropped");
        matrix.checks.clear();
        matrix.rows[0].caught.clear();
        matrix.blinded = [(check("a::udp"), [fault.clone()].into())].into();
        let green = matrix.defects(Coverage::SomeFaults);
        assert!(
            green.contains(&Defect::GreenBlind {
                fault: fault.clone(),
                check: check("a::udp")
            }),
            "{green:?}"
        );
        assert!(green.contains(&Defect::Survivor { fault }), "{green:?}");
        matrix.rows[0]
            .inconclusive
            .insert(check("a::udp"), "nothing was seen".to_owned());
        assert_eq!(matrix.defects(Coverage::SomeFaults), []);
    }

    #[test]
    fn false_alarms_and_unhealed_labs_are_defects() {
        let mut matrix = matrix();
        matrix.unhealthy.insert(check("a::tcp"), "refused".into());
        matrix.rows[0].unhealed.insert(check("a::udp"), "no answer".into());
        assert_eq!(matrix.defects(Coverage::SomeFaults).len(), 2);
    }

    #[test]
    fn a_check_needs_a_fault_that_no_other_suite_catches() {
        let mut matrix = matrix();
        matrix.checks.remove(&check("a::tcp"));
        matrix.rows[0].caught.insert(check("a::udp_again"), "silent".to_owned());
        assert_eq!(matrix.defects(Coverage::AllFaults), []);
        matrix.rows[0].caught.insert(check("b::all"), "silent".to_owned());
        assert_eq!(
            matrix.defects(Coverage::AllFaults),
            [Defect::NothingOwn { check: check("a::udp") }]
        );
    }

    #[test]
    fn the_table_has_a_cell_for_each_check() {
        let table = matrix().markdown();
        assert!(table.contains("| udp-dropped | · | **red** |"), "{table}");
    }
}
