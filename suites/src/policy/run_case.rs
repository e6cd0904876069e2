//! Runs one case: probes every cell before the policies are applied, while they are in force, and after their deletion.
//!
//! A cell counts only if its path was open before, in the same run; a denied one must show the expected kind of
//! refusal; and what stays closed after the deletion is a finding of its own. How long a change takes is measured: the
//! waits end when the whole matrix is as expected, or at a deadline with what was seen last.

mod change;
mod converge;
mod deadlines;
mod evidence;
mod foreign_policies;
mod fqdn;
mod judge;
mod judged_cell;
mod pings;
mod realized;
mod round;
mod second_look;

use super::{
    cell::{Cell, CellResult},
    enforced_within,
    fixture::Fixture,
    scene::Member,
};
use crate::kit::object::policy as object;
use change::Change;
use converge::{Converged, converge};
pub(super) use deadlines::Deadlines;
use judge::judge;
pub(super) use judged_cell::JudgedCell;
use meshproof_contract::{CheckContext, Tally};
use meshproof_oracle::{Expected, decide, parse};
pub(super) use pings::are_forbidden as pings_are_forbidden;
use round::{ROUND_INTERVAL, probe_round};
use second_look::look_again;
use serde_json::Value;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// How long paths may take to be open before a case begins: another check's policy may just have been deleted.
const OPEN_WITHIN: Duration = Duration::from_secs(5);

/// A case with everything filled in.
pub struct PreparedCase<'a> {
    /// A few words, for findings and reports.
    pub name: &'a str,
    /// The policies, without name and namespace.
    pub policies: Vec<Value>,
    /// The cells to probe.
    pub cells: Vec<Cell>,
    /// How often each cell must be as expected in a row.
    pub looks: u32,
}

/// Looks at each cell of an ordinary case: enforcement that lets one of three packets pass shows in four denied cells
/// with a probability of 99.97 %.
pub const LOOKS: u32 = 5;

/// Runs the case: what was seen goes into the tally, and what each cell showed under the policies is returned.
pub async fn run_case(
    context: &CheckContext,
    fixture: &Fixture,
    case: PreparedCase<'_>,
    tally: &mut Tally,
) -> Option<Vec<(JudgedCell, CellResult)>> {
    let name = case.name;
    let policies: Vec<Value> = case
        .policies
        .into_iter()
        .map(|policy| object::named(policy, &fixture.namespace))
        .collect();
    let cells = match expectations(fixture, &policies, case.cells) {
        Ok(cells) => cells,
        Err(why) => {
            tally.unknown(format!("{name}: {why}"));
            return None;
        }
    };
    let (cells, deadlines) = open_before(context, name, cells, tally).await?;
    // A policy that changes nothing cannot be distinguished from one that was never applied.
    if !cells.iter().any(JudgedCell::is_changed) {
        tally.unknown(format!(
            "{name}: no path that the policy denies was open before, so its enforcement could not be observed"
        ));
        return None;
    }
    let member = Member::join(context, &fixture.group, policies.clone()).await;
    let mut shown = attempt(context, fixture, member, (&cells, &policies), &deadlines, case.looks).await;
    // Perhaps by the fault of another case's rule.
    if matches!(&shown, Err(refused) if refused.may_be_others) {
        context.note(format!(
            "{name}: the object with its and other cases' rules was not in force; tried alone"
        ));
        let member = Member::alone(&fixture.cluster, policies.clone());
        shown = attempt(context, fixture, member, (&cells, &policies), &deadlines, case.looks).await;
    }
    let (under, after) = match shown {
        Ok(shown) => shown,
        Err(refused) => {
            tally.unknown(format!("{name}: {}", refused.why));
            return None;
        }
    };
    let foreign = match under.after.and(after.after) {
        Some(_) => String::new(),
        None => foreign_policies::describe(context.environment.as_ref(), &cells).await,
    };
    evidence::leave(context, name, &cells, (&under, &after));
    let limit = enforced_within(context);
    judge(context, name, &cells, (&under, &after), limit, &foreign, tally);
    Some(cells.into_iter().zip(under.last).collect())
}

/// Why policies could not be tested.
struct Refused {
    why: String,
    /// Whether the rules of other cases in the same objects may be the cause.
    may_be_others: bool,
}

/// What the cells show while the policies are in force, and after their deletion.
async fn attempt(
    context: &CheckContext,
    fixture: &Fixture,
    member: Member,
    (cells, policies): (&[JudgedCell], &[Value]),
    deadlines: &Deadlines,
    looks: u32,
) -> Result<(Converged, Converged), Refused> {
    let companions = member.companions();
    let refused = |what: &str, error: String| Refused {
        why: format!("cannot {what} the policy: {error}"),
        may_be_others: companions > 0,
    };
    let in_force = match member.enforce(context).await {
        Ok(in_force) => in_force,
        Err(error) => return Err(refused("apply", error.to_string())),
    };
    let names = in_force.names();
    let wait = |change, start| converge(context, fixture, cells, change, &names, (deadlines, looks), start);
    let closed = fixture.house.close(context).await;
    let under = wait(Change::Applied, in_force.since).await;
    let is_seen = |(judged, result): (&JudgedCell, &CellResult)| judged.is_changed() && *result == CellResult::Ok;
    let effective = cells.iter().zip(&under.last).any(is_seen);
    if let Some(labelled) = fqdn::labels(context, fixture, policies, cells, &under.last).await {
        let _ = fixture.labelled.set(labelled);
    }
    let reopened = fixture.house.reopen(context).await;
    let ended = member.leave(context, effective).await.and_then(|ended| {
        closed?;
        reopened?;
        Ok(ended)
    });
    let ended = ended.map_err(|error| Refused {
        may_be_others: false,
        ..refused("delete", error.to_string())
    })?;
    let after = wait(Change::Deleted, ended.since).await;
    if ended.abandoned {
        return Err(refused("keep", "the trial that had applied it was ended".to_owned()));
    }
    if ended.without_effect {
        return Err(refused("observe", "no cell showed it".to_owned()));
    }
    Ok((under, after))
}

/// What must happen in each cell, by the harness's own reading of the objects.
pub(super) fn expectations(fixture: &Fixture, policies: &[Value], cells: Vec<Cell>) -> Result<Vec<JudgedCell>, String> {
    if cells.is_empty() {
        return Err("no agent can probe it".to_owned());
    }
    let mut parsed = fixture.house.policies.clone();
    for policy in policies {
        parsed
            .extend(parse(policy, &fixture.mesh).map_err(|error| format!("cannot compute the expectation: {error}"))?);
    }
    let judge = |cell: Cell| {
        let decision = decide(&parsed, &fixture.surroundings, &cell.flow());
        let decision = decision.map_err(|error| format!("cannot compute the expectation: {error}"))?;
        Ok(JudgedCell { decision, cell })
    };
    cells.into_iter().map(judge).collect()
}

/// The cells whose path is open, with deadlines from their latencies; the others are tallied as unknown.
async fn open_before(
    context: &CheckContext,
    name: &str,
    cells: Vec<JudgedCell>,
    tally: &mut Tally,
) -> Option<(Vec<JudgedCell>, Deadlines)> {
    let environment = context.environment.as_ref();
    let start = Instant::now();
    let (mut round, forbidden, mut all_open) = loop {
        let begun = Instant::now();
        let round = probe_round(environment, &cells, |_| Expected::Allowed, &Deadlines::DEFAULT).await;
        let forbidden = pings::forbidden(&cells, &round);
        let mut results = round.results.iter().zip(&forbidden);
        let all_open = results.all(|(result, forbidden)| *forbidden || *result == CellResult::Ok);
        if all_open || start.elapsed() >= OPEN_WITHIN {
            break (round, forbidden, all_open);
        }
        sleep_until(begun + ROUND_INTERVAL).await;
    };
    let deadlines = Deadlines::from_latencies(&round.latencies);
    if !all_open {
        let (open, among) = (|_: &JudgedCell| Expected::Allowed, |index: usize| !forbidden[index]);
        look_again(environment, &cells, open, &deadlines, among, &mut round.results).await;
        let mut results = round.results.iter().zip(&forbidden);
        all_open = results.all(|(result, forbidden)| *forbidden || *result == CellResult::Ok);
    }
    let pings = forbidden.iter().filter(|forbidden| **forbidden).count();
    if pings > 0 {
        context.note(format!(
            "{name}: {pings} pings are left out: their pods may not send any (net.ipv4.ping_group_range)"
        ));
    }
    let foreign = if all_open {
        String::new()
    } else {
        foreign_policies::describe(environment, &cells).await
    };
    let mut open = Vec::new();
    let results = cells.into_iter().zip(round.results).zip(forbidden);
    for ((cell, result), _) in results.filter(|(_, forbidden)| !forbidden) {
        match result {
            CellResult::Ok => open.push(cell),
            CellResult::Mismatch(seen) => tally.unknown(format!(
                "{name}: {} was not open before the policy ({seen}){foreign}",
                cell.cell
            )),
            CellResult::Unknown(why) => tally.unknown(format!("{name}: {why}")),
        }
    }
    (!open.is_empty()).then_some((open, deadlines))
}

/// Of cells without policies those that are open, with deadlines from their latencies; the others are tallied as
/// unknown.
pub(super) async fn open_cells(
    context: &CheckContext,
    cells: Vec<Cell>,
    tally: &mut Tally,
) -> Option<(Vec<Cell>, Deadlines)> {
    let cells = cells.into_iter().map(JudgedCell::open).collect();
    let (cells, deadlines) = open_before(context, "before", cells, tally).await?;
    Some((cells.into_iter().map(|judged| judged.cell).collect(), deadlines))
}
