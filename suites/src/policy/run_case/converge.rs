//! Waits until a change of policy has come through in every cell, and measures how long that takes.

use super::Row;
use super::look::{Pace, look};
use super::realized::{Realized, realized_in_time};
use crate::policy::cell::Compared;
use crate::policy::enforced_within;
use crate::policy::scene::Scene;
use meshproof_contract::{CheckContext, ObjectRef};
use meshproof_oracle::Expected;
use serde_json::Value;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Where Cilium says that the change is realized on every node of the ward, deviations that last so long will stay.
const REALIZED_GRACE: Duration = Duration::from_millis(1500);
/// And they must be the same so long after that was heard: what Cilium says may be true of the moment before.
const CONFIRMED_AFTER: Duration = Duration::from_secs(1);
/// Cells that are looked at while waiting.
const GLANCES: usize = 8;

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// Every cell as the policies say.
    Enforced,
    /// Every cell open.
    Open,
}

impl Goal {
    fn of(self, row: &Row) -> Expected {
        match self {
            Goal::Enforced => row.decision.expected,
            Goal::Open => Expected::Allowed,
        }
    }
}

/// How it ended.
#[derive(Debug)]
pub struct Settled {
    /// From the change to the start of the first look at which every cell was right; none if that never was.
    pub after: Option<Duration>,
    /// The last look at every cell.
    pub last: Vec<Compared>,
    /// Looks that found some of the changing cells changed and others not.
    pub half: u32,
    /// What Cilium says, where it was asked.
    pub realized: Option<Realized>,
}

/// Looks at a few of the cells that change until all have, then at every cell until all are right.
pub async fn settle(
    context: &CheckContext,
    scene: &Scene,
    rows: &[Row],
    goal: Goal,
    policies: &[Value],
    pace: &Pace,
    start: Instant,
) -> Settled {
    let environment = context.environment.as_ref();
    let changing = sample(rows);
    let hasty = Pace {
        denied: pace.glance,
        open: pace.glance,
        ..*pace
    };
    let (mut half, mut changed) = (0, None);
    loop {
        let begun = Instant::now();
        let round = look(environment, &changing, |row| goal.of(row), &hasty).await;
        let right = round.compared.iter().filter(|c| **c == Compared::Right).count();
        if right == changing.len() {
            changed = Some(begun - start);
            break;
        }
        half += u32::from(right > 0);
        if start.elapsed() >= REALIZED_GRACE {
            break;
        }
        sleep_until(begun + Duration::from_millis(15)).await;
    }
    let mut told = None;
    let mut before: Option<Vec<Compared>> = None;
    let mut heard: Option<(Instant, Vec<bool>)> = None;
    loop {
        let begun = Instant::now();
        let round = look(environment, rows, |row| goal.of(row), pace).await;
        // What an agent could not try is tried again too: a machine is busy for a moment, not for ever.
        if round.compared.iter().all(|c| *c == Compared::Right) {
            return Settled {
                after: Some(changed.take().unwrap_or(begun - start)),
                last: round.compared,
                half,
                realized: told,
            };
        }
        let (changed_since, seen) = (begun - start, rights(&round.compared));
        let steady = before.as_deref().map(rights).as_ref() == Some(&seen);
        if changed_since >= REALIZED_GRACE && steady && told != Some(Realized::Everywhere) {
            let names = policies.iter().map(|p| ObjectRef::of(p).name).collect::<Vec<_>>();
            told = Some(realized_in_time(environment, scene, &names, goal).await);
        }
        if told == Some(Realized::Everywhere) && heard.as_ref().is_none_or(|(_, then)| *then != seen) {
            heard = Some((Instant::now(), seen));
        }
        let confirmed = heard.as_ref().is_some_and(|(at, _)| begun >= *at + CONFIRMED_AFTER);
        // What should be open may be closed by something that passes: it has the whole time.
        let lasting = confirmed && !is_closed(rows, &round.compared, goal);
        if lasting || start.elapsed() >= enforced_within(context) {
            return Settled {
                after: None,
                last: round.compared,
                half,
                realized: told,
            };
        }
        changed = None;
        before = Some(round.compared);
        sleep_until(begun + Duration::from_millis(50)).await;
    }
}

/// Whether some cell that should be open is not.
fn is_closed(rows: &[Row], compared: &[Compared], goal: Goal) -> bool {
    let open = |row: &Row| matches!(goal.of(row), Expected::Allowed | Expected::AllowedIfAuthenticated);
    let mut cells = rows.iter().zip(compared);
    cells.any(|(row, compared)| open(row) && *compared != Compared::Right)
}

fn rights(compared: &[Compared]) -> Vec<bool> {
    compared.iter().map(|c| *c == Compared::Right).collect()
}

/// Whether the policies change what the cell shows.
pub fn changes(row: &Row) -> bool {
    !matches!(
        row.decision.expected,
        Expected::Allowed | Expected::AllowedIfAuthenticated
    )
}

/// Some of the rows that the policies change, spread over all of them.
fn sample(rows: &[Row]) -> Vec<Row> {
    let changing: Vec<&Row> = rows.iter().filter(|row| changes(row)).collect();
    let step = changing.len().div_ceil(GLANCES).max(1);
    changing.into_iter().step_by(step).cloned().collect()
}
