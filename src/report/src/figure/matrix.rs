//! Matrices of pairs of nodes, from the rows that checks leave as evidence.
//!
//! A suite's trials of the same kind (same node, other node, other cluster, both directions) are parts of one matrix.

mod drawing;

use super::{
    axis::{Axis, AxisLabel},
    scale::Scale,
};
use crate::model::SuiteReport;
use meshproof_contract::{
    NodeLabel,
    evidence::{Cell, CellOutcome},
};
use std::collections::BTreeMap;

/// Which node reaches which.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Matrix<'a> {
    /// What was probed: `HTTP`.
    pub(crate) what: &'a str,
    rows: Vec<AxisLabel>,
    columns: Vec<AxisLabel>,
    cells: BTreeMap<(&'a NodeLabel, &'a NodeLabel), &'a Cell>,
}

/// The matrices of a suite, in the order in which they first appear. One pair alone makes no matrix.
pub(crate) fn matrices<'a>(suite: &'a SuiteReport, axis: &Axis) -> Vec<Matrix<'a>> {
    let mut axis = axis.clone();
    let mut found: Vec<Matrix<'a>> = Vec::new();
    for trial in &suite.trials {
        for row in trial.rows() {
            let at = found.iter().position(|m| m.what == row.what).unwrap_or_else(|| {
                found.push(Matrix {
                    what: &row.what,
                    rows: Vec::new(),
                    columns: Vec::new(),
                    cells: BTreeMap::new(),
                });
                found.len() - 1
            });
            axis.add(&row.from);
            for cell in &row.cells {
                axis.add(&cell.to);
                found[at].cells.insert((&row.from, &cell.to), cell);
            }
        }
    }
    found.retain(|matrix| matrix.cells.len() > 1);
    for matrix in &mut found {
        matrix.rows = axis.select(matrix.cells.keys().map(|(from, _)| *from));
        matrix.columns = axis.select(matrix.cells.keys().map(|(_, to)| *to));
    }
    found
}

impl Matrix<'_> {
    fn count(&self, counts: impl Fn(CellOutcome) -> bool) -> usize {
        self.cells.values().filter(|cell| counts(cell.outcome)).count()
    }
    /// Pairs that were not as expected.
    pub(crate) fn wrong(&self) -> usize {
        self.count(|outcome| matches!(outcome, CellOutcome::NoAnswer | CellOutcome::Mismatch))
    }
    /// Pairs that could not be observed.
    pub(crate) fn unknown(&self) -> usize {
        self.count(|outcome| outcome == CellOutcome::Unknown)
    }
    /// Pairs as expected.
    pub(crate) fn ok(&self) -> usize {
        self.count(|outcome| outcome == CellOutcome::Ok)
    }
    /// All pairs.
    pub(crate) fn pairs(&self) -> usize {
        self.cells.len()
    }
    /// The unit that all its figures share.
    pub(crate) fn scale(&self) -> Option<Scale> {
        Scale::of(self.cells.values().filter_map(|cell| cell.value.zip(cell.unit)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{fixture, model::RunReport};
    use meshproof_contract::Evidence;

    fn node(name: &'static str) -> NodeLabel {
        let cluster = if name.starts_with("infra") { "infra" } else { "apps" };
        NodeLabel::pod(&cluster.into(), &name.into())
    }
    fn connectivity(report: &RunReport) -> Vec<Matrix<'_>> {
        matrices(&report.suites[0], &Axis::of(report.facts.as_ref()))
    }

    #[test]
    fn the_parts_of_a_suite_make_whole_matrices() {
        let report = fixture::report();
        let found = connectivity(&report);
        let seen: Vec<_> = found
            .iter()
            .map(|m| (m.what, m.pairs(), m.wrong(), m.scale().map(|scale| scale.symbol)))
            .collect();
        assert_eq!(
            seen,
            [
                ("HTTP", 36, 0, Some("ms")),
                ("UDP", 36, 3, Some("ms")),
                ("path MTU", 36, 0, Some("B")),
                ("1,000 round trips a pair", 36, 0, Some("ms")),
            ]
        );
        assert_eq!(
            found[0].rows.iter().map(|row| row.short.as_str()).collect::<Vec<_>>(),
            ["1", "2", "3", "1", "2", "3"]
        );
        let (infra_1, apps_2) = (node("infra-1"), node("apps-2"));
        let broken = &found[1].cells[&(&infra_1, &apps_2)];
        assert_eq!(broken.outcome, CellOutcome::NoAnswer);
        assert_eq!(broken.detail.as_deref(), Some("no answer within 1500 ms"));
        assert_eq!(found[2].cells[&(&infra_1, &infra_1)].value, Some(1500.0));
    }

    #[test]
    fn a_node_that_was_never_found_has_its_row_all_the_same() {
        let mut report = fixture::report();
        for evidence in report.suites[0].trials.iter_mut().flat_map(|trial| &mut trial.evidence) {
            if let Evidence::Row(row) = evidence
                && row.from == node("infra-3")
            {
                row.from.node = "spare".into();
            }
        }
        for report in [
            &report,
            &RunReport {
                facts: None,
                ..report.clone()
            },
        ] {
            let found = connectivity(report);
            assert_eq!(
                (found[0].pairs(), found[0].rows.len(), found[0].columns.len()),
                (36, 6, 6)
            );
        }
    }
}
