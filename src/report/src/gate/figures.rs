//! Which figures became worse, by a rule that is written down here.

use super::{
    series::{FigureKind, Key, Series, series},
    statistics::{Comparison, count, holm, mann_whitney, mean, median},
};
use crate::model::RunReport;
use meshproof_contract::{Unit, text::counted};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// With fewer samples on a side a figure informs only.
pub const LEAST_SAMPLES: usize = 20;
/// The probability, corrected for the number of figures, below which a difference is one.
pub const SIGNIFICANCE: f64 = 0.01;
/// Cliff's delta from which on an effect is large (Romano and others 2006).
pub const LARGE_EFFECT: f64 = 0.474;

/// What a figure's change means to the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Meaning {
    /// It became worse: no-go.
    Regression,
    /// It looks worse, but too few samples say so, or the harness itself was as late.
    Informs,
    /// It became better.
    Improvement,
    /// Neither.
    Unchanged,
}

/// A figure of both sides.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FigureChange {
    /// The trial that measured it, or the check where its trials belong together.
    pub of: String,
    /// The measurement's name.
    pub name: String,
    /// The pair of nodes or the stream; empty where all belong together.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub subject: String,
    /// What it is about.
    pub kind: FigureKind,
    /// The baseline's side.
    pub before: Side,
    /// The current run's side.
    pub now: Side,
    /// Cliff's delta, from -1 to 1: positive where the figure became larger. Of shares, their difference.
    pub effect: f64,
    /// Two-sided probability by the Mann-Whitney U test, corrected after Holm where the figure decides; raw otherwise.
    pub p: f64,
    /// What it means.
    pub meaning: Meaning,
}

/// One side of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Side {
    /// How many samples it has; of a longer series of latencies 100 are taken.
    pub samples: usize,
    /// The median in microseconds; of a loss the share that was lost, of an outage the longest in microseconds.
    pub value: f64,
}

/// What a change must reach beside its probability; a smaller one is no regression.
#[derive(Clone, Copy, Debug)]
pub(super) struct Minimum {
    /// Cliff's delta.
    pub effect: f64,
    /// The larger value divided by the smaller one.
    pub factor: f64,
    /// Difference, in microseconds or as a share.
    pub difference: f64,
}

impl FigureKind {
    /// The rule. A tenth of a percent is what a service level of 99.9 % allows. An outage is one event, however many
    /// requests it cost: healthy runs differ by seconds. The others are within what a busy machine does to a healthy
    /// mesh.
    pub(super) fn minimum(self) -> Minimum {
        let (effect, factor, difference) = match self {
            FigureKind::Latency => (LARGE_EFFECT, 2.0, 1e3),
            FigureKind::Throughput => (LARGE_EFFECT, 2.0, 20e3),
            FigureKind::Reaction => (LARGE_EFFECT, 2.0, 1e6),
            FigureKind::Loss => (0.001, 2.0, 0.001),
            FigureKind::Outage => (0.0, 2.0, 5e6),
        };
        Minimum {
            effect,
            factor,
            difference,
        }
    }

    /// A figure's value of these samples.
    fn value(self, series: &Series) -> f64 {
        match self {
            FigureKind::Loss => mean(&series.samples),
            FigureKind::Outage => series.outage,
            _ => median(&series.samples),
        }
    }
}

/// Every figure that both sides have, in a stable order.
pub(super) fn figures<'a>(before: impl IntoIterator<Item = &'a RunReport>, now: &'a RunReport) -> Vec<FigureChange> {
    let (before, now) = (series(before), series([now]));
    let mut found: Vec<(FigureChange, bool)> = now
        .iter()
        .filter_map(|(key, new)| compared(key, before.get(key)?, new))
        .collect();
    let raw: Vec<f64> = found
        .iter()
        .filter(|(change, _)| change.decides())
        .map(|(change, _)| change.p)
        .collect();
    let mut corrected = holm(&raw).into_iter();
    for (change, is_lag) in &mut found {
        let decides = change.decides();
        if decides {
            change.p = corrected.next().unwrap_or(1.0);
        }
        change.meaning = match change.meaning {
            _ if change.p >= SIGNIFICANCE => Meaning::Unchanged,
            Meaning::Regression if !decides || *is_lag => Meaning::Informs,
            Meaning::Improvement if !decides => Meaning::Unchanged,
            meaning => meaning,
        };
    }
    found.into_iter().map(|(change, _)| change).collect()
}

/// The comparison with what it would mean if it were significant, and whether the harness's own lag explains it.
fn compared(key: &Key, before: &Series, now: &Series) -> Option<(FigureChange, bool)> {
    let Comparison { effect, p } = mann_whitney(&before.samples, &now.samples)?;
    let side = |series: &Series| Side {
        samples: count(&series.samples).round() as usize,
        value: key.kind.value(series),
    };
    let (old, new) = (side(before), side(now));
    let minimum = key.kind.minimum();
    let difference = new.value - old.value;
    let factor = new.value.max(old.value) / new.value.min(old.value);
    // A factor over nothing is infinite, and enough.
    let is_large = effect.abs() >= minimum.effect && difference.abs() >= minimum.difference && factor >= minimum.factor;
    let meaning = match (is_large, difference > 0.0) {
        (false, _) => Meaning::Unchanged,
        (true, true) => Meaning::Regression,
        (true, false) => Meaning::Improvement,
    };
    let is_lag = key.kind != FigureKind::Loss && difference <= now.lag;
    let change = FigureChange {
        of: key.of.clone(),
        name: key.name.clone(),
        subject: key.subject.clone(),
        kind: key.kind,
        before: old,
        now: new,
        effect,
        p,
        meaning,
    };
    Some((change, is_lag))
}

impl FigureChange {
    /// Which figure: `round_trip of connectivity::…[infra->apps], infra-1 -> apps-2`.
    pub fn label(&self) -> String {
        match self.subject.as_str() {
            "" => format!("{} of {}", self.name, self.of),
            subject => format!("{} of {}, {subject}", self.name, self.of),
        }
    }

    /// Whether it has enough samples to decide.
    pub fn decides(&self) -> bool {
        self.before.samples.min(self.now.samples) >= LEAST_SAMPLES
    }

    /// One side's value for people.
    pub(super) fn quantity(&self, side: Side) -> String {
        match self.kind {
            FigureKind::Loss => format!("{:.2} %", side.value * 100.0),
            _ => Unit::Microseconds.quantity(side.value),
        }
    }
}

impl fmt::Display for FigureChange {
    /// `round_trip of …: median 0.4 ms before, 52 ms now (100 and 100 samples, effect 1.00, p < 0.0001)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            FigureKind::Loss => "lost",
            FigureKind::Outage => "outage",
            _ => "median",
        };
        let p = match self.p {
            p if p < 1e-4 => "p < 0.0001".to_owned(),
            p => format!("p = {p:.4}"),
        };
        write!(
            f,
            "{}: {what} {} before, {} now ({} and {}, effect {:.2}, {p})",
            self.label(),
            self.quantity(self.before),
            self.quantity(self.now),
            self.before.samples,
            counted(self.now.samples, "sample"),
            self.effect,
        )
    }
}
