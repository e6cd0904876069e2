//! What is done to the policies of a case.

use super::judged_cell::JudgedCell;
use meshproof_oracle::Expected;

/// A change, after which cells must converge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The policies were applied: every cell must become as they say.
    Applied,
    /// They were deleted: every cell must become open.
    Deleted,
}

impl Change {
    /// What a cell must show after it.
    pub fn expected(self, judged: &JudgedCell) -> Expected {
        match self {
            Change::Applied => judged.decision.expected,
            Change::Deleted => Expected::Allowed,
        }
    }
}
