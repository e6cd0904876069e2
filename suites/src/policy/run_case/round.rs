//! One look at the cells: one batch for each agent that asks, all agents at once.

use super::Row;
use crate::policy::cell::Compared;
use crate::kit::probes;
use futures::future::join_all;
use meshproof_contract::{AgentId, Distribution, Environment, Outcome};
use meshproof_oracle::Expected;
use std::collections::BTreeMap;
use std::time::Duration;

/// How long cells are waited for, from how quick they were while open.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// For a cell that must be dropped: silence for so long is taken for silence.
    pub denied: Duration,
    /// For a cell that should answer.
    pub open: Duration,
    /// For a first sight of whether a change has come through, which is no verdict.
    pub glance: Duration,
}

impl Pace {
    /// Before anything was measured.
    pub const UNKNOWN: Self = Self {
        denied: Duration::from_millis(900),
        open: probes::DEADLINE,
        glance: Duration::from_millis(300),
    };

    /// Twenty times the slowest answers, at least 400 ms, and below the 1 s after which TCP sends its SYN again.
    pub fn of(latencies: &[u64]) -> Self {
        let Some(distribution) = Distribution::of(latencies.iter().copied()) else {
            return Self::UNKNOWN;
        };
        let slow = Duration::from_micros(distribution.p99);
        Self {
            denied: (20 * slow).clamp(Duration::from_millis(400), Self::UNKNOWN.denied),
            open: Self::UNKNOWN.open,
            glance: (10 * slow).clamp(Duration::from_millis(40), Self::UNKNOWN.glance),
        }
    }
}

/// What the cells showed.
pub(crate) struct Round {
    /// In the order of the rows.
    pub compared: Vec<Compared>,
    /// Whether the agent could not even try.
    pub untried: Vec<bool>,
    /// Microseconds of the answers.
    pub latencies: Vec<u64>,
}

/// Looks once at every row, and compares with what `expected` says of it.
pub(crate) async fn look(
    environment: &dyn Environment,
    rows: &[Row],
    expected: impl Fn(&Row) -> Expected,
    pace: &Pace,
) -> Round {
    let mut asked: BTreeMap<&AgentId, Vec<usize>> = BTreeMap::new();
    for (index, row) in rows.iter().enumerate() {
        asked.entry(&row.cell.from.agent.id).or_default().push(index);
    }
    let expected = &expected;
    let answers = join_all(asked.into_iter().map(|(agent, indexes)| async move {
        let probes = indexes.iter().map(|index| {
            let row = &rows[*index];
            row.cell.probe(match expected(row) {
                Expected::Dropped => pace.denied,
                _ => pace.open,
            })
        });
        let outcomes = environment.probe(agent, probes.collect()).await;
        (indexes, outcomes)
    }))
    .await;
    let mut outcomes: BTreeMap<usize, Outcome> = BTreeMap::new();
    let mut errors: BTreeMap<usize, String> = BTreeMap::new();
    for (indexes, answer) in answers {
        match answer {
            Ok(answer) => outcomes.extend(indexes.into_iter().zip(answer)),
            Err(error) => errors.extend(indexes.into_iter().map(|index| (index, error.to_string()))),
        }
    }
    let compared = rows.iter().enumerate().map(|(index, row)| match outcomes.get(&index) {
        Some(outcome) => row.cell.compare(expected(row), outcome),
        None => Compared::Unknown(
            errors
                .remove(&index)
                .unwrap_or_else(|| format!("{}: the agent did not answer this probe of its batch", row.cell)),
        ),
    });
    let compared = compared.collect();
    let untried = (0..rows.len()).map(|index| outcomes.get(&index).is_some_and(Outcome::is_local_error));
    let untried = untried.collect();
    let answered = outcomes.values().filter(|outcome| outcome.is_success());
    Round {
        compared,
        untried,
        latencies: answered.filter_map(Outcome::total).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deadline_of_a_denial_follows_the_paths_within_bounds() {
        assert_eq!(Pace::of(&[500; 100]).denied, Duration::from_millis(400));
        assert_eq!(Pace::of(&[30_000; 100]).denied, Duration::from_millis(600));
        assert_eq!(Pace::of(&[200_000; 100]).denied, Pace::UNKNOWN.denied);
        assert_eq!(Pace::of(&[]).glance, Pace::UNKNOWN.glance);
    }
}
