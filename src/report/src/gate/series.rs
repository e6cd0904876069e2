//! The figures of runs as series of samples that can be compared: which measurements belong together, and what a sample
//! of them is.

use super::statistics::Sample;
use crate::model::{RunReport, TrialReport};
use meshproof_contract::{Distribution, Measurement, Subject, Unit};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How long a mebibyte takes there and back: throughput.
const TRANSFER: &str = "transfer_1_mib";
/// At most so many samples stand for a distribution: neighbours in a series are alike, so each says less than one of a
/// run of its own.
const RANKS: u64 = 100;
/// The harness's own lag: no figure of the clusters.
const LAG: &str = "generator_lag";
/// Shares of what was lost, each with the name of the distribution of what was not.
const SHARES: &[(&str, &str)] = &[("loss", "round_trip"), ("lookups_lost", "lookup")];
/// Requests of a stream that were lost, how many there were, and the time that this makes.
const LOST: [&str; 3] = ["lost_requests", "requests", "loss_derived_outage"];
/// Other views of the same outage.
const SAME_OUTAGE: &[&str] = &[
    "outage_at_least",
    "outage_at_most",
    "longest_gap",
    "loss_derived_outage",
    "first_to_last_loss",
];

/// What a figure is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FigureKind {
    /// Time until an answer.
    Latency,
    /// Time of a transfer.
    Throughput,
    /// Time until a change has its effect.
    Reaction,
    /// Share of probes that were lost.
    Loss,
    /// Time that a disruption cost a stream.
    Outage,
}

/// Which figure.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub kind: FigureKind,
    /// The trial, or the check where the samples of its trials belong together.
    pub of: String,
    pub name: String,
    /// The pair of nodes or the stream; empty where those belong together.
    pub subject: String,
}

/// Its samples.
#[derive(Clone, Debug, Default)]
pub(super) struct Series {
    /// Microseconds, or 0 and 1 for what was not lost and what was.
    pub samples: Vec<Sample>,
    /// How late the harness itself was at most, in microseconds.
    pub lag: f64,
    /// The longest outage of its runs, in microseconds.
    pub outage: f64,
}

/// The figures of some runs: the samples of all of them together.
pub(super) fn series<'a>(runs: impl IntoIterator<Item = &'a RunReport>) -> BTreeMap<Key, Series> {
    let mut found = BTreeMap::new();
    for run in runs {
        let usual = usual_lag(run);
        for trial in run.trials() {
            for measured in &trial.measurements {
                if let Some((key, samples)) = samples(trial, measured) {
                    let series: &mut Series = found.entry(key).or_default();
                    series.samples.extend(samples);
                    series.lag = series.lag.max(lag(trial, &measured.subject).unwrap_or(usual));
                    let outage = beside(trial, LOST[2], &measured.subject).map_or(0.0, micros);
                    series.outage = series.outage.max(outage);
                }
            }
        }
    }
    found
}

/// What a measurement adds, and to which figure; none of what is no figure of the clusters.
fn samples(trial: &TrialReport, measured: &Measurement) -> Option<(Key, Vec<Sample>)> {
    let name = measured.name.as_str();
    let key = |kind, of: &str, subject: &Subject| Key {
        kind,
        of: of.to_owned(),
        name: name.to_owned(),
        subject: subject.to_string(),
    };
    let (check, trial_name) = (trial.check.as_str(), trial.trial.as_str());
    if let Some(distribution) = &measured.distribution {
        let key = key(FigureKind::Latency, trial_name, &measured.subject);
        return Some((key, ranks(distribution)));
    }
    if let Some((_, answered)) = SHARES.iter().find(|(share, _)| *share == name) {
        let share = measured.value.clamp(0.0, 1.0);
        let answers = beside(trial, answered, &measured.subject)?.distribution.as_ref()?.count as f64;
        let all = answers / (1.0 - share);
        let key = key(FigureKind::Loss, trial_name, &Subject::Check);
        return all.is_finite().then(|| (key, lost(share * all, all)));
    }
    if name == LOST[0] {
        let all = beside(trial, LOST[1], &measured.subject)?.value;
        let key = key(FigureKind::Outage, trial_name, &measured.subject);
        return Some((key, lost(measured.value, all)));
    }
    if name == LAG || SAME_OUTAGE.contains(&name) {
        return None;
    }
    let kind = match measured.unit {
        Unit::Microseconds if name == TRANSFER => FigureKind::Throughput,
        Unit::Microseconds => FigureKind::Latency,
        Unit::Milliseconds | Unit::Seconds => FigureKind::Reaction,
        Unit::Bytes | Unit::Count | Unit::Ratio => return None,
    };
    let sample = Sample {
        value: micros(measured),
        times: 1.0,
    };
    Some((key(kind, check, &Subject::Check), vec![sample]))
}

/// Another measurement of the same trial and subject.
fn beside<'a>(trial: &'a TrialReport, name: &str, subject: &Subject) -> Option<&'a Measurement> {
    let mut all = trial.measurements.iter();
    all.find(|measured| measured.name == name && measured.subject == *subject)
}

/// How late the harness was, in microseconds: with this subject where that is known, or else in this trial.
fn lag(trial: &TrialReport, subject: &Subject) -> Option<f64> {
    let measured = beside(trial, LAG, subject).or_else(|| beside(trial, LAG, &Subject::Check));
    measured.map(micros)
}

/// The median of all lags of a run, for trials that measured none.
fn usual_lag(run: &RunReport) -> f64 {
    let measured = run.trials().flat_map(|trial| &trial.measurements);
    let mut lags: Vec<f64> = measured.filter(|m| m.name == LAG).map(micros).collect();
    lags.sort_by(f64::total_cmp);
    lags.get(lags.len() / 2).copied().unwrap_or_default()
}

/// A time in microseconds.
fn micros(measured: &Measurement) -> f64 {
    match measured.unit {
        Unit::Milliseconds => measured.value * 1e3,
        Unit::Seconds => measured.value * 1e6,
        _ => measured.value,
    }
}

fn lost(lost: f64, of: f64) -> Vec<Sample> {
    let kept = Sample {
        value: 0.0,
        times: (of - lost).max(0.0),
    };
    let lost = Sample {
        value: 1.0,
        times: lost,
    };
    vec![kept, lost]
}

/// Samples at evenly spaced ranks of a distribution, straight between the quantiles that are known.
fn ranks(distribution: &Distribution) -> Vec<Sample> {
    let known = [
        (0.0, distribution.min),
        (0.5, distribution.p50),
        (0.9, distribution.p90),
        (0.99, distribution.p99),
        (1.0, distribution.max),
    ];
    let at = |rank: f64| {
        let above = known
            .iter()
            .position(|(q, _)| *q >= rank)
            .unwrap_or(known.len() - 1)
            .max(1);
        let ((q0, v0), (q1, v1)) = (known[above - 1], known[above]);
        v0 as f64 + (v1 as f64 - v0 as f64) * (rank - q0) / (q1 - q0)
    };
    let ranks = distribution.count.min(RANKS);
    (0..ranks)
        .map(|rank| Sample {
            value: at((rank as f64 + 0.5) / ranks as f64),
            times: 1.0,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::statistics::{count, mean, median};
    use super::*;
    use crate::fixture;

    #[test]
    fn a_distribution_is_as_many_samples_as_it_has_up_to_a_hundred() {
        let of = |values: std::ops::RangeInclusive<u64>| Distribution::of(values).expect("samples");
        assert_eq!(ranks(&of(1..=7)).len(), 7);
        let samples = ranks(&of(1..=10_000));
        assert_eq!(samples.len(), 100);
        assert!((median(&samples) - 5000.0).abs() < 100.0, "{}", median(&samples));
        assert!(samples.iter().any(|sample| sample.value > 9_900.0));
    }

    #[test]
    fn a_share_is_counted_in_probes_and_a_lag_is_no_figure() {
        let mut report = fixture::report();
        let trial = &mut report.suites[0].trials[0];
        let measured = |name: &str, value, unit| Measurement {
            name: name.to_owned(),
            subject: "a".into(),
            value,
            unit,
            distribution: None,
        };
        trial.measurements = vec![
            measured("loss", 0.01, Unit::Ratio),
            Measurement::of_latencies("round_trip", "a", Distribution::of(1..=990).expect("samples")),
            measured("generator_lag", 2.0, Unit::Milliseconds),
            measured("lost_requests", 25.0, Unit::Count),
            measured("requests", 100.0, Unit::Count),
            measured("loss_derived_outage", 250.0, Unit::Milliseconds),
            measured("longest_gap", 25.0, Unit::Milliseconds),
        ];
        let name = trial.trial.clone();
        let found = series([&report]);
        let of = |kind| {
            let (_, series) = found
                .iter()
                .find(|(key, _)| key.kind == kind && key.of == name.as_str())
                .expect("a series");
            series
        };
        let loss = of(FigureKind::Loss);
        assert!((count(&loss.samples) - 1000.0).abs() < 1e-6 && (mean(&loss.samples) - 0.01).abs() < 1e-9);
        assert_eq!(
            (mean(&of(FigureKind::Outage).samples), of(FigureKind::Latency).lag),
            (0.25, 2000.0)
        );
        let names: Vec<&str> = found
            .keys()
            .filter(|key| key.of == name.as_str())
            .map(|key| key.name.as_str())
            .collect();
        assert_eq!(names, ["round_trip", "loss", "lost_requests"]);
    }
}
