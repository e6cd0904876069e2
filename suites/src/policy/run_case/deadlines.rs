//! How long the probes of cells wait, by how fast the paths were while open.

use crate::kit::probes;
use meshproof_contract::Distribution;
use std::time::Duration;

/// Deadlines of probes.
#[derive(Clone, Copy, Debug)]
pub(in crate::policy) struct Deadlines {
    /// For a cell that must be dropped: silence for so long counts as a drop.
    pub dropped: Duration,
    /// For a cell that must be answered.
    pub answered: Duration,
    /// For a quick first sign that a change has come through, from which nothing is concluded.
    pub quick: Duration,
}

impl Deadlines {
    /// Before anything was measured.
    pub const DEFAULT: Self = Self {
        dropped: Duration::from_millis(900),
        answered: probes::DEADLINE,
        quick: Duration::from_millis(300),
    };

    /// Eight times the slowest answers, at least 400 ms, and below the 1 s after which TCP sends its SYN again.
    pub fn from_latencies(latencies: &[u64]) -> Self {
        let Some(distribution) = Distribution::of(latencies.iter().copied()) else {
            return Self::DEFAULT;
        };
        let slow = Duration::from_micros(distribution.p99);
        Self {
            dropped: (8 * slow).clamp(Duration::from_millis(400), Self::DEFAULT.dropped),
            answered: Self::DEFAULT.answered,
            quick: (10 * slow).clamp(Duration::from_millis(40), Self::DEFAULT.quick),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deadline_of_a_denial_follows_the_paths_within_bounds() {
        let dropped = |latencies: &[u64]| Deadlines::from_latencies(latencies).dropped;
        assert_eq!(dropped(&[500; 100]), Duration::from_millis(400));
        assert_eq!(dropped(&[75_000; 100]), Duration::from_millis(600));
        assert_eq!(dropped(&[200_000; 100]), Deadlines::DEFAULT.dropped);
        assert_eq!(Deadlines::from_latencies(&[]).quick, Deadlines::DEFAULT.quick);
    }
}
