//! Series of the same probe, added up for the test of what they lose.

use super::sequential::{Decision, LossTest, MOST, bursts};
use crate::kit::cpu_pressure;
use meshproof_contract::Outcome;
use std::fmt;

/// What the series of one asker to one target lost so far.
#[derive(Clone, Debug, Default)]
pub struct LossCount {
    series: u32,
    answered: u32,
    /// Losses as the test counts them: in the first series those that follow each other are one, since a queue that
    /// overflows once loses many. Where it happens again, each counts.
    weighed: u32,
    lost: u32,
    is_scattered: bool,
    first: Option<(u32, Outcome)>,
    /// By how much the agent fell behind its own schedule in the last series, in microseconds.
    lag: u64,
}

/// What the series say about the loss.
#[derive(Clone, Debug, PartialEq)]
pub enum Loss {
    /// No more than promised, as far as so many probes show.
    AsPromised,
    /// More than promised.
    TooMuch,
    /// The agent's machine was too busy to tell.
    Unknown(String),
}

impl LossCount {
    /// Adds a series of which so many were answered, with the numbers of those that were not.
    pub fn add(&mut self, answered: u32, failures: &[(u32, Outcome)], lag: u64) {
        let bursts = bursts(failures.iter().map(|(number, _)| *number));
        let lost = failures.len() as u32;
        self.series += 1;
        self.answered += answered;
        self.lost += lost;
        self.weighed += if self.series == 1 { bursts } else { lost };
        // One in ten lost at random makes bursts of 1.1 on average.
        self.is_scattered |= bursts > 10 && lost * 2 < bursts * 3;
        self.first = self.first.take().or_else(|| failures.first().cloned());
        self.lag = lag;
    }

    /// Probes that were sent.
    pub fn sent(&self) -> u32 {
        self.answered + self.lost
    }
    /// Probes that were not answered in time.
    pub fn lost(&self) -> u32 {
        self.lost
    }
    /// Series that were added.
    pub fn series(&self) -> u32 {
        self.series
    }
    /// The share that was lost.
    pub fn share(&self) -> f64 {
        f64::from(self.lost) / f64::from(self.sent().max(1))
    }
    /// Whether probes were sent and none was answered.
    pub fn is_silent(&self) -> bool {
        self.sent() > 0 && self.answered == 0
    }

    /// Whether a further series may change what the count says: after the first one, whatever was lost; later, as long
    /// as the odds are not clear. Where nothing is answered at all, more of the same tells no more.
    pub fn is_open(&self, test: &LossTest) -> bool {
        if self.lost == 0 || self.is_silent() {
            return false;
        }
        match test.decide(self.answered, self.weighed) {
            Decision::AsPromised => false,
            Decision::TooMuch => self.series < 2,
            Decision::Open => self.sent() < MOST,
        }
    }

    /// What is lost. A busy machine loses datagrams in its own queues, in bursts; not all of them, though.
    pub fn judge(&self, test: &LossTest) -> Loss {
        if !self.is_silent() && test.decide(self.answered, self.weighed) != Decision::TooMuch {
            return Loss::AsPromised;
        }
        if self.lag > cpu_pressure::LAG && !self.is_silent() && !self.is_scattered {
            return Loss::Unknown(format!(
                "{}, so {} of {} lost say nothing about the network",
                cpu_pressure::fell_behind(self.lag),
                self.lost,
                self.sent()
            ));
        }
        Loss::TooMuch
    }
}

impl fmt::Display for LossCount {
    /// `80 of 1600 lost, 5.0 %; first loss: number 20, no answer within 1000 ms`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = 100.0 * self.share();
        write!(f, "{} of {} lost, ", self.lost, self.sent())?;
        if percent < 1.0 {
            write!(f, "{percent:.2} %")?;
        } else {
            write!(f, "{percent:.1} %")?;
        }
        match &self.first {
            Some((number, failure)) => write!(f, "; first loss: number {number}, {failure}"),
            None => Ok(()),
        }
    }
}
