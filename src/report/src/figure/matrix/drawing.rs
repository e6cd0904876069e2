//! A matrix as a drawing: the sources of the probes down the side, their targets along the top.

use super::{AxisLabel, Matrix};
use crate::{
    figure::scale::Scale,
    svg::{Anchor, Svg},
};
use meshproof_contract::evidence::{Cell, CellOutcome};

const CELL: f64 = 32.0;
const HEIGHT: f64 = 24.0;
/// Between clusters.
const GAP: f64 = 8.0;
const TOP: f64 = 34.0;

impl Matrix<'_> {
    /// The drawing.
    pub(crate) fn svg(&self) -> String {
        let left = 16.0 + 6.4 * self.rows.iter().map(|row| row.group.len()).max().unwrap_or(0) as f64;
        let (xs, ys) = (offsets(&self.columns, CELL), offsets(&self.rows, HEIGHT));
        let width = left + xs.last().map_or(0.0, |x| x + CELL);
        let height = TOP + ys.last().map_or(0.0, |y| y + HEIGHT);
        let label = format!("{}: {} of {} pairs ok", self.what, self.ok(), self.pairs());
        let mut svg = Svg::new(width, height, label);
        for (column, x) in self.columns.iter().zip(&xs) {
            if is_first_of_group(&self.columns, column) {
                svg.text([left + x + 1.0, 12.0], Anchor::Start, "group", &column.group);
            }
            let middle = [left + x + CELL / 2.0 - 1.0, TOP - 6.0];
            svg.text(middle, Anchor::Middle, "soft", &column.short);
        }
        let scale = self.scale();
        for (row, y) in self.rows.iter().zip(&ys) {
            let baseline = TOP + y + HEIGHT / 2.0 + 3.0;
            if is_first_of_group(&self.rows, row) {
                svg.text([0.0, baseline], Anchor::Start, "group", &row.group);
            }
            svg.text([left - 6.0, baseline], Anchor::End, "soft", &row.short);
            for (column, x) in self.columns.iter().zip(&xs) {
                let Some(cell) = self.cells.get(&(&row.node, &column.node)) else {
                    continue;
                };
                let (class, mark) = mark(cell, scale);
                let title = format!("{} → {cell}", row.node);
                svg.rect([left + x, TOP + y, CELL - 2.0, HEIGHT - 2.0], class, &title);
                let middle = [left + x + CELL / 2.0 - 1.0, baseline];
                svg.text(middle, Anchor::Middle, &format!("cell {class}"), mark);
            }
        }
        svg.finish()
    }
}

/// Where each label begins; groups stand apart.
fn offsets(labels: &[AxisLabel], step: f64) -> Vec<f64> {
    let mut at = 0.0;
    let mut group = labels.first().map(|label| &label.group);
    labels
        .iter()
        .map(|label| {
            if group != Some(&label.group) {
                group = Some(&label.group);
                at += GAP;
            }
            let offset = at;
            at += step;
            offset
        })
        .collect()
}

fn is_first_of_group(labels: &[AxisLabel], label: &AxisLabel) -> bool {
    labels.iter().find(|other| other.group == label.group) == Some(label)
}

/// The class of a cell and the mark in it.
fn mark(cell: &Cell, scale: Option<Scale>) -> (&'static str, String) {
    let number = || scale?.number(cell.value?, cell.unit?);
    match cell.outcome {
        CellOutcome::Ok => ("good", number().unwrap_or_else(|| "✓".to_owned())),
        CellOutcome::NoAnswer => ("bad", "✕".to_owned()),
        CellOutcome::Mismatch => ("bad", number().unwrap_or_else(|| "≠".to_owned())),
        CellOutcome::Unknown => ("unsure", "?".to_owned()),
    }
}
