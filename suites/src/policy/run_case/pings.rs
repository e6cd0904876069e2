//! Pings that agents may not send: on runtimes that leave `net.ipv4.ping_group_range` at the kernel's default no pod may open a ping
//! socket, and that says nothing about policies.

use super::Row;
use super::look::{Pace, Round, look};
use crate::policy::cell::{Ask, Cell, Compared};
use meshproof_contract::{AgentId, CheckContext};
use meshproof_oracle::{Decision, Expected};
use std::collections::BTreeSet;

/// For each row whether it is a ping of an agent that could try none of its pings, while all else that it asked was answered.
pub(crate) fn forbidden(rows: &[Row], round: &Round) -> Vec<bool> {
    let is_ping = |row: &Row| row.cell.ask == Ask::Ping;
    let from = |row: &Row| row.cell.from.agent.id.clone();
    let all = || rows.iter().zip(round.compared.iter().zip(&round.untried));
    let asking: BTreeSet<AgentId> = all()
        .filter(|(row, _)| !is_ping(row))
        .map(|(row, _)| from(row))
        .collect();
    let wrong: BTreeSet<AgentId> = all()
        .filter(|(row, (compared, untried))| match is_ping(row) {
            true => !**untried,
            false => **compared != Compared::Right,
        })
        .map(|(row, _)| from(row))
        .collect();
    let may_not = |agent: &AgentId| asking.contains(agent) && !wrong.contains(agent);
    rows.iter().map(|row| is_ping(row) && may_not(&from(row))).collect()
}

/// Whether nobody may ping in these cells, by one look at them while no policy is applied.
pub(crate) async fn are_forbidden(context: &CheckContext, cells: Vec<Cell>) -> bool {
    let rows: Vec<Row> = cells.into_iter().map(Row::open).collect();
    let round = look(
        context.environment.as_ref(),
        &rows,
        |_| Expected::Allowed,
        &Pace::UNKNOWN,
    )
    .await;
    let forbidden = forbidden(&rows, &round);
    let mut pings = rows
        .iter()
        .zip(forbidden)
        .filter(|(row, _)| row.cell.ask == Ask::Ping)
        .peekable();
    pings.peek().is_some() && pings.all(|(_, forbidden)| forbidden)
}

impl Row {
    /// A cell that no policy is about.
    pub(super) fn open(cell: Cell) -> Self {
        let decision = Decision {
            expected: Expected::Allowed,
            direction: None,
            because: "no policy".to_owned(),
        };
        Self { cell, decision }
    }
}
