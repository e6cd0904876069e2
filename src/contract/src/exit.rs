//! Exit codes: what a run means to a pipeline, in one number.

use std::fmt;

/// How a run ends. Ordered from the mildest to the worst (the worst of several wins).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Exit {
    /// 0: every trial that ran passed, and at least one did.
    Passed,
    /// 4: nothing ran, or less than the required minimum.
    TooLittle,
    /// 3: inconclusive trials, an environment that failed, a lab that cannot start.
    CouldNotTell,
    /// 1: at least one check failed.
    Failed,
    /// 130: interrupted by a signal.
    Interrupted,
    /// 2: usage or configuration.
    Usage,
}

impl Exit {
    /// The process's exit code.
    pub fn code(self) -> u8 {
        match self {
            Exit::Passed => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::CouldNotTell => 3,
            Exit::TooLittle => 4,
            Exit::Interrupted => 130,
        }
    }
    /// The exit with that code; none for codes that meshproof does not use.
    pub fn from_code(code: u8) -> Option<Self> {
        [
            Exit::Passed,
            Exit::Failed,
            Exit::Usage,
            Exit::CouldNotTell,
            Exit::TooLittle,
            Exit::Interrupted,
        ]
        .into_iter()
        .find(|exit| exit.code() == code)
    }
    /// One or two words, as a verdict over the whole run.
    pub fn word(self) -> &'static str {
        match self {
            Exit::Passed => "passed",
            Exit::Failed => "failed",
            Exit::Usage => "not started",
            Exit::CouldNotTell => "inconclusive",
            Exit::TooLittle => "nothing proven",
            Exit::Interrupted => "interrupted",
        }
    }
    /// A sentence for people who see the number in a pipeline.
    pub fn meaning(self) -> &'static str {
        match self {
            Exit::Passed => "all checks that ran passed",
            Exit::Failed => "at least one check failed",
            Exit::Usage => "usage or configuration is wrong",
            Exit::CouldNotTell => "not every check could be judged",
            Exit::TooLittle => "nothing ran, or less than required",
            Exit::Interrupted => "interrupted before the end",
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_wins_in_the_documented_order() {
        let worst_first = [2, 130, 1, 3, 4, 0].map(|code| Exit::from_code(code).expect("a known code"));
        assert!(worst_first.windows(2).all(|pair| pair[0] > pair[1]), "{worst_first:?}");
        assert_eq!(Exit::from_code(101), None);
    }
}
