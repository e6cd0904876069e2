//! Plays one case: every cell before the policies, under them and after their removal.
//!
//! A cell counts only if its path was open before, in the same run; a denied one is right only with the expected kind of
//! refusal; and what stays closed after the removal is a finding of its own. How long a change takes is measured, not
//! hidden: the waits end when the whole matrix is as expected, or at a deadline with what was seen last.

mod conclude;
mod foreign;
mod look;
mod pings;
mod realized;
mod settle;

use super::cell::{Cell, Compared};
use super::enforced_within;
use crate::kit::object::policy as object;
use super::scene::Scene;
use conclude::conclude;
pub(super) use look::Pace;
use look::look;
use meshproof_contract::{CheckContext, EnvironmentError, ObjectRef, Tally, Unit};
use meshproof_oracle::{Decision, Expected, decide, parse};
pub(super) use pings::are_forbidden as pings_are_forbidden;
use serde_json::Value;
use settle::{Goal, Settled, settle};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// How long paths may take to be open before a case begins: another check's policy may just be going.
const OPEN_WITHIN: Duration = Duration::from_secs(5);

/// A cell with its expectation under the policies.
#[derive(Clone, Debug)]
pub struct Row {
    /// The cell.
    pub cell: Cell,
    /// The expectation, and the rule that it rests on.
    pub decision: Decision,
}

/// Plays the case; what was seen goes into the tally, and what each cell showed under the policies is returned.
pub async fn play(
    context: &CheckContext,
    scene: &Scene,
    name: &str,
    policies: Vec<Value>,
    cells: Vec<Cell>,
    tally: &mut Tally,
) -> Option<Vec<(Row, Compared)>> {
    let policies: Vec<Value> = policies
        .into_iter()
        .map(|policy| object::named(policy, &scene.namespace))
        .collect();
    let rows = match expectations(scene, &policies, cells) {
        Ok(rows) => rows,
        Err(why) => {
            tally.unknown(format!("{name}: {why}"));
            return None;
        }
    };
    let (rows, pace) = open_before(context, name, rows, tally).await?;
    // A policy that changes nothing cannot be told from one that was never applied.
    if !rows.iter().any(settle::changes) {
        tally.unknown(format!(
            "{name}: no path that the policy should close was open before, so it could not be seen in force"
        ));
        return None;
    }
    let start = Instant::now();
    let under = match apply(context, scene, &policies).await {
        Ok(()) => Some(settle(context, scene, &rows, Goal::Enforced, &policies, &pace, start).await),
        Err(error) => {
            tally.unknown(format!("{name}: the policy could not be applied: {error}"));
            None
        }
    };
    let start = Instant::now();
    if let Err(error) = remove(context, scene, &policies).await {
        tally.unknown(format!("{name}: the policy could not be deleted again: {error}"));
        return None;
    }
    let under = under?;
    let after = settle(context, scene, &rows, Goal::Open, &policies, &pace, start).await;
    note(context, name, &rows, &under, &after);
    let others = match under.after.and(after.after) {
        Some(_) => String::new(),
        None => foreign::policies(context.environment.as_ref(), &rows).await,
    };
    conclude(name, &rows, (&under, &after), enforced_within(context), &others, tally);
    Some(rows.into_iter().zip(under.last).collect())
}

/// What must happen in each cell, by the harness's own reading of the objects.
pub(super) fn expectations(scene: &Scene, policies: &[Value], cells: Vec<Cell>) -> Result<Vec<Row>, String> {
    if cells.is_empty() {
        return Err("nobody is there to try it with".to_owned());
    }
    let mut parsed = Vec::new();
    for policy in policies {
        parsed.extend(parse(policy, &scene.mesh).map_err(|error| format!("no expectation: {error}"))?);
    }
    let rows = cells.into_iter().map(|cell| Row {
        decision: decide(&parsed, &scene.semantics, &cell.flow()),
        cell,
    });
    Ok(rows.collect())
}

/// The rows whose path is open, and how quick the paths are; the others are told as unknown.
async fn open_before(
    context: &CheckContext,
    name: &str,
    rows: Vec<Row>,
    tally: &mut Tally,
) -> Option<(Vec<Row>, Pace)> {
    let start = Instant::now();
    let open = |_: &Row| Expected::Allowed;
    loop {
        let begun = Instant::now();
        let round = look(context.environment.as_ref(), &rows, open, &Pace::UNKNOWN).await;
        let forbidden = pings::forbidden(&rows, &round);
        let mut told = round.compared.iter().zip(&forbidden);
        let all = told.all(|(compared, forbidden)| *forbidden || *compared == Compared::Right);
        if !all && start.elapsed() < OPEN_WITHIN {
            sleep_until(begun + Duration::from_millis(50)).await;
            continue;
        }
        let pace = Pace::of(&round.latencies);
        let pings = forbidden.iter().filter(|forbidden| **forbidden).count();
        if pings > 0 {
            context.note(format!(
                "{name}: {pings} pings are left out, since their pods may not send any (net.ipv4.ping_group_range)"
            ));
        }
        let others = match all {
            true => String::new(),
            false => foreign::policies(context.environment.as_ref(), &rows).await,
        };
        let mut kept = Vec::new();
        for ((row, compared), _) in rows
            .into_iter()
            .zip(round.compared)
            .zip(forbidden)
            .filter(|(_, forbidden)| !forbidden)
        {
            match compared {
                Compared::Right => kept.push(row),
                Compared::Wrong(seen) => tally.unknown(format!(
                    "{name}: {} was not open before the policy ({seen}), so nothing can be told there{others}",
                    row.cell
                )),
                Compared::Unknown(why) => tally.unknown(format!("{name}: {why}")),
            }
        }
        return (!kept.is_empty()).then_some((kept, pace));
    }
}

/// Of cells without policies those that are open, and how quick they are; the others are told as unknown.
pub(super) async fn opened(context: &CheckContext, cells: Vec<Cell>, tally: &mut Tally) -> Option<(Vec<Cell>, Pace)> {
    let rows = cells.into_iter().map(Row::open).collect();
    let (rows, pace) = open_before(context, "before", rows, tally).await?;
    Some((rows.into_iter().map(|row| row.cell).collect(), pace))
}

async fn apply(context: &CheckContext, scene: &Scene, policies: &[Value]) -> Result<(), EnvironmentError> {
    for policy in policies {
        context.environment.apply(&scene.cluster, policy.clone()).await?;
    }
    Ok(())
}

async fn remove(context: &CheckContext, scene: &Scene, policies: &[Value]) -> Result<(), EnvironmentError> {
    let mut result = Ok(());
    for policy in policies {
        let removed = context.environment.delete(&scene.cluster, &ObjectRef::of(policy)).await;
        result = result.and(removed);
    }
    result
}

fn note(context: &CheckContext, name: &str, rows: &[Row], under: &Settled, after: &Settled) {
    let count = |wanted: Expected| rows.iter().filter(|row| row.decision.expected == wanted).count();
    let mut kinds: Vec<String> = Vec::new();
    for (expected, word) in [
        (Expected::Allowed, "allowed"),
        (Expected::AllowedIfAuthenticated, "allowed after authentication"),
        (Expected::Dropped, "dropped"),
        (Expected::Unreachable, "denied by an ICMP error"),
        (Expected::Forbidden, "answered 403"),
        (Expected::DnsRefused, "refused by the DNS proxy"),
        (Expected::DnsNameError, "answered NXDOMAIN by the DNS proxy"),
    ] {
        match count(expected) {
            0 => {}
            n => kinds.push(format!("{n} {word}")),
        }
    }
    let told = |settled: &Settled| match settled.after {
        Some(after) => format!("as expected {} ms later", after.as_millis()),
        None => "not as expected in the end".to_owned(),
    };
    context.note(format!(
        "{name}: of {} cells {}; applied, {}; deleted, {}",
        rows.len(),
        kinds.join(", "),
        told(under),
        told(after)
    ));
    for (figure, settled) in [("enforced_within", under), ("open_within", after)] {
        if let Some(after) = settled.after {
            context.measure(figure, name, after.as_secs_f64() * 1000.0, Unit::Milliseconds);
        }
    }
    if under.half + after.half > 0 {
        let half = f64::from(under.half + after.half);
        context.measure("half_enforced_rounds", name, half, Unit::Count);
    }
}
