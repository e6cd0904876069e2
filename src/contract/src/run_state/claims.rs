//! The claims of a run: their chains, as the trials of suite gitops left them, with what the checks saw that verify
//! them.

use super::RunState;
use crate::{Chain, CheckId, Evidence, Link, LinkKind, LinkState, Verdict};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A claim with all of its links.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClaimReport {
    /// From the files to the agents.
    #[serde(flatten)]
    pub chain: Chain,
    /// What the checks saw that verify it.
    pub seen: Seen,
}

/// Trials of the checks that verify a claim, by what they concluded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs)]
pub struct Seen {
    pub passed: usize,
    pub failed: usize,
    pub inconclusive: usize,
    pub skipped: usize,
    /// Checks of which this run has no trial.
    pub not_run: usize,
}

impl fmt::Display for Seen {
    /// `3 passed`, `1 of 3 failed`, `not verified`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.passed + self.failed + self.inconclusive;
        match self {
            Seen { failed: 1.., .. } => write!(f, "{} of {all} failed", self.failed),
            Seen { inconclusive: 1.., .. } => write!(f, "{} of {all} could not tell", self.inconclusive),
            Seen { passed: 1.., .. } => write!(f, "{all} passed"),
            Seen { skipped: 1.., .. } => f.write_str("skipped"),
            Seen { not_run: 1.., .. } => f.write_str("not run"),
            _ => f.write_str("not verified"),
        }
    }
}

impl ClaimReport {
    /// Whether a link is broken.
    pub fn is_broken(&self) -> bool {
        self.chain.broken.is_some()
    }

    /// What a link says, in a word or two: `-` where it says nothing.
    pub fn says(&self, kind: LinkKind) -> &str {
        match self.chain.link(kind) {
            Some(Link { value: Some(value), .. }) => value,
            Some(Link {
                state: LinkState::NotRead,
                ..
            }) if kind == LinkKind::Helm => "not read",
            _ => "-",
        }
    }
}

impl RunState {
    /// Every claim that was followed, broken ones first.
    pub fn claims(&self) -> Vec<ClaimReport> {
        let evidence = self.trials.iter().filter_map(|trial| trial.finished.as_ref());
        let chains = evidence
            .flat_map(|finished| &finished.evidence)
            .filter_map(|evidence| match evidence {
                Evidence::Chain(chain) => Some(chain),
                _ => None,
            });
        let mut claims: Vec<_> = chains
            .map(|chain| ClaimReport {
                seen: self.seen(chain),
                chain: chain.clone(),
            })
            .collect();
        claims.sort_by_key(|claim| !claim.is_broken());
        claims
    }

    fn seen(&self, chain: &Chain) -> Seen {
        let is_planned = |check: &CheckId| self.trials.iter().any(|trial| trial.planned.check == *check);
        let mut seen = Seen {
            not_run: chain.checks.iter().filter(|check| !is_planned(check)).count(),
            ..Seen::default()
        };
        for trial in &self.trials {
            let instance = trial.instance.as_ref();
            let concerns = instance.is_some_and(|one| *one.from() == chain.cluster || *one.to() == chain.cluster);
            if !concerns || !chain.checks.contains(&trial.planned.check) {
                continue;
            }
            match trial.verdict() {
                Some(Verdict::Pass { .. }) => seen.passed += 1,
                Some(Verdict::Fail { .. }) => seen.failed += 1,
                Some(Verdict::Skipped { .. }) => seen.skipped += 1,
                Some(Verdict::Inconclusive { .. }) | None => seen.inconclusive += 1,
            }
        }
        seen
    }
}

/// How many claims there are, as a line: `claims: 2 broken, 61 hold, 12 of them not verified by any check`; none
/// without claims.
pub fn claims_line(claims: &[ClaimReport]) -> Option<String> {
    let broken = claims.iter().filter(|claim| claim.is_broken()).count();
    let unverified = claims
        .iter()
        .filter(|claim| !claim.is_broken() && claim.chain.checks.is_empty());
    let (unverified, holding) = (unverified.count(), claims.len() - broken);
    (!claims.is_empty()).then(|| {
        let broken = match broken {
            0 => String::new(),
            broken => format!("{broken} broken, "),
        };
        format!("claims: {broken}{holding} hold, {unverified} of them are not verified by any check")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_is_said_worst_first() {
        let said = |passed, failed, inconclusive, skipped| {
            Seen {
                passed,
                failed,
                inconclusive,
                skipped,
                not_run: 0,
            }
            .to_string()
        };
        assert_eq!(said(2, 1, 1, 0), "1 of 4 failed");
        assert_eq!(said(2, 0, 1, 0), "1 of 3 could not tell");
        assert_eq!(said(2, 0, 0, 1), "2 passed");
        assert_eq!(said(0, 0, 0, 1), "skipped");
        assert_eq!(said(0, 0, 0, 0), "not verified");
        assert_eq!(claims_line(&[]), None);
    }
}
