//! What a case leaves in the report: its times, how many cells had which expectation, and rows of cells that deviated.

use super::{converge::Converged, judged_cell::JudgedCell};
use crate::policy::cell::CellResult;
use meshproof_contract::{
    CheckContext, Evidence, NodeLabel, Outcome, Unit,
    evidence::{Cell, CellOutcome, Row},
};
use meshproof_oracle::{Expected, Party};
use std::collections::BTreeMap;

/// Rows that one case leaves at most for each change; the findings count all cells.
const MAX_ROWS: usize = 12;
/// Targets in a row at most, those that deviate first.
const MAX_TARGETS: usize = 24;

/// Leaves it.
pub fn leave(context: &CheckContext, name: &str, cells: &[JudgedCell], (under, after): (&Converged, &Converged)) {
    context.note(format!(
        "{name}: {} cells ({}); applied: {}; deleted: {}",
        cells.len(),
        expectations(cells),
        time(under),
        time(after)
    ));
    for (figure, converged) in [("enforced_within", under), ("open_within", after)] {
        if let Some(after) = converged.after {
            context.measure(figure, name, after.as_secs_f64() * 1000.0, Unit::Milliseconds);
        }
    }
    if under.half + after.half > 0 {
        let half = f64::from(under.half + after.half);
        context.measure("half_enforced_rounds", name, half, Unit::Count);
    }
    leave_rows(context, name, cells, &under.last);
    leave_rows(context, &format!("{name}, deleted"), cells, &after.last);
}

/// How many cells have which expectation: `12 allowed, 6 dropped`.
fn expectations(cells: &[JudgedCell]) -> String {
    let mut counts: BTreeMap<Expected, usize> = BTreeMap::new();
    for judged in cells {
        *counts.entry(judged.decision.expected).or_default() += 1;
    }
    let counted = counts.into_iter().map(|(expected, count)| {
        let word = match expected {
            Expected::Allowed => "allowed",
            Expected::AllowedIfAuthenticated => "allowed after authentication",
            Expected::Dropped => "dropped",
            Expected::Unreachable => "denied with an ICMP error",
            Expected::Forbidden => "answered 403",
            Expected::DnsRefused => "REFUSED by the DNS proxy",
            Expected::DnsNameError => "NXDOMAIN from the DNS proxy",
        };
        format!("{count} {word}")
    });
    counted.collect::<Vec<_>>().join(", ")
}

fn time(converged: &Converged) -> String {
    match converged.after {
        Some(after) => format!("as expected after {} ms", after.as_millis()),
        None => "not as expected at the deadline".to_owned(),
    }
}

/// Leaves a row for each node from which some cell deviated, with one cell for each target node.
fn leave_rows(context: &CheckContext, what: &str, cells: &[JudgedCell], results: &[CellResult]) {
    let mut rows: BTreeMap<NodeLabel, BTreeMap<NodeLabel, Target>> = BTreeMap::new();
    let on_nodes = cells
        .iter()
        .zip(results)
        // An external host is not on a node; the findings name it.
        .filter(|(judged, _)| !matches!(judged.cell.to.party, Party::World { .. }));
    for (judged, result) in on_nodes {
        let (from, to) = (&judged.cell.from.agent, &judged.cell.to.agent);
        let row = rows.entry(NodeLabel::from(from)).or_default();
        let target = row.entry(NodeLabel::from(to)).or_default();
        target.add(&judged.cell.traffic.to_string(), result);
    }
    let deviates = |row: &BTreeMap<_, Target>| row.values().any(|target| target.deviating > 0);
    for (from, row) in rows.into_iter().filter(|(_, row)| deviates(row)).take(MAX_ROWS) {
        let (deviating, ok): (Vec<_>, Vec<_>) = row.into_iter().partition(|(_, target)| target.deviating > 0);
        let targets = deviating.into_iter().chain(ok).take(MAX_TARGETS);
        context.evidence(Evidence::Row(Row {
            what: what.to_owned(),
            from,
            cells: targets.map(|(to, target)| target.cell(to)).collect(),
        }));
    }
}

/// Everything that was sent from one node to another.
#[derive(Default)]
struct Target {
    deviating: usize,
    /// The first deviation that is known, or else the first that is not.
    first: Option<(CellOutcome, String)>,
}

impl Target {
    fn add(&mut self, traffic: &str, result: &CellResult) {
        let (outcome, seen) = match result {
            CellResult::Ok => return,
            CellResult::Mismatch(seen @ Outcome::Timeout { .. }) => (CellOutcome::NoAnswer, seen.to_string()),
            CellResult::Mismatch(seen) => (CellOutcome::Mismatch, seen.to_string()),
            CellResult::Unknown(why) => (CellOutcome::Unknown, why.clone()),
        };
        self.deviating += 1;
        let is_better =
            |first: &(CellOutcome, String)| first.0 == CellOutcome::Unknown && outcome != CellOutcome::Unknown;
        if self.first.as_ref().is_none_or(is_better) {
            self.first = Some((outcome, format!("{traffic}: {seen}")));
        }
    }

    fn cell(self, to: NodeLabel) -> Cell {
        let (outcome, detail) = match self.first {
            None => (CellOutcome::Ok, None),
            Some((outcome, seen)) if self.deviating == 1 => (outcome, Some(seen)),
            Some((outcome, seen)) => (outcome, Some(format!("{seen}; and {} more", self.deviating - 1))),
        };
        Cell {
            to,
            outcome,
            value: None,
            unit: None,
            detail,
        }
    }
}
