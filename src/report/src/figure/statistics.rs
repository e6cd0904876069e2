//! Measurements without a distribution, one line for each name: how many, the least, the median, the most.

use crate::model::RunReport;
use meshproof_contract::Unit;

/// A measured name over all its subjects and trials.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Statistic {
    /// The measurement's name.
    pub(crate) name: String,
    /// The first check that recorded it.
    pub(crate) check: String,
    unit: Unit,
    values: Vec<f64>,
}

impl Statistic {
    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.values.len()
    }
    /// The smallest, the median (nearest rank) and the largest, as text.
    pub(crate) fn spread(&self) -> [String; 3] {
        let mut sorted = self.values.clone();
        sorted.sort_by(f64::total_cmp);
        let at = |index: usize| {
            sorted
                .get(index)
                .map_or(String::new(), |value| self.unit.quantity(*value))
        };
        [
            at(0),
            at(sorted.len().saturating_sub(1) / 2),
            at(sorted.len().saturating_sub(1)),
        ]
    }
}

/// The statistics of a report, in the order in which the names first appear.
pub(crate) fn statistics(report: &RunReport) -> Vec<Statistic> {
    let mut found: Vec<Statistic> = Vec::new();
    for trial in report.trials() {
        for m in trial.measurements.iter().filter(|m| m.distribution.is_none()) {
            match found.iter_mut().find(|s| s.name == m.name && s.unit == m.unit) {
                Some(statistic) => statistic.values.push(m.value),
                None => found.push(Statistic {
                    name: m.name.clone(),
                    check: trial.check.to_string(),
                    unit: m.unit,
                    values: vec![m.value],
                }),
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn each_name_is_one_line_and_distributions_are_left_to_the_plots() {
        let seen: Vec<_> = statistics(&fixture::report())
            .iter()
            .map(|s| (s.name.clone(), s.count(), s.spread()))
            .collect();
        let of = |values: [&str; 3]| values.map(str::to_owned);
        assert_eq!(
            seen,
            [
                ("path_mtu".to_owned(), 36, of(["1420 B", "1420 B", "1500 B"])),
                (
                    "cross_cluster_overhead".to_owned(),
                    2,
                    of(["2.21 ms", "2.21 ms", "2.21 ms"])
                ),
                ("propagation".to_owned(), 2, of(["388 ms", "388 ms", "412 ms"])),
            ]
        );
    }
}
