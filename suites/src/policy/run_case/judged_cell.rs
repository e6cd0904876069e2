//! A cell with what must happen in it.

use crate::policy::cell::Cell;
use meshproof_oracle::{Decision, Expected};

/// A cell with its expectation under the policies.
#[derive(Clone, Debug)]
pub struct JudgedCell {
    /// The cell.
    pub cell: Cell,
    /// The expectation, and the rule that it rests on.
    pub decision: Decision,
}

impl JudgedCell {
    /// A cell without any policy.
    pub fn open(cell: Cell) -> Self {
        let decision = Decision {
            expected: Expected::Allowed,
            direction: None,
            reason: "no policy".to_owned(),
        };
        Self { cell, decision }
    }

    /// Whether the policies change what the cell shows.
    pub fn is_changed(&self) -> bool {
        !is_open(self.decision.expected)
    }
}

/// Whether traffic passes.
pub fn is_open(expected: Expected) -> bool {
    matches!(expected, Expected::Allowed | Expected::AllowedIfAuthenticated)
}
