//! The one way to a verdict: observations are tallied, and the tally decides.
//!
//! Fail beats inconclusive beats pass, and a pass needs at least one witness, so that a check that saw nothing cannot
//! be green.

use crate::{Finding, Verdict, Witness};

/// Observations of one trial so far.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    witnesses: Vec<Witness>,
    findings: Vec<Finding>,
    unknown: Vec<String>,
}

impl Tally {
    /// Nothing observed yet.
    pub fn new() -> Self {
        Self::default()
    }
    /// Something was observed as claimed.
    pub fn witness(&mut self, what: impl Into<String>) {
        self.witnesses.push(Witness { what: what.into() });
    }
    /// Something was observed to differ from the claim.
    pub fn finding(&mut self, subject: impl Into<String>, expected: impl Into<String>, observed: impl Into<String>) {
        self.findings.push(Finding {
            subject: subject.into(),
            expected: expected.into(),
            observed: observed.into(),
        });
    }
    /// Something could not be observed.
    pub fn unknown(&mut self, why: impl Into<String>) {
        self.unknown.push(why.into());
    }
    /// Takes over the observations of another tally.
    pub fn absorb(&mut self, other: Tally) {
        self.witnesses.extend(other.witnesses);
        self.findings.extend(other.findings);
        self.unknown.extend(other.unknown);
    }
    /// Whether a deviation was observed.
    pub fn has_findings(&self) -> bool {
        !self.findings.is_empty()
    }
    /// Whether something could not be observed.
    pub fn has_unknown(&self) -> bool {
        !self.unknown.is_empty()
    }
    /// The verdict.
    pub fn verdict(self) -> Verdict {
        if !self.findings.is_empty() {
            Verdict::Fail {
                findings: self.findings,
            }
        } else if !self.unknown.is_empty() {
            let more = self.unknown.len() - 1;
            let first = self.unknown.into_iter().next().unwrap_or_default();
            Verdict::Inconclusive {
                why: if more > 0 {
                    format!("{first} (and {more} more)")
                } else {
                    first
                },
            }
        } else if self.witnesses.is_empty() {
            Verdict::inconclusive("no observation was made, so nothing is proven")
        } else {
            Verdict::Pass {
                witnesses: self.witnesses,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_observed_is_not_a_pass() {
        assert_eq!(Tally::new().verdict().word(), "inconclusive");
    }

    #[test]
    fn fail_beats_inconclusive_beats_pass() {
        let mut tally = Tally::new();
        tally.witness("seen");
        assert_eq!(tally.clone().verdict().word(), "pass");
        tally.unknown("an agent is away");
        assert_eq!(tally.clone().verdict().word(), "inconclusive");
        tally.finding("a -> b", "answered", "timeout");
        assert_eq!(tally.verdict().word(), "fail");
    }
}
