//! The series of one kind of round trip on one path, added up and judged.

use crate::{
    connectivity::nearby::Nearby,
    kit::{
        availability::{FIRST, FURTHER, Loss, LossCount, LossTest},
        cpu_pressure,
        matrix::{self, Cell, Deviation, Locality, Path, Quantity},
        probes,
    },
};
use meshproof_contract::{CheckContext, Distribution, Outcome, Percent, Probe, Unit, text};
use std::time::Duration;

/// Spacing of the starts of datagrams, whatever happened to the ones before (open loop).
const DATAGRAM_SPACING: Duration = Duration::from_micros(1500);
/// The same of connections, each of which is a dozen packets.
const CONNECTION_SPACING: Duration = Duration::from_millis(5);
/// Connections of the first series on a pair, however many pairs there are.
const FEWEST_CONNECTIONS: u32 = 200;

/// What makes a round trip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exchange {
    /// A datagram and its echo.
    Datagram,
    /// A connection with an echo over it.
    Connection,
}

impl Exchange {
    /// Both.
    pub const ALL: [Exchange; 2] = [Exchange::Datagram, Exchange::Connection];

    /// Round trips of the first series on each of so many pairs. Connections are dearer: over all pairs they are as
    /// many as decide the test, and on each pair fewer.
    fn first(self, pairs: usize) -> u32 {
        match self {
            Exchange::Datagram => FIRST,
            Exchange::Connection => FIRST.div_ceil(pairs.max(1) as u32).max(FEWEST_CONNECTIONS),
        }
    }
    fn spacing(self) -> Duration {
        match self {
            Exchange::Datagram => DATAGRAM_SPACING,
            Exchange::Connection => CONNECTION_SPACING,
        }
    }
    /// For people.
    fn name(self) -> &'static str {
        match self {
            Exchange::Datagram => "UDP",
            Exchange::Connection => "TCP",
        }
    }
    /// The first series on one of so many pairs.
    pub fn first_look(self, path: &Path, pairs: usize) -> Probe {
        self.series(path, self.first(pairs), self.spacing())
    }
    /// A further series, at half the pace.
    pub fn further_look(self, path: &Path) -> Probe {
        self.series(path, FURTHER, self.spacing() * 2)
    }
    fn series(self, path: &Path, count: u32, spacing: Duration) -> Probe {
        match self {
            Exchange::Datagram => probes::udp_series(path, count, spacing),
            Exchange::Connection => probes::tcp_series(path, count, spacing),
        }
    }
}

/// The service levels that a path is judged by.
pub struct Levels {
    /// The share of round trips that must succeed.
    pub promised: Percent,
    /// The test of it.
    pub loss: LossTest,
    /// The limit of the 99th percentile of datagrams.
    pub limit: Duration,
}

/// What one kind of round trip has shown on one path so far.
pub struct Record {
    exchange: Exchange,
    looks: u32,
    count: LossCount,
    /// The fastest round trip of all series, in microseconds.
    fastest: Option<u64>,
    /// Of the last series.
    latencies: Option<Distribution>,
    /// By how much the agent fell behind its own schedule in the last series, in microseconds.
    lag: u64,
    starved: Option<u64>,
    /// How long the last series took.
    over: Duration,
    /// Why it says nothing, or what it shows at once.
    other: Option<Cell>,
}

impl Record {
    /// Nothing yet.
    pub fn new(exchange: Exchange) -> Self {
        Self {
            exchange,
            looks: 0,
            count: LossCount::default(),
            fastest: None,
            latencies: None,
            lag: 0,
            starved: None,
            over: Duration::ZERO,
            other: None,
        }
    }

    /// What kind of round trip it is about.
    pub fn exchange(&self) -> Exchange {
        self.exchange
    }

    /// Adds a series. One that says nothing replaces nothing, and what said nothing before is forgotten.
    pub fn add(&mut self, path: &Path, probe: &Probe, outcome: Result<&Outcome, String>) {
        self.looks += 1;
        self.other = match outcome {
            Ok(outcome) => self.take(path, probe, outcome),
            Err(why) => Some(Cell::Unknown(why)),
        };
    }

    fn take(&mut self, path: &Path, probe: &Probe, outcome: &Outcome) -> Option<Cell> {
        let Outcome::Series {
            latencies,
            failures,
            served_by,
            lag,
            starved,
        } = outcome
        else {
            return Some(matrix::no_answer(outcome, "round trips that are answered"));
        };
        let name = self.exchange.name();
        let unknown = |why: String| Some(Cell::Unknown(why));
        if let Some((number, failure)) = failures.iter().find(|(_, failure)| failure.is_local_error()) {
            return unknown(format!("{name} round trip {number}: {failure}"));
        }
        let (sent, asked) = ((latencies.len() + failures.len()) as u32, probe.count);
        if sent < asked {
            return unknown(format!("only {sent} of {asked} {name} round trips were attempted"));
        }
        if let Some((identity, times)) = served_by.iter().find(|(identity, _)| !path.is_server(identity)) {
            let deviation = Deviation::new(
                "every answer from exactly the pod asked",
                "answered by another pod than the one asked",
            );
            return Some(Cell::Mismatch(deviation.with_detail(format!(
                "{} by {identity}",
                text::counted(*times as usize, "answer")
            ))));
        }
        let named: u64 = served_by.iter().map(|(_, times)| u64::from(*times)).sum();
        if named < latencies.len() as u64 {
            return unknown(format!(
                "only {named} of {} answers named their server",
                latencies.len()
            ));
        }
        self.count.add(latencies.len() as u32, failures, *lag);
        self.latencies = Distribution::of(latencies.iter().map(|micros| u64::from(*micros)));
        self.fastest = self
            .fastest
            .into_iter()
            .chain(self.latencies.as_ref().map(|l| l.min))
            .min();
        self.lag = *lag;
        self.starved = *starved;
        self.over = probe.interval * sent;
        None
    }

    /// The fastest round trip, in microseconds.
    pub fn fastest(&self) -> Option<u64> {
        self.fastest
    }

    /// Why the agent's machine may have delayed every packet of a series: it was short of CPU all the time.
    pub fn starved(&self) -> Option<String> {
        cpu_pressure::starved(self.starved, self.over)
    }

    /// Whether a further series may change what it says. Once more, whatever is not as expected, unless nothing at all
    /// was answered; and again as long as the loss is in doubt.
    pub fn is_open(&self, levels: &Levels) -> bool {
        if self.looks < 2 {
            let is_other = matches!(self.other, Some(Cell::Mismatch(_)));
            return !self.count.is_silent()
                && !is_other
                && (self.count.is_open(&levels.loss) || !matches!(self.judge(levels), Cell::Ok(_)));
        }
        self.other.is_none() && self.count.is_open(&levels.loss)
    }

    /// Leaves the figures of the path.
    pub fn leave(&self, context: &CheckContext, path: &Path, levels: &Levels) {
        if self.count.sent() == 0 {
            return;
        }
        let limit = levels.limit;
        let over = |times: &&Distribution| times.p99 > limit.as_micros() as u64;
        if let Some(times) = self.latencies.as_ref().filter(over)
            && self.exchange == Exchange::Datagram
            && let (Cell::Ok(_), Some(why)) = (self.judge(levels), self.busy(times, limit))
        {
            context.note(format!(
                "{path}: {why}; the latency is judged by the median instead of the 99th percentile"
            ));
        }
        let (loss, lag, latency) = match self.exchange {
            Exchange::Datagram => ("loss", "generator_lag", "round_trip"),
            Exchange::Connection => ("tcp_loss", "tcp_generator_lag", "tcp_round_trip"),
        };
        context.measure(loss, path, self.count.share(), Unit::Ratio);
        context.measure(lag, path, self.lag as f64, Unit::Microseconds);
        if let Some(latencies) = &self.latencies {
            context.measure_latencies(latency, path, latencies.clone());
        }
        if self.count.series() > 1 {
            context.note(format!(
                "{path}: {} measured in {} series, all but the first at half the pace: {} of {} lost",
                self.exchange.name(),
                self.count.series(),
                self.count.lost(),
                self.count.sent()
            ));
        }
    }

    /// Judges the loss, and the 99th percentile against the limit.
    pub fn judge(&self, levels: &Levels) -> Cell {
        if let Some(other) = &self.other {
            return other.clone();
        }
        match (self.count.judge(&levels.loss), &self.latencies) {
            (Loss::Unknown(why), _) => Cell::Unknown(format!("{}: {why}", self.exchange.name())),
            (Loss::AsPromised, Some(latencies)) => self.judge_latency(latencies, levels.limit),
            (Loss::AsPromised | Loss::TooMuch, _) => Cell::Mismatch(self.lossy(levels.promised)),
        }
    }

    fn lossy(&self, promised: Percent) -> Deviation {
        let name = self.exchange.name();
        let expected = format!("at least {promised} of the {name} round trips succeed (service level)");
        let symptom = match self.exchange {
            Exchange::Datagram => "packets are lost",
            Exchange::Connection => "connections fail or stall",
        };
        Deviation::new(expected, symptom).with_detail(self.count.to_string())
    }

    /// Why the agents' machines may be what delayed the slowest round trips.
    fn busy(&self, times: &Distribution, limit: Duration) -> Option<String> {
        cpu_pressure::delays(times, self.lag, self.starved, self.over, limit)
    }

    fn judge_latency(&self, times: &Distribution, limit: Duration) -> Cell {
        let limit_micros = limit.as_micros() as u64;
        let ms = |us: u64| us as f64 / 1000.0;
        // A connection is two round trips and more; the datagrams are what the service level is about.
        if times.p99 <= limit_micros || self.exchange == Exchange::Connection {
            return Cell::Ok(Some(Quantity::micros(times.p50)));
        }
        // A slow path is slow for half of the packets, too.
        if let Some(why) = self.busy(times, limit) {
            return if self.looks > 1 && times.p50 <= limit_micros {
                Cell::Ok(Some(Quantity::micros(times.p50)))
            } else {
                let p99 = ms(times.p99);
                Cell::Unknown(format!("{why}, so a p99 of {p99:.0} ms says nothing about the network"))
            };
        }
        let expected = format!(
            "99 % of the round trips within {} ms (service level)",
            limit.as_millis()
        );
        let deviation = Deviation::new(expected, "round trips take too long");
        let detail = format!("p50 {:.1} ms, p99 {:.1} ms", ms(times.p50), ms(times.p99));
        Cell::Mismatch(deviation.with_detail(detail).with_quantity(Quantity::micros(times.p50)))
    }
}

/// A pair whose fastest round trip is within this is not an outlier, whatever the others take.
const OUTLIER: Duration = Duration::from_millis(20);
/// How many times the median of its locality an outlier's fastest round trip takes.
const OUTLIER_FACTOR: u64 = 10;
/// The same against a path to another cluster from the nodes at both ends.
const NEIGHBOUR_FACTOR: u64 = 2;
/// Fewer pairs have no median that one slow node could not make.
const OUTLIER_PAIRS: usize = 3;

/// For each pair, by its fastest round trip: how it differs from its locality, if it is an outlier there. The lower of
/// two medians counts, since one node of two is slow in half of the pairs.
///
/// On a node there is no network at all: there the first limit counts, whatever the others take.
pub fn outliers(fastest: &[Option<u64>], locality: Locality) -> Vec<Option<Deviation>> {
    if locality == Locality::SameNode {
        let deviation = |time: u64| {
            Deviation::new(
                "a fastest round trip of at most 20 ms between pods of one node",
                "every packet is delayed on the node itself",
            )
            .with_detail(format!("fastest {}", ms(time)))
        };
        return fastest
            .iter()
            .map(|time| time.filter(|time| is_slow(*time)).map(deviation))
            .collect();
    }
    let mut known: Vec<u64> = fastest.iter().copied().flatten().collect();
    known.sort_unstable();
    if known.len() < OUTLIER_PAIRS {
        return vec![None; fastest.len()];
    }
    let median = known[(known.len() - 1) / 2];
    let limit = (OUTLIER.as_micros() as u64).max(OUTLIER_FACTOR * median);
    let deviation = |time: u64| {
        let expected = "a fastest round trip of at most 20 ms, or of 10 times the median of the pairs of its locality";
        let detail = format!("fastest {}, median of the pairs {}", ms(time), ms(median));
        Deviation::new(expected, "every packet is delayed, unlike those of other pairs").with_detail(detail)
    };
    fastest
        .iter()
        .map(|time| time.filter(|time| *time > limit).map(deviation))
        .collect()
}

/// Whether a fastest round trip is too slow for an ordinary one between neighbours.
pub fn is_slow(fastest: u64) -> bool {
    fastest > OUTLIER.as_micros() as u64
}

/// How a path between two nodes differs from what is near to it; none if it does not, or nothing is known to be near.
pub fn unlike_neighbours(nearby: Nearby) -> Option<Deviation> {
    let Nearby { own, elsewhere, hosts } = nearby;
    if !is_slow(own) {
        return None;
    }
    let hosts = hosts.filter(|hosts| own > OUTLIER_FACTOR * hosts).map(|hosts| {
        let expected = "a fastest round trip of at most 20 ms, or of 10 times that between the nodes themselves";
        (
            expected,
            format!("fastest {}, between the nodes themselves {}", ms(own), ms(hosts)),
        )
    });
    let elsewhere = elsewhere
        .filter(|elsewhere| own > NEIGHBOUR_FACTOR * elsewhere)
        .map(|elsewhere| {
            let expected = "a fastest round trip of at most 20 ms, or of twice that to nodes of the other cluster";
            (
                expected,
                format!("fastest {}, to nodes of the other cluster {}", ms(own), ms(elsewhere)),
            )
        });
    let (expected, detail) = hosts.or(elsewhere)?;
    Some(Deviation::new(expected, "every packet is delayed, unlike those of other pairs").with_detail(detail))
}

fn ms(micros: u64) -> String {
    format!("{:.1} ms", micros as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_pair_differs_from_what_is_near_to_it() {
        let is_unlike = |own, elsewhere, hosts| {
            let nearby = Nearby { own, elsewhere, hosts };
            unlike_neighbours(nearby).is_some()
        };
        assert!(
            is_unlike(50_000, Some(2_000), Some(50_000)),
            "a delay between the nodes"
        );
        assert!(is_unlike(50_000, Some(50_000), Some(400)), "a delay in the tunnel");
        assert!(!is_unlike(50_000, Some(50_000), Some(50_000)), "everything is far");
        assert!(!is_unlike(50_000, None, None), "nothing is known");
        assert!(!is_unlike(19_000, Some(100), Some(100)), "not slow");
    }

    #[test]
    fn pods_of_one_node_are_near() {
        let found = outliers(&[Some(400), Some(25_000), None], Locality::SameNode);
        assert_eq!(
            found.iter().map(Option::is_some).collect::<Vec<_>>(),
            [false, true, false]
        );
    }
}
