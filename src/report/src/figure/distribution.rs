//! Latency distributions, from measurements that share a name but for the quantile: `round_trip_p50`, `round_trip_p99`.

use super::{matrix::Place, pair};
use crate::{
    model::RunReport,
    svg::{Anchor, Svg},
    text::quantity,
};
use meshproof_contract::Unit;
use std::collections::BTreeMap;

/// Pairs drawn at most; the slowest are kept.
const ROWS: usize = 40;

/// One figure: quantiles over pairs.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plot {
    /// `round_trip`.
    pub(crate) name: String,
    pub(crate) rows: Vec<Row>,
    /// Pairs left out because they were faster than those drawn.
    pub(crate) left_out: usize,
}

/// The quantiles of a pair, in microseconds, rising.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) subject: String,
    pub(crate) median: f64,
    /// p90 or p99, whichever is lower and there.
    pub(crate) high: f64,
    /// The highest quantile below the maximum.
    pub(crate) tail: f64,
    /// Clusters of the two ends and the ends themselves, as they are listed; rows of the same clusters stand together.
    order: [usize; 4],
}

/// The name without its quantile, and which one it is.
fn quantile(name: &str) -> Option<(&str, &str)> {
    let (stem, quantile) = name.rsplit_once('_')?;
    ["min", "p50", "p90", "p99", "max"]
        .contains(&quantile)
        .then_some((stem, quantile))
}

/// Whether a measurement is part of a distribution.
pub(crate) fn is_quantile(name: &str) -> bool {
    quantile(name).is_some()
}

/// The plots of a report, by name.
pub(crate) fn plots(report: &RunReport, places: &[Place]) -> Vec<Plot> {
    let mut found: BTreeMap<String, BTreeMap<String, BTreeMap<String, f64>>> = BTreeMap::new();
    for m in report.trials().flat_map(|trial| &trial.measurements) {
        let Some((stem, quantile)) = quantile(&m.name) else {
            continue;
        };
        let micros = match m.unit {
            Unit::Microseconds => m.value,
            Unit::Milliseconds => m.value * 1e3,
            Unit::Seconds => m.value * 1e6,
            Unit::Bytes | Unit::Count | Unit::Ratio => continue,
        };
        let of_subject = found
            .entry(stem.to_owned())
            .or_default()
            .entry(m.subject.clone())
            .or_default();
        of_subject.insert(quantile.to_owned(), micros);
    }
    found
        .into_iter()
        .filter_map(|(name, subjects)| {
            let mut rows: Vec<Row> = subjects
                .into_iter()
                .filter_map(|(subject, of)| row(subject, &of, places))
                .collect();
            rows.sort_by(|a, b| b.tail.total_cmp(&a.tail));
            let left_out = rows.len().saturating_sub(ROWS);
            rows.truncate(ROWS);
            rows.sort_by(|a, b| a.order.cmp(&b.order).then_with(|| a.subject.cmp(&b.subject)));
            (!rows.is_empty()).then_some(Plot { name, rows, left_out })
        })
        .collect()
}

fn row(subject: String, of: &BTreeMap<String, f64>, places: &[Place]) -> Option<Row> {
    let median = *of.get("p50")?;
    let tail = *of.get("p99").or_else(|| of.get("p90"))?;
    let high = of.get("p90").copied().unwrap_or(median);
    let (high, tail) = (high.clamp(median, tail.max(median)), tail.max(median));
    Some(Row {
        order: order(&subject, places),
        subject,
        median,
        high,
        tail,
    })
}

fn order(subject: &str, places: &[Place]) -> [usize; 4] {
    let Some((from, to)) = pair(subject) else {
        return [usize::MAX; 4];
    };
    let place = |name: &str| places.iter().position(|place| place.name == name);
    let group = |at: Option<usize>| at.and_then(|at| places.iter().position(|place| place.group == places[at].group));
    let (from, to) = (place(from), place(to));
    [group(from), group(to), from, to].map(|rank| rank.unwrap_or(usize::MAX))
}

impl Plot {
    /// The drawing: a dot at the median, a bar to p90 if it is known, and a line to p99, on a logarithmic scale.
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
        let high = self.rows.iter().map(|row| row.tail).fold(low * 2.0, f64::max) * 1.1;
        let x = |micros: f64| left + PLOT * (micros.max(low) / low).ln() / (high / low).ln();
        let gaps: Vec<f64> = (0..self.rows.len())
            .scan(0.0, |gap, index| {
                let group = |row: &Row| [row.order[0], row.order[1]];
                if index > 0 && group(&self.rows[index]) != group(&self.rows[index - 1]) {
                    *gap += GAP;
                }
                Some(*gap)
            })
            .collect();
        let height = TOP + ROW * self.rows.len() as f64 + gaps.last().copied().unwrap_or(0.0) + 4.0;
        let mut svg = Svg::new(
            left + PLOT + RIGHT,
            height,
            format!("{}: median to 99th percentile by pair", self.name),
        );
        for tick in ticks(low, high) {
            svg.line([x(tick), TOP - 4.0, x(tick), height], "grid");
            svg.text(
                [x(tick), TOP - 9.0],
                Anchor::Middle,
                "soft",
                quantity(tick, Unit::Microseconds),
            );
        }
        for (index, (row, gap)) in self.rows.iter().zip(&gaps).enumerate() {
            let middle = TOP + gap + ROW * (index as f64 + 0.5);
            let told = |micros: f64| quantity(micros, Unit::Microseconds);
            let title = format!("{}: median {}, tail {}", row.subject, told(row.median), told(row.tail));
            svg.text(
                [left - 8.0, middle + 3.5],
                Anchor::End,
                "soft",
                row.subject.replace(" -> ", " → "),
            );
            svg.line([x(row.median), middle, x(row.tail), middle], "whisker");
            svg.rect(
                [x(row.median), middle - 3.0, x(row.high) - x(row.median), 6.0],
                "box",
                &title,
            );
            svg.rect([x(row.median) - 1.5, middle - 5.0, 3.0, 10.0], "median", &title);
            svg.text([x(row.tail) + 5.0, middle + 3.5], Anchor::Start, "soft", told(row.tail));
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
    use crate::{figure::matrix::places, fixture};

    #[test]
    fn quantiles_of_a_name_are_one_plot() {
        let report = fixture::report();
        let plots = plots(&report, &places(report.facts.as_ref().expect("facts")));
        assert_eq!(
            plots
                .iter()
                .map(|plot| (plot.name.as_str(), plot.rows.len()))
                .collect::<Vec<_>>(),
            [("round_trip", 36)]
        );
        assert_eq!(
            plots[0].rows[0].subject, "infra-1 -> infra-1",
            "in the order of the clusters and nodes"
        );
        for row in &plots[0].rows {
            assert!(row.median <= row.high && row.high <= row.tail, "{row:?}");
        }
    }

    #[test]
    fn ticks_stay_few_and_within() {
        assert_eq!(ticks(90.0, 2500.0), [100.0, 200.0, 500.0, 1000.0, 2000.0]);
        assert_eq!(ticks(90.0, 250_000.0), [100.0, 1000.0, 10_000.0, 100_000.0]);
    }
}
