//! One series of datagrams on one path, judged.

use crate::kit::{
    cpu_pressure,
    matrix::{self, Cell, Deviation, Path, Quantity},
};
use meshproof_contract::{CheckContext, Distribution, Outcome, Unit, text};
use std::time::Duration;

/// Round trips a pair.
pub const SAMPLES: u32 = 1000;
/// Spacing of their starts, whatever happened to the ones before (open loop).
pub const SPACING: Duration = Duration::from_micros(1500);
/// Lost round trips of [`SAMPLES`] that are still not a finding; the check's texts state what that
/// means, and a test holds them to it.
pub const ALLOWED_LOSS: usize = 5;
const LOSS: &str = "at most 5 of 1,000 round trips lost (service level 99.9 %)";

/// What a series says.
pub struct Judgement {
    /// The cell.
    pub cell: Cell,
    /// Whether a burst or a busy machine can cause it, so that it is measured again before it counts.
    pub may_be_chance: bool,
    figures: Option<Figures>,
}

struct Figures {
    /// Share of the round trips that were lost.
    loss: f64,
    /// By how many microseconds the agent fell behind its own schedule.
    lag: u64,
    latencies: Option<Distribution>,
}

impl Judgement {
    /// A judgement without figures.
    pub fn of(cell: Cell) -> Self {
        Self {
            may_be_chance: matches!(cell, Cell::Unknown(_) | Cell::NoAnswer(_)),
            cell,
            figures: None,
        }
    }
    /// The fastest round trip, in microseconds.
    pub fn fastest(&self) -> Option<u64> {
        Some(self.figures.as_ref()?.latencies.as_ref()?.min)
    }
    /// Leaves the figures of the path.
    pub fn record(&self, context: &CheckContext, path: &Path) {
        let Some(figures) = &self.figures else { return };
        context.measure("loss", path, figures.loss, Unit::Ratio);
        context.measure("generator_lag", path, figures.lag as f64, Unit::Microseconds);
        if let Some(latencies) = &figures.latencies {
            context.measure_latencies("round_trip", path, latencies.clone());
        }
    }
}

/// Judges a series against the loss that is allowed and the limit of the 99th percentile.
pub fn judge(path: &Path, outcome: &Outcome, limit: Duration) -> Judgement {
    let Outcome::Series {
        latencies,
        failures,
        served_by,
        lag,
        starved,
    } = outcome
    else {
        return Judgement::of(matrix::no_answer(outcome, LOSS));
    };
    let unknown = |why: String| Judgement::of(Cell::Unknown(why));
    if let Some((number, failure)) = failures.iter().find(|(_, failure)| failure.is_local_error()) {
        return unknown(format!("round trip {number}: {failure}"));
    }
    let sent = latencies.len() + failures.len();
    if sent < SAMPLES as usize {
        return unknown(format!("only {sent} of {SAMPLES} round trips were attempted"));
    }
    if let Some((identity, times)) = served_by.iter().find(|(identity, _)| !path.is_server(identity)) {
        let deviation = Deviation::new(
            "every answer from exactly the pod asked",
            "answered by another pod than the one asked",
        );
        return Judgement::of(Cell::Mismatch(
            deviation.with_detail(format!("{} by {identity}", text::counted(*times as usize, "answer"))),
        ));
    }
    let named: u64 = served_by.iter().map(|(_, times)| u64::from(*times)).sum();
    if named < latencies.len() as u64 {
        return unknown(format!(
            "only {named} of {} answers named their server",
            latencies.len()
        ));
    }
    let latencies = Distribution::of(latencies.iter().map(|t| u64::from(*t)));
    let cell = match &latencies {
        Some(latencies) if failures.len() <= ALLOWED_LOSS => judge_latency(latencies, *lag, *starved, limit),
        latencies => judge_loss(failures, sent, *lag, latencies.is_none()),
    };
    Judgement {
        may_be_chance: !matches!(cell, Cell::Ok(_)) && latencies.is_some(),
        cell,
        figures: Some(Figures {
            loss: failures.len() as f64 / sent as f64,
            lag: *lag,
            latencies,
        }),
    }
}

/// A pair whose fastest round trip is within this is not an outlier, whatever the others take.
const OUTLIER: Duration = Duration::from_millis(20);
/// How many times the median of its locality an outlier's fastest round trip takes.
const OUTLIER_FACTOR: u64 = 10;
/// Fewer pairs have no median that one slow node could not make.
const OUTLIER_PAIRS: usize = 3;

/// For each pair, by its fastest round trip: how it differs from its locality, if it is an outlier there. The lower of
/// two medians counts, since one node of two is slow in half of the pairs.
pub fn outliers(fastest: &[Option<u64>]) -> Vec<Option<Deviation>> {
    let mut known: Vec<u64> = fastest.iter().copied().flatten().collect();
    known.sort_unstable();
    if known.len() < OUTLIER_PAIRS {
        return vec![None; fastest.len()];
    }
    let median = known[(known.len() - 1) / 2];
    let limit = (OUTLIER.as_micros() as u64).max(OUTLIER_FACTOR * median);
    let deviation = |time: u64| {
        let ms = |us: u64| us as f64 / 1000.0;
        let expected = "a fastest round trip of at most 20 ms, or of 10 times the median of the pairs of its locality";
        let detail = format!("fastest {:.1} ms, median of the pairs {:.1} ms", ms(time), ms(median));
        Deviation::new(expected, "every packet is delayed, unlike those of other pairs").with_detail(detail)
    };
    fastest
        .iter()
        .map(|time| time.filter(|time| *time > limit).map(deviation))
        .collect()
}

fn judge_loss(failures: &[(u32, Outcome)], sent: usize, lag: u64, everything: bool) -> Cell {
    let lost = failures.len();
    if lag > cpu_pressure::LAG && !everything && !is_scattered(failures) {
        return Cell::Unknown(format!(
            "the agent fell behind its own schedule by up to {:.0} ms, so {lost} of {sent} lost say nothing about the \
             network",
            lag as f64 / 1000.0
        ));
    }
    let first = failures
        .first()
        .map(|(number, failure)| format!("; first loss: round trip {number}, {failure}"))
        .unwrap_or_default();
    let share = 100.0 * lost as f64 / sent as f64;
    let deviation = Deviation::new(LOSS, "packets are lost");
    Cell::Mismatch(deviation.with_detail(format!("{lost} of {sent} lost, {share:.1} %{first}")))
}

/// Whether losses are scattered, as on a lossy path: a queue that overflowed on a busy machine loses in bursts.
fn is_scattered(failures: &[(u32, Outcome)]) -> bool {
    let mut previous = None;
    let mut bursts = 0;
    for (number, _) in failures {
        if previous != number.checked_sub(1) || previous.is_none() {
            bursts += 1;
        }
        previous = Some(*number);
    }
    // One in ten lost at random makes bursts of 1.1 on average.
    bursts > 20 && failures.len() * 2 < bursts * 3
}

fn judge_latency(times: &Distribution, lag: u64, starved: Option<u64>, limit: Duration) -> Cell {
    let limit_micros = limit.as_micros() as u64;
    let ms = |us: u64| us as f64 / 1000.0;
    if times.p99 <= limit_micros {
        return Cell::Ok(Some(Quantity::micros(times.p50)));
    }
    // A slow path is slow for the fastest packet too; a busy machine delays some.
    if times.min <= limit_micros {
        let nothing = format!("so a p99 of {:.0} ms says nothing about the network", ms(times.p99));
        if times.p99.saturating_sub(lag) <= limit_micros {
            let lag = ms(lag);
            return Cell::Unknown(format!(
                "the agent fell behind its own schedule by up to {lag:.0} ms, {nothing}"
            ));
        }
        if let Some(why) = cpu_pressure::starved(starved, SPACING * SAMPLES) {
            return Cell::Unknown(format!("{why}, {nothing}"));
        }
    }
    let expected = format!(
        "99 % of the round trips within {} ms (service level)",
        limit.as_millis()
    );
    let deviation = Deviation::new(expected, "round trips take too long");
    let detail = format!("p50 {:.1} ms, p99 {:.1} ms", ms(times.p50), ms(times.p99));
    Cell::Mismatch(deviation.with_detail(detail).with_quantity(Quantity::micros(times.p50)))
}
