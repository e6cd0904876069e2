//! The counts of verdicts, less what is waived, and the exit code that they mean.

use meshproof_contract::{Exit, Standing, run_state::Counts};

/// Counts over the trials of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Trials by what they mean to the run; skipped are also those that `--fail-fast` left out.
    pub counts: Counts,
    /// Whether the run was cancelled while trials were waiting or running.
    pub interrupted: bool,
}

impl Summary {
    pub(crate) fn count(&mut self, standing: Standing) {
        self.counts.add(standing);
    }
    /// All trials.
    pub fn total(&self) -> usize {
        self.counts.total()
    }
    /// The worst of what happened; a run in which nothing passed is never green.
    pub fn exit(&self) -> Exit {
        let counted = self.counts.exit();
        if self.interrupted {
            counted.max(Exit::Interrupted)
        } else {
            counted
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_wins_and_nothing_passed_is_not_green() {
        let of = |passed, failed, inconclusive, interrupted| {
            let counts = Counts {
                passed,
                failed,
                inconclusive,
                skipped: 1,
                ..Counts::default()
            };
            Summary { counts, interrupted }.exit().code()
        };
        assert_eq!(of(3, 0, 0, false), 0);
        assert_eq!(of(0, 0, 0, false), 4);
        assert_eq!(of(3, 0, 1, false), 3);
        assert_eq!(of(0, 0, 1, false), 3);
        assert_eq!(of(3, 1, 1, false), 1);
        assert_eq!(of(3, 1, 1, true), 130);
    }
}
