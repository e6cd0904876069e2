//! One round of probes over cells: one batch for each source agent, all agents at once.

use super::{deadlines::Deadlines, judged_cell::JudgedCell};
use crate::policy::cell::CellResult;
use futures::future::join_all;
use meshproof_contract::{AgentId, Environment, Outcome};
use meshproof_oracle::Expected;
use std::{collections::BTreeMap, time::Duration};

/// Between the beginnings of two rounds over the same cells.
pub(super) const ROUND_INTERVAL: Duration = Duration::from_millis(50);

/// What the cells showed.
pub(super) struct ProbeRound {
    /// In the order of the cells.
    pub results: Vec<CellResult>,
    /// Whether the agent could not send the probe.
    pub not_sent: Vec<bool>,
    /// Microseconds of the answers.
    pub latencies: Vec<u64>,
}

/// Probes every cell once, and compares with what `expected` says of it.
pub(super) async fn probe_round(
    environment: &dyn Environment,
    cells: &[JudgedCell],
    expected: impl Fn(&JudgedCell) -> Expected,
    deadlines: &Deadlines,
) -> ProbeRound {
    let mut by_agent: BTreeMap<&AgentId, Vec<usize>> = BTreeMap::new();
    for (index, judged) in cells.iter().enumerate() {
        by_agent.entry(&judged.cell.from.agent.id).or_default().push(index);
    }
    let expected = &expected;
    let answers = join_all(by_agent.into_iter().map(|(agent, indexes)| async move {
        let probes = indexes.iter().map(|index| {
            let judged = &cells[*index];
            judged.cell.probe(match expected(judged) {
                Expected::Dropped => deadlines.dropped,
                _ => deadlines.answered,
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
    let results = cells.iter().enumerate().map(|(index, judged)| {
        if let Some(outcome) = outcomes.get(&index) {
            return judged.cell.compare(expected(judged), outcome);
        }
        let unanswered = || format!("{}: the agent did not answer this probe of its batch", judged.cell);
        CellResult::Unknown(errors.remove(&index).unwrap_or_else(unanswered))
    });
    let results = results.collect();
    let not_sent = (0..cells.len()).map(|index| outcomes.get(&index).is_some_and(Outcome::is_local_error));
    let not_sent = not_sent.collect();
    let answered = outcomes.values().filter(|outcome| outcome.is_success());
    ProbeRound {
        results,
        not_sent,
        latencies: answered.filter_map(Outcome::total).collect(),
    }
}
