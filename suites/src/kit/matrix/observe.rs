//! Sends the probes of a matrix: one batch for each agent that asks, all agents at once.

use super::cell::{Cell, Judged};
use crate::kit::{
    paths::Path,
    probes::{self, BETWEEN_LOOKS, SECOND_LOOKS},
};
use futures::future::join_all;
use meshproof_contract::{AgentId, CheckContext, Environment, EnvironmentError, Outcome, Probe, Unit};
use std::collections::BTreeMap;
use tokio::time::sleep;

/// What one path showed: an outcome for each of its probes, or why there is none.
pub type Seen = Result<Vec<Outcome>, EnvironmentError>;

/// Which probes of a path these are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// Those that every path gets.
    First,
    /// Those for a path that gave no answer to the first.
    Retry,
}

impl Attempt {
    /// The one of two that belongs to the attempt.
    pub fn by<T>(self, first: T, retry: T) -> T {
        match self {
            Attempt::First => first,
            Attempt::Retry => retry,
        }
    }
}

/// The outcomes for each path, in their order.
pub async fn observe(environment: &dyn Environment, paths: &[Path], probes: impl Fn(&Path) -> Vec<Probe>) -> Vec<Seen> {
    let mut rows: BTreeMap<&AgentId, Vec<(usize, Vec<Probe>)>> = BTreeMap::new();
    for (index, path) in paths.iter().enumerate() {
        rows.entry(&path.from.id).or_default().push((index, probes(path)));
    }
    let answers = join_all(rows.into_iter().map(|(agent, row)| async move {
        let batch: Vec<Probe> = row.iter().flat_map(|(_, probes)| probes.iter().cloned()).collect();
        let asked = batch.len();
        let outcomes = environment.probe(agent, batch).await.and_then(|outcomes| {
            if outcomes.len() == asked {
                Ok(outcomes)
            } else {
                Err(EnvironmentError::AgentGone {
                    agent: agent.clone(),
                    reason: format!("it answered {} of {asked} probes of a batch", outcomes.len()),
                })
            }
        });
        (row, outcomes)
    }))
    .await;

    let mut seen: Vec<Option<Seen>> = paths.iter().map(|_| None).collect();
    for (row, outcomes) in answers {
        match outcomes {
            Ok(outcomes) => {
                let mut rest = outcomes.into_iter();
                for (index, probes) in row {
                    seen[index] = Some(Ok(rest.by_ref().take(probes.len()).collect()));
                }
            }
            Err(error) => {
                for (index, _) in row {
                    seen[index] = Some(Err(error.clone()));
                }
            }
        }
    }
    seen.into_iter()
        .map(|s| s.expect("every path belongs to the row of its own agent"))
        .collect()
}

/// Observes and judges every path; those without an answer are probed twice more, a second apart and with the longer
/// limit of [`probes::PATIENT`], before that counts.
///
/// A single lost packet must not turn a functional check red, since loss has a check of its own. How many paths needed
/// the retry is left as a figure, so that it is measured and not hidden.
pub async fn probe_with_retry(
    context: &CheckContext,
    paths: &[Path],
    probes: impl Fn(&Path, Attempt) -> Vec<Probe>,
    judge: impl Fn(&Path, Attempt, &[Outcome]) -> Cell,
) -> Vec<Judged> {
    let judged = |path: &Path, attempt: Attempt, seen: &Seen| Judged {
        path: path.clone(),
        cell: match seen {
            Ok(outcomes) => judge(path, attempt, outcomes),
            Err(error) => Cell::Unknown(error.to_string()),
        },
    };
    let environment = context.environment.as_ref();
    let seen = observe(environment, paths, |path| probes(path, Attempt::First)).await;
    let first = paths.iter().zip(&seen);
    let mut cells: Vec<Judged> = first.map(|(path, seen)| judged(path, Attempt::First, seen)).collect();

    let retried = silent(&cells).len();
    let mut recovered = 0;
    for look in 0..SECOND_LOOKS {
        let silent = silent(&cells);
        if silent.is_empty() {
            break;
        }
        if look > 0 {
            sleep(BETWEEN_LOOKS).await;
        }
        let paths: Vec<Path> = silent.iter().map(|i| cells[*i].path.clone()).collect();
        let patient = |path: &Path| {
            let retry = probes(path, Attempt::Retry).into_iter();
            retry.map(probes::patient).collect()
        };
        let seen = observe(environment, &paths, patient).await;
        for (index, (path, seen)) in silent.iter().zip(paths.iter().zip(&seen)) {
            let again = judged(path, Attempt::Retry, seen);
            if matches!(again.cell, Cell::Ok(_)) {
                recovered += 1;
                context.note(format!("{path}: no answer at first, answered on retry"));
            }
            cells[*index] = again;
        }
    }
    if retried > 0 {
        context.measure("retried_pairs", "", retried as f64, Unit::Count);
        context.measure("recovered_pairs", "", f64::from(recovered), Unit::Count);
    }
    cells
}

/// The cells that gave no answer.
fn silent(cells: &[Judged]) -> Vec<usize> {
    let silent = |index: &usize| matches!(cells[*index].cell, Cell::NoAnswer(_));
    (0..cells.len()).filter(silent).collect()
}
