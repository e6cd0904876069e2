//! The counts of verdicts, and the exit code that they mean.

use meshproof_contract::{Exit, Verdict};

/// Counts over the trials of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Trials that passed.
    pub passed: usize,
    /// Trials that failed.
    pub failed: usize,
    /// Inconclusive trials.
    pub inconclusive: usize,
    /// Trials that did not apply, or that `--fail-fast` left out.
    pub skipped: usize,
    /// Whether the run was cancelled while trials were waiting or running.
    pub interrupted: bool,
}

impl Summary {
    pub(crate) fn count(&mut self, verdict: &Verdict) {
        match verdict {
            Verdict::Pass { .. } => self.passed += 1,
            Verdict::Fail { .. } => self.failed += 1,
            Verdict::Inconclusive { .. } => self.inconclusive += 1,
            Verdict::Skipped { .. } => self.skipped += 1,
        }
    }
    /// All trials.
    pub fn total(&self) -> usize {
        self.passed + self.failed + self.inconclusive + self.skipped
    }
    /// The worst of what happened; a run in which nothing passed is never green.
    pub fn exit(&self) -> Exit {
        let parts = [
            (self.interrupted, Exit::Interrupted),
            (self.failed > 0, Exit::Failed),
            (self.inconclusive > 0, Exit::CouldNotTell),
            (self.passed == 0, Exit::TooLittle),
        ];
        parts
            .into_iter()
            .filter_map(|(holds, exit)| holds.then_some(exit))
            .max()
            .unwrap_or(Exit::Passed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_wins_and_nothing_passed_is_not_green() {
        let of = |passed, failed, inconclusive, interrupted| {
            Summary {
                passed,
                failed,
                inconclusive,
                skipped: 1,
                interrupted,
            }
            .exit()
            .code()
        };
        assert_eq!(of(3, 0, 0, false), 0);
        assert_eq!(of(0, 0, 0, false), 4);
        assert_eq!(of(3, 0, 1, false), 3);
        assert_eq!(of(0, 0, 1, false), 3);
        assert_eq!(of(3, 1, 1, false), 1);
        assert_eq!(of(3, 1, 1, true), 130);
    }
}
