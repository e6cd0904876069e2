//! Wald's sequential probability ratio test of a rate of loss.
//!
//! Pure. Each probe is answered or lost. The test weighs two rates of loss against each other: what
//! `thresholds.availability` allows, and five times as much, the smallest rate that must be found. It stops as soon as
//! the odds are clear, so that a path without loss costs [`FIRST`] probes and only a doubtful one costs more.
//! Source: A. Wald, Sequential Tests of Statistical Hypotheses (1945), sections 3 and 4.

use meshproof_contract::Percent;

/// Probability of a false alarm in one trial, over all that is tested in it: the rate is as promised, and the test
/// says that it is not.
pub const FALSE_ALARM: f64 = 1e-6;
/// Probability that the smallest rate which must be found is taken for the promised one.
const MISSED: f64 = 0.1;
/// The smallest rate of loss that must be found, as a multiple of the promised one.
const FOUND: f64 = 5.0;
/// No promise is so strict that less loss than this must be found.
const LEAST_FOUND: f64 = 0.005;
/// Probes of the first series: so many without a loss are enough for the default promise of 99.9 %.
pub const FIRST: u32 = 600;
/// Probes of each further series on what is doubtful.
pub const FURTHER: u32 = 1000;
/// Beyond so many probes the test ends without a finding.
pub const MOST: u32 = 10_000;

/// What the probes have shown so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The loss is as promised.
    AsPromised,
    /// More is lost.
    TooMuch,
    /// More probes would tell.
    Open,
}

/// A test of one rate of loss.
#[derive(Clone, Copy, Debug)]
pub struct LossTest {
    /// What an answered probe adds to the log odds of too much loss: less than 0.
    answered: f64,
    /// What a lost probe adds.
    lost: f64,
    /// The log odds beyond which it is too much.
    too_much: f64,
    /// The log odds below which it is as promised.
    as_promised: f64,
}

impl LossTest {
    /// A test against `promised`, one of so many in a trial.
    pub fn new(promised: Percent, tests: usize) -> Self {
        let allowed = (1.0 - promised.fraction()).clamp(1e-5, 0.5);
        let found = (allowed * FOUND).max(LEAST_FOUND).min((1.0 + allowed) / 2.0);
        let false_alarm = FALSE_ALARM / tests.max(1) as f64;
        Self {
            answered: ((1.0 - found) / (1.0 - allowed)).ln(),
            lost: (found / allowed).ln(),
            too_much: ((1.0 - MISSED) / false_alarm).ln(),
            as_promised: (MISSED / (1.0 - false_alarm)).ln(),
        }
    }

    /// What so many answered and lost probes show.
    pub fn decide(&self, answered: u32, lost: u32) -> Decision {
        let odds = f64::from(answered) * self.answered + f64::from(lost) * self.lost;
        if odds >= self.too_much {
            Decision::TooMuch
        } else if odds <= self.as_promised {
            Decision::AsPromised
        } else {
            Decision::Open
        }
    }
}

/// Runs of lost probes that follow each other: what a queue that overflows once, or a pause, loses together.
pub fn bursts(lost: impl IntoIterator<Item = u32>) -> u32 {
    let mut previous: Option<u32> = None;
    let mut bursts = 0;
    for number in lost {
        if previous.is_none_or(|previous| previous + 1 != number) {
            bursts += 1;
        }
        previous = Some(number);
    }
    bursts
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng, SeedableRng, rngs::StdRng};

    const PROMISED: Percent = Percent::from_thousandths(99_900);
    /// Pairs and protocols of two clusters of three nodes.
    const TESTS: usize = 18;

    /// The share of paths with that loss which are found, and the mean number of probes until then.
    fn tried(loss: f64, paths: u32) -> (f64, f64) {
        let test = LossTest::new(PROMISED, TESTS);
        let mut random = StdRng::seed_from_u64(7);
        let (mut found, mut probes) = (0, 0);
        for _ in 0..paths {
            let (mut answered, mut lost, mut next) = (0, 0, FIRST);
            let decision = loop {
                for _ in 0..next {
                    if random.random_bool(loss) {
                        lost += 1;
                    } else {
                        answered += 1;
                    }
                }
                next = FURTHER;
                match test.decide(answered, lost) {
                    Decision::Open if answered + lost < MOST => {}
                    decision => break decision,
                }
            };
            found += u32::from(decision == Decision::TooMuch);
            probes += answered + lost;
        }
        (
            f64::from(found) / f64::from(paths),
            f64::from(probes) / f64::from(paths),
        )
    }

    #[test]
    fn the_stated_power_holds() {
        for (loss, least) in [(0.005, 0.9), (0.01, 0.99), (0.03, 0.999_9)] {
            let (found, probes) = tried(loss, 4000);
            assert!(found >= least, "{loss}: found {found}, {probes:.0} probes");
        }
    }

    #[test]
    fn what_is_promised_is_not_red_and_costs_little() {
        let (found, probes) = tried(0.001, 20_000);
        assert_eq!(found, 0.0);
        assert!(probes < 1500.0, "{probes:.0} probes");
        let (found, probes) = tried(0.0, 10);
        assert_eq!((found, probes), (0.0, f64::from(FIRST)));
    }

    #[test]
    fn false_alarms_stay_below_the_stated_probability() {
        // Wald's bound: the odds exceed `1 / p` with probability `p` at most while the promise is kept.
        let test = LossTest::new(PROMISED, TESTS);
        assert!((-test.too_much).exp() <= FALSE_ALARM / TESTS as f64 / (1.0 - MISSED) * 1.000_001);
    }

    #[test]
    fn other_promises_are_tested_too() {
        let of = |thousandths| LossTest::new(Percent::from_thousandths(thousandths), TESTS);
        assert_eq!(of(100_000).decide(FIRST, 0), Decision::AsPromised);
        assert_eq!(of(100_000).decide(FIRST, 6), Decision::TooMuch);
        assert_eq!(of(95_000).decide(FIRST - 30, 30), Decision::AsPromised);
        assert_eq!(of(95_000).decide(FIRST / 2, FIRST / 2), Decision::TooMuch);
        assert_eq!(of(0).decide(0, FIRST), Decision::TooMuch);
    }

    #[test]
    fn losses_that_follow_each_other_are_one_burst() {
        assert_eq!(bursts([]), 0);
        assert_eq!(bursts([3, 4, 5, 9, 11]), 3);
        assert_eq!(bursts(0..100), 1);
    }
}
