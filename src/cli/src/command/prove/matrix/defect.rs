//! Why the proof fails.

use meshproof_contract::{CheckId, FaultName};
use std::fmt;

/// Why the proof fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Defect {
    /// The healthy lab is not green.
    FalseAlarm {
        /// The check that is not green.
        check: CheckId,
        /// Its reason.
        reason: String,
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
        /// The check.
        check: CheckId,
        /// Why it was inconclusive; none if it was green.
        unsure: Option<String>,
    },
    /// A check that neither names the fault nor is blinded by it could not tell.
    Unsure {
        /// The fault.
        fault: FaultName,
        /// The check.
        check: CheckId,
        /// Why it was inconclusive.
        why: String,
    },
    /// A check that applies to the healthy lab said of the broken one that it does not apply.
    Skipped {
        /// The fault.
        fault: FaultName,
        /// The check.
        check: CheckId,
        /// Its reason.
        why: String,
    },
    /// What was injected is within what is promised, and a check was not green.
    TooSensitive {
        /// The fault.
        fault: FaultName,
        /// The check.
        check: CheckId,
        /// Its reason.
        reason: String,
    },
    /// The fault takes away what a check observes with, and it was green all the same.
    GreenBlind {
        /// The fault.
        fault: FaultName,
        /// The check.
        check: CheckId,
    },
    /// After healing the check was not green again.
    Unhealed {
        /// The fault.
        fault: FaultName,
        /// The check.
        check: CheckId,
        /// Its reason.
        reason: String,
    },
    /// No fault turned it red: a check that cannot fail is a bug.
    CannotFail {
        /// The check.
        check: CheckId,
    },
    /// Other suites caught whatever turned it red: nobody would miss it.
    NoUniqueFault {
        /// The check.
        check: CheckId,
    },
}

impl Defect {
    /// The check that has it, if one does.
    pub fn check(&self) -> Option<&CheckId> {
        match self {
            Defect::Survivor { .. } => None,
            Defect::FalseAlarm { check, .. }
            | Defect::Missed { check, .. }
            | Defect::Unsure { check, .. }
            | Defect::Skipped { check, .. }
            | Defect::TooSensitive { check, .. }
            | Defect::GreenBlind { check, .. }
            | Defect::Unhealed { check, .. }
            | Defect::CannotFail { check }
            | Defect::NoUniqueFault { check } => Some(check),
        }
    }

    /// The fault that was injected, if one was.
    pub fn fault(&self) -> Option<&FaultName> {
        match self {
            Defect::Survivor { fault }
            | Defect::Missed { fault, .. }
            | Defect::Unsure { fault, .. }
            | Defect::Skipped { fault, .. }
            | Defect::TooSensitive { fault, .. }
            | Defect::GreenBlind { fault, .. }
            | Defect::Unhealed { fault, .. } => Some(fault),
            Defect::FalseAlarm { .. } | Defect::CannotFail { .. } | Defect::NoUniqueFault { .. } => None,
        }
    }
}

impl fmt::Display for Defect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Defect::FalseAlarm { check, reason } => {
                write!(f, "false alarm: {check} is not green in the healthy lab: {reason}")
            }
            Defect::Survivor { fault } => write!(f, "survivor: no check caught {fault}"),
            Defect::Missed { fault, check, unsure } => match unsure {
                None => write!(f, "missed: {check} names {fault} but passed"),
                Some(why) => write!(f, "missed: {check} names {fault} but was inconclusive: {why}"),
            },
            Defect::Unsure { fault, check, why } => {
                write!(
                    f,
                    "not sure: {check} was inconclusive under {fault}, which it does not say: {why}"
                )
            }
            Defect::Skipped { fault, check, why } => {
                write!(
                    f,
                    "skipped: {check} does not apply under {fault}, and does without it: {why}"
                )
            }
            Defect::TooSensitive { fault, check, reason } => {
                write!(
                    f,
                    "too sensitive: {fault} is within what is promised, and {check} is not green: {reason}"
                )
            }
            Defect::GreenBlind { fault, check } => {
                write!(
                    f,
                    "green while blind: {check} passed although {fault} removes what it observes"
                )
            }
            Defect::Unhealed { fault, check, reason } => {
                write!(
                    f,
                    "not healed: {check} was not green again after {fault} was healed: {reason}"
                )
            }
            Defect::CannotFail { check } => write!(f, "cannot fail: no fault turned {check} red"),
            Defect::NoUniqueFault { check } => {
                write!(
                    f,
                    "no unique fault: other suites also catch every fault that {check} catches"
                )
            }
        }
    }
}
