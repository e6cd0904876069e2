//! Trials by what they mean to the run.

use crate::{Exit, Standing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Trials by verdict; what is waived is neither failed nor inconclusive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs)]
pub struct Counts {
    pub passed: usize,
    pub failed: usize,
    pub inconclusive: usize,
    pub skipped: usize,
    /// Under a waiver in force: failed, or could not tell.
    #[serde(default)]
    pub waived: usize,
    /// Of those, the ones that could not tell.
    #[serde(default)]
    pub waived_unobserved: usize,
}

impl Counts {
    /// Counts trials.
    pub fn of(trials: impl IntoIterator<Item = Standing>) -> Self {
        let mut counts = Self::default();
        trials.into_iter().for_each(|standing| counts.add(standing));
        counts
    }
    /// Counts one more.
    pub fn add(&mut self, standing: Standing) {
        match standing {
            Standing::Passed => self.passed += 1,
            Standing::Failed => self.failed += 1,
            Standing::Inconclusive => self.inconclusive += 1,
            Standing::Skipped => self.skipped += 1,
            Standing::Waived => self.waived += 1,
            Standing::Unobserved => {
                self.waived += 1;
                self.waived_unobserved += 1;
            }
        }
    }
    /// All of them.
    pub fn total(&self) -> usize {
        self.passed + self.failed + self.inconclusive + self.skipped + self.waived
    }
    /// What these counts alone mean for the exit code. A waived failure was observed, so a run of nothing else is not
    /// one that proved nothing.
    pub fn exit(&self) -> Exit {
        if self.failed > 0 {
            Exit::Failed
        } else if self.inconclusive > 0 {
            Exit::CouldNotTell
        } else if self.passed == 0 && self.waived == self.waived_unobserved {
            Exit::TooLittle
        } else {
            Exit::Passed
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_waived_does_not_decide_and_is_not_nothing() {
        let exit = |standings: &[Standing]| Counts::of(standings.iter().copied()).exit();
        assert_eq!(exit(&[Standing::Passed, Standing::Waived]), Exit::Passed);
        assert_eq!(exit(&[Standing::Passed, Standing::Unobserved]), Exit::Passed);
        assert_eq!(exit(&[Standing::Waived]), Exit::Passed);
        assert_eq!(exit(&[Standing::Unobserved]), Exit::TooLittle);
        assert_eq!(exit(&[Standing::Waived, Standing::Failed]), Exit::Failed);
        assert_eq!(exit(&[Standing::Waived, Standing::Inconclusive]), Exit::CouldNotTell);
        assert_eq!(exit(&[]), Exit::TooLittle);
        let counts = Counts::of([Standing::Waived, Standing::Unobserved, Standing::Skipped]);
        assert_eq!((counts.total(), counts.waived, counts.waived_unobserved), (3, 2, 1));
    }
}
