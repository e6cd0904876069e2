//! Pings that agents may not send: with container runtimes that leave `net.ipv4.ping_group_range` at the kernel's
//! default no pod may open a ping socket, from which nothing follows about policies.

use super::{
    deadlines::Deadlines,
    judged_cell::JudgedCell,
    round::{ProbeRound, probe_round},
};
use crate::policy::cell::{Cell, CellResult, Traffic};
use meshproof_contract::{AgentId, CheckContext};
use meshproof_oracle::Expected;
use std::collections::BTreeSet;

/// For each cell whether it is a ping of an agent that could send none of its pings, while all its other probes were
/// ok.
pub(super) fn forbidden(cells: &[JudgedCell], round: &ProbeRound) -> Vec<bool> {
    let is_ping = |judged: &JudgedCell| judged.cell.traffic == Traffic::Ping;
    let from = |judged: &JudgedCell| judged.cell.from.agent.id.clone();
    let all = || cells.iter().zip(round.results.iter().zip(&round.not_sent));
    let with_other_probes: BTreeSet<AgentId> = all()
        .filter(|(judged, _)| !is_ping(judged))
        .map(|(judged, _)| from(judged))
        .collect();
    let contradicted: BTreeSet<AgentId> = all()
        .filter(|(judged, (result, not_sent))| {
            if is_ping(judged) {
                !**not_sent
            } else {
                **result != CellResult::Ok
            }
        })
        .map(|(judged, _)| from(judged))
        .collect();
    let may_not = |agent: &AgentId| with_other_probes.contains(agent) && !contradicted.contains(agent);
    cells
        .iter()
        .map(|judged| is_ping(judged) && may_not(&from(judged)))
        .collect()
}

/// Whether no source of these cells may ping, by one round of probes while no policy is applied.
pub(in crate::policy) async fn are_forbidden(context: &CheckContext, cells: Vec<Cell>) -> bool {
    let cells: Vec<JudgedCell> = cells.into_iter().map(JudgedCell::open).collect();
    let environment = context.environment.as_ref();
    let round = probe_round(environment, &cells, |_| Expected::Allowed, &Deadlines::DEFAULT).await;
    let forbidden = forbidden(&cells, &round);
    let mut pings = cells
        .iter()
        .zip(forbidden)
        .filter(|(judged, _)| judged.cell.traffic == Traffic::Ping)
        .peekable();
    pings.peek().is_some() && pings.all(|(_, forbidden)| forbidden)
}
