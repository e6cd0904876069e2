//! Matrices of pairs, from evidence lines such as `HTTP: infra-1 -> apps-1 ok 2.3 ms, apps-2 refused`.
//!
//! A suite's trials of the same kind (same node, other node, other cluster, both directions) are parts of one matrix.

use crate::{
    model::{SuiteReport, TrialReport},
    svg::{Anchor, Svg},
    text::{quantity, significant},
};
use meshproof_contract::{Facts, Unit, facts::PodNetwork};
use std::collections::BTreeMap;

/// Cells by the names of the two ends.
type Cells = BTreeMap<(String, String), Cell>;

/// Who was seen to reach whom.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Matrix {
    /// What went over the pairs: `HTTP`.
    pub(crate) what: String,
    pub(crate) rows: Vec<Place>,
    pub(crate) columns: Vec<Place>,
    cells: Cells,
}

/// One end of a pair.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// As the evidence names it.
    pub(crate) name: String,
    /// Its cluster, and whether it is the node's own network.
    pub(crate) group: String,
    /// The shortest label that tells it from the others of its group.
    pub(crate) label: String,
}

/// What was seen on a pair.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cell {
    /// As expected, with a figure if there was one.
    Right(Option<String>),
    /// Otherwise.
    Wrong(String),
    /// Not to be told.
    Unknown,
}

/// The places that evidence can name, in the order of the clusters and nodes.
pub(crate) fn places(facts: &Facts) -> Vec<Place> {
    let mut places = Vec::new();
    for network in [PodNetwork::Pod, PodNetwork::Host] {
        for cluster in &facts.clusters {
            for (index, node) in cluster.nodes.iter().enumerate() {
                let (cluster, node) = (cluster.name.as_str(), node.name.as_str());
                let name = if node.starts_with(cluster) {
                    node.to_owned()
                } else {
                    format!("{cluster}/{node}")
                };
                let short = node.strip_prefix(cluster).unwrap_or_default().trim_start_matches('-');
                let label = if (1..=3).contains(&short.len()) {
                    short.to_owned()
                } else {
                    (index + 1).to_string()
                };
                places.push(match network {
                    PodNetwork::Pod => Place {
                        name,
                        group: cluster.to_owned(),
                        label,
                    },
                    PodNetwork::Host | PodNetwork::HostCapture => Place {
                        name: format!("{name} (host)"),
                        group: format!("{cluster} host"),
                        label,
                    },
                });
            }
        }
    }
    places
}

/// The matrices of a suite, in the order in which they first appear.
pub(crate) fn matrices(suite: &SuiteReport, places: &[Place]) -> Vec<Matrix> {
    let mut found: Vec<(String, Cells)> = Vec::new();
    for trial in &suite.trials {
        for (what, from, cells) in trial.evidence.iter().filter_map(|line| row(line, places)) {
            let at = found.iter().position(|(other, _)| other == what).unwrap_or_else(|| {
                found.push((what.to_owned(), BTreeMap::new()));
                found.len() - 1
            });
            for (to, text) in cells {
                let cell = cell(&text, trial, &format!("{from} -> {to}"));
                found[at].1.insert((from.to_owned(), to.to_owned()), cell);
            }
        }
    }
    found
        .into_iter()
        .filter(|(_, cells)| cells.len() > 1)
        .map(|(what, cells)| {
            let used = |end: fn(&(String, String)) -> &String| -> Vec<Place> {
                places
                    .iter()
                    .filter(|place| cells.keys().any(|key| *end(key) == place.name))
                    .cloned()
                    .collect()
            };
            Matrix {
                what,
                rows: used(|key| &key.0),
                columns: used(|key| &key.1),
                cells,
            }
        })
        .collect()
}

/// What, from where, and the cells by place with their texts.
type Row<'a> = (&'a str, &'a str, Vec<(String, String)>);

/// The row that a line of evidence is; none for a line that is no row of a matrix.
fn row<'a>(line: &'a str, places: &[Place]) -> Option<Row<'a>> {
    let (what, rest) = line.split_once(": ")?;
    let (from, rest) = rest.split_once(" -> ")?;
    places.iter().find(|place| place.name == from)?;
    let mut cells: Vec<(String, String)> = Vec::new();
    for part in rest.split(", ") {
        let place = places
            .iter()
            .filter(|place| {
                part.strip_prefix(place.name.as_str())
                    .is_some_and(|text| text.starts_with(' '))
            })
            .max_by_key(|place| place.name.len());
        match (place, cells.last_mut()) {
            (Some(place), _) => cells.push((place.name.clone(), part[place.name.len() + 1..].to_owned())),
            // A comma within the text of the cell before.
            (None, Some((_, text))) => {
                text.push_str(", ");
                text.push_str(part);
            }
            (None, None) => return None,
        }
    }
    Some((what, from, cells))
}

fn cell(text: &str, trial: &TrialReport, subject: &str) -> Cell {
    if text == "unknown" {
        return Cell::Unknown;
    }
    match text.strip_prefix("ok") {
        Some("") => Cell::Right(figure(trial, subject)),
        Some(figure) if figure.starts_with(' ') => Cell::Right(Some(figure.trim().to_owned())),
        _ => Cell::Wrong(text.to_owned()),
    }
}

/// The only figure of that pair, such as its path MTU.
fn figure(trial: &TrialReport, subject: &str) -> Option<String> {
    let mut of_pair = trial.measurements.iter().filter(|m| m.subject == subject);
    match (of_pair.next(), of_pair.next()) {
        (Some(m), None) if m.unit == Unit::Bytes => Some(significant(m.value)),
        (Some(m), None) => Some(quantity(m.value, m.unit)),
        _ => None,
    }
}

impl Matrix {
    /// Pairs that were not as expected.
    pub(crate) fn wrong(&self) -> usize {
        self.cells
            .values()
            .filter(|cell| matches!(cell, Cell::Wrong(_)))
            .count()
    }
    /// Pairs that could not be told.
    pub(crate) fn unknown(&self) -> usize {
        self.cells.values().filter(|cell| matches!(cell, Cell::Unknown)).count()
    }
    /// Pairs seen.
    pub(crate) fn pairs(&self) -> usize {
        self.cells.len()
    }
    /// The unit that all its figures share, for the caption.
    pub(crate) fn unit(&self) -> Option<&str> {
        let mut units = self.cells.values().filter_map(|cell| match cell {
            Cell::Right(Some(figure)) => figure.split_once(' ').map(|(_, unit)| unit),
            _ => None,
        });
        let first = units.next()?;
        units.all(|unit| unit == first).then_some(first)
    }

    /// The drawing: who asks down the side, who answers along the top.
    pub(crate) fn svg(&self) -> String {
        const CELL: f64 = 32.0;
        const HEIGHT: f64 = 24.0;
        const GAP: f64 = 8.0;
        const TOP: f64 = 34.0;
        let left = 16.0 + 6.4 * self.rows.iter().map(|row| row.group.len()).max().unwrap_or(0) as f64;
        let offsets = |places: &[Place], step: f64| -> Vec<f64> {
            let mut at = 0.0;
            let mut group = places.first().map(|place| place.group.clone());
            places
                .iter()
                .map(|place| {
                    if group.as_ref() != Some(&place.group) {
                        group = Some(place.group.clone());
                        at += GAP;
                    }
                    let offset = at;
                    at += step;
                    offset
                })
                .collect()
        };
        let (xs, ys) = (offsets(&self.columns, CELL), offsets(&self.rows, HEIGHT));
        let width = left + xs.last().map_or(0.0, |x| x + CELL);
        let height = TOP + ys.last().map_or(0.0, |y| y + HEIGHT);
        let label = format!(
            "{}: {} of {} pairs right",
            self.what,
            self.pairs() - self.wrong() - self.unknown(),
            self.pairs()
        );
        let mut svg = Svg::new(width, height, label);
        for (column, x) in self.columns.iter().zip(&xs) {
            if first_of_group(&self.columns, column) {
                svg.text([left + x + 1.0, 12.0], Anchor::Start, "group", &column.group);
            }
            svg.text(
                [left + x + CELL / 2.0 - 1.0, TOP - 6.0],
                Anchor::Middle,
                "soft",
                &column.label,
            );
        }
        for (row, y) in self.rows.iter().zip(&ys) {
            let baseline = TOP + y + HEIGHT / 2.0 + 3.0;
            if first_of_group(&self.rows, row) {
                svg.text([0.0, baseline], Anchor::Start, "group", &row.group);
            }
            svg.text([left - 6.0, baseline], Anchor::End, "soft", &row.label);
            for (column, x) in self.columns.iter().zip(&xs) {
                let Some(cell) = self.cells.get(&(row.name.clone(), column.name.clone())) else {
                    continue;
                };
                let (class, mark, seen) = match cell {
                    Cell::Right(None) => ("good", "✓".to_owned(), "right".to_owned()),
                    Cell::Right(Some(figure)) => ("good", short(figure), figure.clone()),
                    Cell::Wrong(text) => ("bad", "✕".to_owned(), text.clone()),
                    Cell::Unknown => ("unsure", "?".to_owned(), "could not be told".to_owned()),
                };
                let title = format!("{} → {}: {seen}", row.name, column.name);
                svg.rect([left + x, TOP + y, CELL - 2.0, HEIGHT - 2.0], class, &title);
                let middle = [left + x + CELL / 2.0 - 1.0, baseline];
                svg.text(middle, Anchor::Middle, &format!("cell {class}"), mark);
            }
        }
        svg.finish()
    }
}

/// The figure without its unit, short enough for a cell.
fn short(figure: &str) -> String {
    let number = figure.split(' ').next().unwrap_or_default();
    match number.parse::<f64>() {
        Ok(value) if value >= 100.0 => format!("{value:.0}"),
        _ => number.to_owned(),
    }
}

fn first_of_group(places: &[Place], place: &Place) -> bool {
    places.iter().find(|other| other.group == place.group) == Some(place)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn the_parts_of_a_suite_make_whole_matrices() {
        let report = fixture::report();
        let places = places(report.facts.as_ref().expect("facts"));
        let found = matrices(&report.suites[0], &places);
        let told: Vec<_> = found
            .iter()
            .map(|m| (m.what.as_str(), m.pairs(), m.wrong(), m.unit()))
            .collect();
        assert_eq!(
            told,
            [
                ("HTTP", 36, 0, Some("ms")),
                ("UDP", 36, 3, Some("ms")),
                ("path MTU", 36, 0, None),
                ("1,000 round trips a pair", 36, 0, Some("ms")),
            ]
        );
        assert_eq!(
            found[0].rows.iter().map(|row| row.label.as_str()).collect::<Vec<_>>(),
            ["1", "2", "3", "1", "2", "3"]
        );
        assert_eq!(
            found[1].cells[&("infra-1".into(), "apps-2".into())],
            Cell::Wrong("no answer within 1500 ms".into())
        );
        assert_eq!(
            found[2].cells[&("infra-1".into(), "infra-1".into())],
            Cell::Right(Some("1500".into()))
        );
    }

    #[test]
    fn cells_hold_short_figures() {
        assert_eq!(
            ["2.3 ms", "226.9 ms", "1420", "✓"].map(short),
            ["2.3", "227", "1420", "✓"]
        );
    }

    #[test]
    fn a_comma_within_a_cell_and_lines_that_are_no_rows() {
        let places = places(fixture::report().facts.as_ref().expect("facts"));
        let (what, from, cells) = row(
            "UDP: infra-1 -> apps-1 lost 3, and late, apps-2 (host) unknown",
            &places,
        )
        .expect("a row");
        assert_eq!((what, from), ("UDP", "infra-1"));
        assert_eq!(
            cells,
            [
                ("apps-1".to_owned(), "lost 3, and late".to_owned()),
                ("apps-2 (host)".to_owned(), "unknown".to_owned())
            ]
        );
        for line in [
            "next: kubectl get pods",
            "the absent name was x -> y",
            "a: nowhere -> apps-1 ok",
            "",
            "HTTP: infra-1 -> x ok",
        ] {
            assert_eq!(row(line, &places), None, "{line}");
        }
    }
}
