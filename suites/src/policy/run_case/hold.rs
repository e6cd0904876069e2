//! Whether what every cell showed once holds: several more looks at each, close together. Enforcement that lets one
//! packet pass now and then, or that comes and goes, is as expected in one look by chance.

use super::{converge::Converged, deadlines::Deadlines, judged_cell::JudgedCell, judged_cell::is_open};
use crate::policy::cell::{CellResult, Traffic};
use futures::future::join_all;
use meshproof_contract::{AgentId, CheckContext, Outcome, Probe};
use meshproof_oracle::Expected;
use std::{collections::BTreeMap, time::Duration};

/// Between two looks at a cell.
const INTERVAL: Duration = Duration::from_millis(15);

/// An open path may lose one in so many.
const TOLERATED: usize = 5;

/// Looks at each cell so many times more. What is not as expected in one of them is what the cell showed last, and the
/// change has not come through.
pub(super) async fn hold(
    context: &CheckContext,
    cells: &[JudgedCell],
    deadlines: &Deadlines,
    looks: u32,
    under: &mut Converged,
) {
    let held: Vec<usize> = (0..cells.len()).filter(|at| can_be_held(&cells[*at])).collect();
    let mut deviating = look(context, cells, &held, deadlines, looks, under).await;
    // An open path may lose a packet; a closed one lets none pass by chance.
    let silent: Vec<usize> = deviating
        .iter()
        .copied()
        .filter(|at| is_open(cells[*at].decision.expected))
        .collect();
    if !silent.is_empty() {
        let again = look(context, cells, &silent, deadlines, looks, under).await;
        deviating.retain(|at| !silent.contains(at) || again.contains(at));
    }
    for (at, result) in under.last.iter_mut().enumerate() {
        if !deviating.contains(&at) && held.contains(&at) && matches!(result, CellResult::Mismatch(_)) {
            *result = CellResult::Ok;
        }
    }
    if !deviating.is_empty() {
        under.after = None;
    }
}

/// External names are not asked more often than a case needs.
fn can_be_held(judged: &JudgedCell) -> bool {
    let named = matches!(judged.cell.traffic, Traffic::ConnectByName { .. });
    !named && judged.decision.expected != Expected::AllowedIfAuthenticated
}

/// One series of looks at these cells; those that were not as expected in all of them, which is put down.
async fn look(
    context: &CheckContext,
    cells: &[JudgedCell],
    held: &[usize],
    deadlines: &Deadlines,
    looks: u32,
    under: &mut Converged,
) -> Vec<usize> {
    let mut by_agent: BTreeMap<&AgentId, Vec<usize>> = BTreeMap::new();
    for at in held {
        by_agent.entry(&cells[*at].cell.from.agent.id).or_default().push(*at);
    }
    let series = |at: usize| {
        let judged = &cells[at];
        let deadline = match judged.decision.expected {
            Expected::Dropped => deadlines.dropped,
            _ => deadlines.answered,
        };
        let once = judged.cell.probe(deadline);
        Probe::series(once.action, once.deadline, looks, INTERVAL)
    };
    let answers = join_all(by_agent.into_iter().map(|(agent, held)| async move {
        let probes = held.iter().map(|at| series(*at)).collect();
        (held, context.environment.probe(agent, probes).await)
    }))
    .await;
    let mut deviating = Vec::new();
    for (held, answer) in answers {
        for (number, at) in held.into_iter().enumerate() {
            // What could not be looked at again was looked at once.
            let outcome = answer.as_ref().ok().and_then(|outcomes| outcomes.get(number));
            if let Some(seen) = outcome.and_then(|outcome| deviation(&cells[at], outcome)) {
                under.last[at] = CellResult::Mismatch(seen);
                deviating.push(at);
            }
        }
    }
    deviating
}

/// What in the series was not as expected.
fn deviation(judged: &JudgedCell, outcome: &Outcome) -> Option<Outcome> {
    let Outcome::Series {
        latencies, failures, ..
    } = outcome
    else {
        return None;
    };
    let expected = judged.decision.expected;
    if !is_open(expected) && !latencies.is_empty() {
        return Some(outcome.clone());
    }
    let deviates = |failure: &&Outcome| matches!(judged.cell.compare(expected, failure), CellResult::Mismatch(_));
    let deviating = failures.iter().map(|(_, failure)| failure).filter(deviates).count();
    // That an open path loses a packet now and then is the subject of other checks.
    let tolerated = match is_open(expected) {
        true => (latencies.len() + failures.len()) / TOLERATED,
        false => 0,
    };
    (deviating > tolerated).then(|| outcome.clone())
}
