//! From what every cell showed to few findings: one for each rule that was not kept, not one a cell.

use super::{converge::Converged, judged_cell::JudgedCell, realized::Realized};
use crate::{
    kit::next_steps,
    policy::cell::{CellResult, Traffic, describe},
};
use meshproof_contract::{CheckContext, Outcome, Tally};
use meshproof_oracle::{Direction, Expected, Party};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// Cells named in a finding.
const NAMED: usize = 3;

/// When a cell deviated.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum When {
    InForce,
    Deleted,
}

/// Cells that deviated from the same expectation at the same time.
type Deviations<'a> = BTreeMap<(When, String), Vec<(&'a JudgedCell, &'a Outcome)>>;

/// Judges a case by what the cells showed under the policies and after their deletion; `foreign` names policies of
/// others.
pub fn judge(
    context: &CheckContext,
    name: &str,
    cells: &[JudgedCell],
    (under, after): (&Converged, &Converged),
    limit: Duration,
    foreign: &str,
    tally: &mut Tally,
) {
    let mut deviations = Deviations::new();
    let mut ok = 0;
    for ((judged, under), after) in cells.iter().zip(&under.last).zip(&after.last) {
        match (under, after) {
            (CellResult::Unknown(why), _) | (_, CellResult::Unknown(why)) => tally.unknown(format!("{name}: {why}")),
            (CellResult::Ok, CellResult::Ok) => ok += 1,
            (CellResult::Mismatch(seen), CellResult::Ok) => {
                let expected = format!("{} ({})", describe(judged.decision.expected), judged.decision.reason);
                let key = (When::InForce, expected);
                deviations.entry(key).or_default().push((judged, seen));
            }
            // Closed by the policy as it should be, and never opened again.
            (CellResult::Ok, CellResult::Mismatch(seen)) if judged.decision.expected != Expected::Allowed => {
                let expected = format!("open again within {} s of the policy's deletion", limit.as_secs());
                let key = (When::Deleted, expected);
                deviations.entry(key).or_default().push((judged, seen));
            }
            (_, CellResult::Mismatch(seen)) => tally.unknown(format!(
                "{name}: {} was open before the policy and is not open after its deletion ({seen}): the cause is not \
                 this policy{foreign}",
                judged.cell
            )),
        }
    }
    for ((when, expected), deviating) in &deviations {
        let (phase, converged) = match when {
            When::InForce => ("policy in force", under),
            When::Deleted => ("after the policy's deletion", after),
        };
        tally.finding(
            format!("{name}, {phase}: {} of {} cells", deviating.len(), cells.len()),
            expected,
            format!(
                "{}{}{}{foreign}",
                observed(deviating),
                by_proxy(*when, deviating),
                by_cilium(converged.realized)
            ),
        );
    }
    suggest_commands(context, &deviations);
    if ok == cells.len() {
        tally.witness(format!(
            "{name}: all {ok} cells as expected, and open before the policy and after its deletion"
        ));
    }
}

fn observed(deviating: &[(&JudgedCell, &Outcome)]) -> String {
    let named: Vec<String> = deviating
        .iter()
        .take(NAMED)
        .map(|(judged, seen)| format!("{}: {seen}", judged.cell))
        .collect();
    match deviating.len().saturating_sub(NAMED) {
        0 => named.join("; "),
        more => format!("{}; and {more} more", named.join("; ")),
    }
}

/// Questions without any answer while the DNS proxy is on their way: before the policy it was not, and they were
/// answered.
fn by_proxy(when: When, deviating: &[(&JudgedCell, &Outcome)]) -> String {
    let silent = deviating.iter().filter(|(judged, seen)| {
        let is_question = matches!(judged.cell.traffic, Traffic::DnsQuery { .. });
        is_question && when == When::InForce && matches!(seen, Outcome::Timeout { .. })
    });
    let nodes: BTreeSet<&str> = silent.map(|(judged, _)| judged.cell.from.agent.node.as_str()).collect();
    if nodes.is_empty() {
        return String::new();
    }
    let nodes: Vec<&str> = nodes.into_iter().collect();
    format!(
        "; before the policy the same pods got answers past the DNS proxy, so its way is broken on {}: `cilium-dbg \
         status --verbose` (Proxy Status), and what drops packets to the proxy's port there",
        nodes.join(", ")
    )
}

fn by_cilium(realized: Option<Realized>) -> &'static str {
    match realized {
        Some(Realized::Everywhere) => " (Cilium reports the change as realized on every node of the subject pods)",
        Some(Realized::NotYet) => " (Cilium reports the change as not realized on every node of the subject pods)",
        Some(Realized::Unknown) | None => "",
    }
}

/// Commands for the first cell of each kind of deviation, in the agent of the node that decides it.
fn suggest_commands(context: &CheckContext, deviations: &Deviations<'_>) {
    let facts = context.environment.facts();
    let mut commands = BTreeSet::new();
    for (judged, _) in deviations.values().filter_map(|deviating| deviating.first()) {
        let (from, to) = (&judged.cell.from, &judged.cell.to);
        let deciding = match judged.decision.direction {
            Some(Direction::Ingress) if matches!(to.party, Party::Endpoint(_)) => to,
            _ => from,
        };
        let in_agent =
            |command: &str| next_steps::in_agent(&facts, deciding.cluster(), Some(&deciding.agent.node), command);
        commands.insert(in_agent("cilium-dbg endpoint list"));
        commands.insert(in_agent(&format!(
            "hubble observe --last 200 --from-ip {} --to-ip {}",
            from.agent.address, to.agent.address
        )));
    }
    commands.into_iter().for_each(|command| context.suggest(command));
}
