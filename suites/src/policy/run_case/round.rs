//! One round of probes over cells: one batch for each source agent, all agents at once.

use super::{deadlines::Deadlines, judged_cell::JudgedCell, judged_cell::is_open};
use crate::policy::cell::{CellResult, Traffic};
use futures::future::join_all;
use meshproof_contract::{AgentId, Environment, Outcome, Probe};
use meshproof_oracle::Expected;
use std::{collections::BTreeMap, time::Duration};

/// Between the beginnings of two rounds over the same cells.
pub(super) const ROUND_INTERVAL: Duration = Duration::from_millis(50);

/// Between two looks at a cell in one round.
const LOOK_INTERVAL: Duration = Duration::from_millis(15);
/// Of several looks at an open path one in so many may be lost: that is the subject of other checks.
const TOLERATED: usize = 5;

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
    probe_series(environment, cells, expected, deadlines, 1).await
}

/// Probes every cell so many times, close together: enforcement that lets a packet pass now and then, or that comes and
/// goes, is as expected in one look by chance. A cell is as expected if it was each time.
pub(super) async fn probe_series(
    environment: &dyn Environment,
    cells: &[JudgedCell],
    expected: impl Fn(&JudgedCell) -> Expected,
    deadlines: &Deadlines,
    looks: u32,
) -> ProbeRound {
    let mut by_agent: BTreeMap<&AgentId, Vec<usize>> = BTreeMap::new();
    for (index, judged) in cells.iter().enumerate() {
        by_agent.entry(&judged.cell.from.agent.id).or_default().push(index);
    }
    let expected = &expected;
    let answers = join_all(by_agent.into_iter().map(|(agent, indexes)| async move {
        let probes = indexes.iter().map(|index| {
            let judged = &cells[*index];
            let once = judged.cell.probe(match expected(judged) {
                Expected::Dropped => deadlines.dropped,
                _ => deadlines.answered,
            });
            match looks_at(judged, looks) {
                1 => once,
                looks => Probe::series(once.action, once.deadline, looks, LOOK_INTERVAL),
            }
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
            return compare(judged, expected(judged), outcome);
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

/// External names are not asked more often than a case needs, and the first packets of a pair that has to authenticate
/// are lost.
fn looks_at(judged: &JudgedCell, looks: u32) -> u32 {
    let named = matches!(judged.cell.traffic, Traffic::ConnectByName { .. });
    match named || judged.decision.expected == Expected::AllowedIfAuthenticated {
        true => 1,
        false => looks,
    }
}

/// Compares one look, or each of several.
fn compare(judged: &JudgedCell, expected: Expected, outcome: &Outcome) -> CellResult {
    let Outcome::Series {
        latencies, failures, ..
    } = outcome
    else {
        return judged.cell.compare(expected, outcome);
    };
    if !is_open(expected) && !latencies.is_empty() {
        return CellResult::Mismatch(outcome.clone());
    }
    let (mut deviating, mut silent, mut first) = (0, 0, None);
    for (_, failure) in failures {
        match judged.cell.compare(expected, failure) {
            CellResult::Ok => {}
            CellResult::Mismatch(seen) => {
                deviating += 1;
                silent += usize::from(matches!(seen, Outcome::Timeout { .. } | Outcome::Stalled { .. }));
                first.get_or_insert(seen);
            }
            unknown @ CellResult::Unknown(_) => return unknown,
        }
    }
    let looks = latencies.len() + failures.len();
    let tolerated = match expected {
        expected if is_open(expected) => looks / TOLERATED,
        // A proxy that is busy answers late: silence lets nothing through, and most looks must be refusals.
        Expected::Forbidden | Expected::DnsRefused | Expected::DnsNameError if silent == deviating => looks / 2,
        _ => 0,
    };
    match first {
        // Silence throughout may be looked at again with a longer limit.
        Some(silence) if deviating == looks => CellResult::Mismatch(silence),
        Some(_) if deviating > tolerated => CellResult::Mismatch(outcome.clone()),
        _ => CellResult::Ok,
    }
}
