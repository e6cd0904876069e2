//! Latency distributions: one plot for each name, one line for each subject.

use super::axis::Axis;
use crate::{
    model::RunReport,
    svg::{Anchor, Svg},
};
use meshproof_contract::{Distribution, Subject, Unit};
use std::collections::BTreeMap;

/// Lines drawn at most; the slowest are kept.
const ROWS: usize = 40;

/// One figure: latencies of the same name.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plot<'a> {
    /// `round_trip`.
    pub(crate) name: &'a str,
    pub(crate) rows: Vec<PlotRow>,
    /// Subjects left out because they were faster than those drawn.
    pub(crate) left_out: usize,
}

/// The latencies of one subject, in microseconds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PlotRow {
    /// `infra-1 → apps-2`.
    pub(crate) subject: String,
    median: f64,
    p90: f64,
    p99: f64,
    /// Clusters of the two ends and the ends themselves, as they are listed; rows of the same clusters stand together.
    order: [usize; 4],
}

/// The plots of a report, by name.
pub(crate) fn plots<'a>(report: &'a RunReport, axis: &Axis) -> Vec<Plot<'a>> {
    let mut found: BTreeMap<&str, BTreeMap<&Subject, &Distribution>> = BTreeMap::new();
    for m in report.trials().flat_map(|trial| &trial.measurements) {
        if let Some(distribution) = &m.distribution {
            found.entry(&m.name).or_default().insert(&m.subject, distribution);
        }
    }
    found
        .into_iter()
        .map(|(name, subjects)| {
            let mut rows: Vec<PlotRow> = subjects
                .into_iter()
                .map(|(subject, latencies)| PlotRow::of(subject, latencies, axis))
                .collect();
            rows.sort_by(|a, b| b.p99.total_cmp(&a.p99));
            let left_out = rows.len().saturating_sub(ROWS);
            rows.truncate(ROWS);
            rows.sort_by(|a, b| a.order.cmp(&b.order).then_with(|| a.subject.cmp(&b.subject)));
            Plot { name, rows, left_out }
        })
        .collect()
}

impl PlotRow {
    fn of(subject: &Subject, latencies: &Distribution, axis: &Axis) -> Self {
        let (text, order) = match subject {
            Subject::Pair { from, to } => (
                format!("{from} → {to}"),
                [
                    axis.group_position(from),
                    axis.group_position(to),
                    axis.position(from),
                    axis.position(to),
                ],
            ),
            Subject::Node(node) => (
                node.to_string(),
                [axis.group_position(node), None, axis.position(node), None],
            ),
            Subject::Named(name) => (name.clone(), [None; 4]),
            Subject::Check => ("all".to_owned(), [None; 4]),
        };
        Self {
            subject: text,
            median: latencies.p50 as f64,
            p90: latencies.p90 as f64,
            p99: latencies.p99 as f64,
            order: order.map(|rank| rank.unwrap_or(usize::MAX)),
        }
    }
}

impl Plot<'_> {
    /// The drawing: a mark at the median, a bar to p90 and a line to p99, on a logarithmic scale.
    pub(crate) fn svg(&self) -> String {
        const ROW: f64 = 15.0;
        const TOP: f64 = 22.0;
        const GAP: f64 = 9.0;
        const PLOT: f64 = 600.0;
        const RIGHT: f64 = 64.0;
        let left = 12.0
            + 6.3
                * self
                    .rows
                    .iter()
                    .map(|row| row.subject.chars().count())
                    .max()
                    .unwrap_or(0) as f64;
        let low = self
            .rows
            .iter()
            .map(|row| row.median)
            .fold(f64::INFINITY, f64::min)
            .max(1.0)
            * 0.8;
        let high = self.rows.iter().map(|row| row.p99).fold(low * 2.0, f64::max) * 1.1;
        let x = |micros: f64| left + PLOT * (micros.max(low) / low).ln() / (high / low).ln();
        let gaps: Vec<f64> = (0..self.rows.len())
            .scan(0.0, |gap, index| {
                let group = |row: &PlotRow| [row.order[0], row.order[1]];
                if index > 0 && group(&self.rows[index]) != group(&self.rows[index - 1]) {
                    *gap += GAP;
                }
                Some(*gap)
            })
            .collect();
        let height = TOP + ROW * self.rows.len() as f64 + gaps.last().copied().unwrap_or(0.0) + 4.0;
        let mut svg = Svg::new(left + PLOT + RIGHT, height, format!("{}: median to p99", self.name));
        for tick in ticks(low, high) {
            svg.line([x(tick), TOP - 4.0, x(tick), height], "grid");
            svg.text(
                [x(tick), TOP - 9.0],
                Anchor::Middle,
                "soft",
                Unit::Microseconds.quantity(tick),
            );
        }
        for (index, (row, gap)) in self.rows.iter().zip(&gaps).enumerate() {
            let middle = TOP + gap + ROW * (index as f64 + 0.5);
            let shown = |micros: f64| Unit::Microseconds.quantity(micros);
            let title = format!("{}: median {}, p99 {}", row.subject, shown(row.median), shown(row.p99));
            svg.text([left - 8.0, middle + 3.5], Anchor::End, "soft", &row.subject);
            svg.line([x(row.median), middle, x(row.p99), middle], "whisker");
            svg.rect(
                [x(row.median), middle - 3.0, x(row.p90) - x(row.median), 6.0],
                "box",
                &title,
            );
            svg.rect([x(row.median) - 1.5, middle - 5.0, 3.0, 10.0], "median", &title);
            svg.text([x(row.p99) + 5.0, middle + 3.5], Anchor::Start, "soft", shown(row.p99));
        }
        svg.finish()
    }
}

/// 1, 2 and 5 of each decade within the range; only 1 where that would be too many.
fn ticks(low: f64, high: f64) -> Vec<f64> {
    let steps: &[f64] = if high / low > 200.0 { &[1.0] } else { &[1.0, 2.0, 5.0] };
    (0..12)
        .flat_map(|decade| steps.iter().map(move |step| step * 10_f64.powi(decade)))
        .filter(|tick| (low..=high).contains(tick))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn distributions_of_a_name_are_one_plot() {
        let report = fixture::report();
        let plots = plots(&report, &Axis::of(report.facts.as_ref()));
        assert_eq!(
            plots
                .iter()
                .map(|plot| (plot.name, plot.rows.len()))
                .collect::<Vec<_>>(),
            [("round_trip", 36)]
        );
        assert_eq!(
            plots[0].rows[0].subject, "infra-1 → infra-1",
            "in the order of the clusters and nodes"
        );
        for row in &plots[0].rows {
            assert!(row.median <= row.p90 && row.p90 <= row.p99, "{row:?}");
        }
    }

    #[test]
    fn ticks_stay_few_and_within() {
        assert_eq!(ticks(90.0, 2500.0), [100.0, 200.0, 500.0, 1000.0, 2000.0]);
        assert_eq!(ticks(90.0, 250_000.0), [100.0, 1000.0, 10_000.0, 100_000.0]);
    }
}
