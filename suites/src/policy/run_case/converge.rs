//! Waits until a change of policies has come through in every cell, and measures how long that takes.

use super::{
    change::Change,
    deadlines::Deadlines,
    judged_cell::{JudgedCell, is_open},
    realized::{Realized, realized_in_time},
    round::{ROUND_INTERVAL, probe_round, probe_series},
    second_look::look_again,
};
use crate::policy::{cell::CellResult, enforced_within, fixture::Fixture};
use meshproof_contract::{CheckContext, Environment, Outcome};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Deviations that last so long will stay, once Cilium reports the change as realized on every node of the subject
/// pods.
const REALIZED_GRACE: Duration = Duration::from_millis(1500);
/// They must be the same so long after that report: it may describe the moment before.
const CONFIRMED_AFTER: Duration = Duration::from_secs(1);
/// Cells that are probed for the first sign of the change.
const SAMPLED_CELLS: usize = 8;
/// Between two rounds over these.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(15);

/// How the wait ended.
#[derive(Debug)]
pub struct Converged {
    /// From the change to the start of the first round in which every cell was as expected; none if that never was.
    pub after: Option<Duration>,
    /// What each cell showed last.
    pub last: Vec<CellResult>,
    /// Rounds in which only some of the changing cells had changed.
    pub half: u32,
    /// What Cilium reports, where it was queried.
    pub realized: Option<Realized>,
}

/// Probes a few of the cells that change until all have, then every cell until all are as expected, after a policy was
/// applied in so many looks in a row. `names` are those of the policies' objects.
pub async fn converge(
    context: &CheckContext,
    fixture: &Fixture,
    cells: &[JudgedCell],
    change: Change,
    names: &[String],
    (deadlines, looks): (&Deadlines, u32),
    start: Instant,
) -> Converged {
    let environment = context.environment.as_ref();
    let (mut first_sign, half) = first_sign(context, cells, change, deadlines, start).await;
    let mut realized = None;
    let mut before: Option<Vec<bool>> = None;
    // Cells that were as expected in some round: if they must be open, silence after that may be a lost packet.
    let mut once_ok = vec![false; cells.len()];
    // When Cilium reported the change as realized, and which cells were as expected then.
    let mut reported: Option<(Instant, Vec<bool>)> = None;
    loop {
        let begun = Instant::now();
        let expected = |judged: &JudgedCell| change.expected(judged);
        let looks = if change == Change::Applied { looks } else { 1 };
        let mut round = probe_series(environment, cells, expected, deadlines, looks).await;
        // What an agent could not send is sent again, too: a machine is busy for a moment, not for ever.
        let ok: Vec<bool> = round.results.iter().map(|result| *result == CellResult::Ok).collect();
        if ok.iter().all(|ok| *ok) {
            return Converged {
                after: Some(first_sign.take().unwrap_or(begun - start)),
                last: round.results,
                half,
                realized,
            };
        }
        once_ok.iter_mut().zip(&ok).for_each(|(once, ok)| *once |= ok);
        let is_stable = before.as_ref() == Some(&ok);
        if begun - start >= REALIZED_GRACE && is_stable && realized != Some(Realized::Everywhere) {
            realized = Some(realized_in_time(environment, fixture, names, change).await);
        }
        if realized == Some(Realized::Everywhere) && reported.as_ref().is_none_or(|(_, then)| *then != ok) {
            reported = Some((Instant::now(), ok.clone()));
        }
        let confirmed = reported.as_ref().is_some_and(|(at, _)| begun >= *at + CONFIRMED_AFTER);
        // A path that should be open may be closed by something that passes: it gets the whole time.
        let will_stay = confirmed && !is_closed(cells, &ok, change);
        if will_stay || start.elapsed() >= enforced_within(context) {
            let (expected, among) = (
                |judged: &JudgedCell| change.expected(judged),
                |index: usize| once_ok[index],
            );
            name_answers(environment, cells, change, deadlines, &mut round.results).await;
            let answered = look_again(environment, cells, expected, deadlines, among, &mut round.results).await;
            if answered > 0 {
                context.note(format!(
                    "{answered} cells gave no answer at first and answered on retry"
                ));
            }
            let all_ok = round.results.iter().all(|result| *result == CellResult::Ok);
            return Converged {
                after: all_ok.then(|| begun - start),
                last: round.results,
                half,
                realized,
            };
        }
        first_sign = None;
        before = Some(ok);
        sleep_until(begun + ROUND_INTERVAL).await;
    }
}

/// One more look at cells of which several looks were not as expected: it says who answered, and what. Where it happens
/// to be as expected, the share of the answers stays.
async fn name_answers(
    environment: &dyn Environment,
    cells: &[JudgedCell],
    change: Change,
    deadlines: &Deadlines,
    results: &mut [CellResult],
) {
    let is_share = |at: &usize| matches!(results[*at], CellResult::Mismatch(Outcome::Series { .. }));
    let shares: Vec<usize> = (0..cells.len()).filter(is_share).collect();
    if shares.is_empty() {
        return;
    }
    let again: Vec<JudgedCell> = shares.iter().map(|at| cells[*at].clone()).collect();
    let expected = |judged: &JudgedCell| change.expected(judged);
    let round = probe_round(environment, &again, expected, deadlines).await;
    for (at, result) in shares.into_iter().zip(round.results) {
        if matches!(result, CellResult::Mismatch(_)) {
            results[at] = result;
        }
    }
}

/// When a sample of the changing cells was as expected for the first time, if it was soon, and how many rounds found
/// only some of them changed.
async fn first_sign(
    context: &CheckContext,
    cells: &[JudgedCell],
    change: Change,
    deadlines: &Deadlines,
    start: Instant,
) -> (Option<Duration>, u32) {
    let environment = context.environment.as_ref();
    let sample = sample(cells);
    let quick = Deadlines {
        dropped: deadlines.quick,
        answered: deadlines.quick,
        ..*deadlines
    };
    let mut half = 0;
    loop {
        let begun = Instant::now();
        let round = probe_round(environment, &sample, |judged| change.expected(judged), &quick).await;
        let ok = round.results.iter().filter(|r| **r == CellResult::Ok).count();
        if ok == sample.len() {
            return (Some(begun - start), half);
        }
        half += u32::from(ok > 0);
        if start.elapsed() >= REALIZED_GRACE {
            return (None, half);
        }
        sleep_until(begun + SAMPLE_INTERVAL).await;
    }
}

/// Whether some cell that should be open is not.
fn is_closed(cells: &[JudgedCell], ok: &[bool], change: Change) -> bool {
    let open = |judged: &JudgedCell| is_open(change.expected(judged));
    cells.iter().zip(ok).any(|(judged, ok)| open(judged) && !ok)
}

/// Some of the cells that the policies change, spread over all of them.
fn sample(cells: &[JudgedCell]) -> Vec<JudgedCell> {
    let changing: Vec<&JudgedCell> = cells.iter().filter(|judged| judged.is_changed()).collect();
    let step = changing.len().div_ceil(SAMPLED_CELLS).max(1);
    changing.into_iter().step_by(step).cloned().collect()
}
