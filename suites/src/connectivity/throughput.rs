//! No pair of nodes carries much less than the others.

use super::nearby;
use crate::kit::{
    matrix::{self, Cell, Deviation, Judged, Locality, Path, Paths, Quantity, Seen, Wording},
    needs,
    path_check::PathProbe,
};
use async_trait::async_trait;
use meshproof_contract::{
    Action, CheckContext, CheckId, CheckText, Distribution, Needs, Outcome, Probe, Tally, Verdict, port,
};
use std::time::Duration;

/// Throughput of pairs of nodes.
#[derive(Clone, Copy, Debug)]
pub struct Throughput;

/// Bytes there and back over one connection: enough that a limit shows beyond what queues hold.
const PAYLOAD: u32 = 1 << 20;
/// Transfers on each pair, one after the other; the median counts, since a shaper lets the first one pass.
const TRANSFERS: u32 = 3;
/// Longest time for one of them: 2 Mbit/s.
const LIMIT: Duration = Duration::from_secs(8);
/// What takes no longer is not slow, whatever the others do: about 110 Mbit/s.
const FLOOR: Duration = Duration::from_millis(150);
/// A pair that needs so many times what another one needs is slow: less than a third of its throughput.
const FACTOR: u64 = 3;
/// So many slow pairs are measured again, each by itself.
const AGAIN: usize = 6;
/// How often, and each must show it.
const LOOKS: usize = 2;

const WORDING: Wording = Wording {
    what: "1 MiB there and back",
    ok: "not much slower than the fastest",
    figure: None,
};

fn transfers(path: &Path) -> Probe {
    let to = path.target(port::TCP);
    Probe::series(
        Action::TcpEcho { to, payload: PAYLOAD },
        LIMIT,
        TRANSFERS,
        Duration::ZERO,
    )
}

/// The median of the transfers of a path, in microseconds.
fn median(outcome: &Outcome) -> Option<u64> {
    let Outcome::Series { latencies, .. } = outcome else {
        return None;
    };
    Distribution::of(latencies.iter().map(|micros| u64::from(*micros))).map(|times| times.p50)
}

/// The time of a path in microseconds, or what kept it from being timed.
fn timed(seen: &Seen) -> Result<u64, Cell> {
    let outcomes = seen.as_deref().map_err(|error| Cell::Unknown(error.to_string()))?;
    let Some(outcome) = outcomes.first() else {
        return Err(Cell::Unknown("no transfer was tried".to_owned()));
    };
    median(outcome).ok_or_else(|| {
        let failed = match outcome {
            Outcome::Series { failures, .. } => failures.first().map_or(outcome, |(_, first)| first),
            other => other,
        };
        matrix::no_answer(failed, "1 MiB there and back within 8 s")
    })
}

fn leave(context: &CheckContext, path: &Path, seen: &Seen) {
    if let Ok([Outcome::Series { latencies, .. }]) = seen.as_deref()
        && let Some(times) = Distribution::of(latencies.iter().map(|micros| u64::from(*micros)))
    {
        context.measure_latencies("transfer_1_mib", path, times);
    }
}

/// A time for people, and the throughput that it is.
fn told(micros: u64) -> String {
    let megabits = f64::from(PAYLOAD) * 8.0 * 2.0 / micros.max(1) as f64;
    format!("{:.0} ms ({megabits:.0} Mbit/s)", micros as f64 / 1000.0)
}

fn is_slower(time: u64, than: u64) -> bool {
    time > FLOOR.as_micros() as u64 && time > FACTOR * than
}

/// What a slow pair is compared with, measured by itself right after it.
enum Reference<'a> {
    /// The fastest pair of the same kind.
    Pair(&'a Path),
    /// The nodes of other clusters, from both ends.
    Elsewhere,
}

impl Reference<'_> {
    /// The times of the path and of the reference now, and what the reference is.
    async fn measure(&self, context: &CheckContext, path: &Path) -> Option<(u64, u64, String)> {
        match self {
            Reference::Pair(pair) => {
                let mut times = Vec::new();
                for path in [path, *pair] {
                    let environment = context.environment.as_ref();
                    let seen = matrix::observe(environment, std::slice::from_ref(path), |path| vec![transfers(path)]);
                    times.push(timed(seen.await.first()?).ok()?);
                }
                Some((times[0], times[1], pair.to_string()))
            }
            Reference::Elsewhere => {
                let (own, elsewhere) = nearby::own_and_elsewhere(context, path, transfers, median).await?;
                let named = "from its slower end to another cluster".to_owned();
                Some((own, elsewhere?, named))
            }
        }
    }

    /// How the path differs, if every look shows it.
    async fn deviation(&self, context: &CheckContext, path: &Path) -> Option<Deviation> {
        let mut last = None;
        for _ in 0..LOOKS {
            let (own, other, named) = self.measure(context, path).await?;
            if !is_slower(own, other) {
                context.note(format!("{path}: slow at first, {} when measured by itself", told(own)));
                return None;
            }
            last = Some((own, other, named));
        }
        let (own, other, named) = last?;
        let expected = "at least a third of the throughput of other pairs, or 1 MiB there and back within 150 ms";
        let deviation = Deviation::new(expected, "transfers take much longer than on other pairs");
        let detail = format!("{}, {named} {}", told(own), told(other));
        Some(deviation.with_detail(detail).with_quantity(Quantity::micros(own)))
    }
}

/// Measures what looks slow again, and gives each such pair its cell.
async fn look_again(context: &CheckContext, locality: Locality, measured: &mut [(Judged, Option<u64>)]) {
    let mut known: Vec<(u64, usize)> = measured
        .iter()
        .enumerate()
        .filter_map(|(at, (_, time))| Some(((*time)?, at)))
        .collect();
    known.sort_unstable();
    let Some(quarter) = known.get((known.len().saturating_sub(1)) / 4).copied() else {
        return;
    };
    let fastest = measured[known[0].1].0.path.clone();
    // Of two nodes every pair has both ends in common with the other.
    let is_alone = locality == Locality::OtherNode && known.len() <= 2;
    let is_long = |time: u64| time > FLOOR.as_micros() as u64;
    let slow = known
        .iter()
        .rev()
        .filter(|(time, _)| is_slower(*time, quarter.0) || (is_alone && is_long(*time)));
    for (time, at) in slow.take(AGAIN) {
        let path = measured[*at].0.path.clone();
        let by_pair = match is_slower(*time, quarter.0) {
            true => Reference::Pair(&fastest).deviation(context, &path).await,
            false => None,
        };
        let found = match by_pair {
            None if is_alone => Reference::Elsewhere.deviation(context, &path).await,
            found => found,
        };
        if let Some(deviation) = found {
            measured[*at].0.cell = Cell::Mismatch(deviation);
        }
    }
}

#[async_trait]
impl PathProbe for Throughput {
    fn id(&self, locality: Locality) -> CheckId {
        locality.id("connectivity::throughput")
    }

    fn text(&self, locality: Locality) -> CheckText {
        CheckText {
            title: locality.by(
                "No pod carries much less than others of its node",
                "No pair of nodes carries much less than the others",
                "No pair of nodes of the two clusters carries much less than the others",
            ),
            proves: "No limit of rate on one node's link or between two nodes (a device that fell back to a lower \
                     speed, a shaper, a lost offload) makes what crosses it slow.",
            how: "On every pair where there are at most 12, else on a covering set, 1 MiB goes there and back over TCP \
                  three times, one after the other; no two pairs share an end at once. The median counts. A pair \
                  over 150 ms that needs more than three times what a quarter of the pairs need is measured twice \
                  more by itself, each time followed by the fastest pair, and must be that slow each time. The two \
                  nodes of a small cluster are compared with the way to another cluster from both of them. No figure \
                  is compared with a limit of its own.",
            control: "Every byte that comes back is compared with what was sent. A pair without a transfer in time is \
                      red, and one whose agent could not try is inconclusive.",
            when_red: "On the nodes named: `tc -s qdisc show` (shapers), `ethtool DEVICE` (speed, duplex) and `ip -s \
                       link` (errors). All pairs of a node: its device; one pair: the way between the two.",
        }
    }

    fn faults(&self, locality: Locality) -> &'static [&'static str] {
        locality.by(&[], &["rate-limited"], &["rate-limited-node"])
    }

    fn needs(&self) -> Needs {
        needs::ALONE
    }

    async fn run(&self, context: &CheckContext, paths: &Paths) -> Verdict {
        let mut measured = Vec::new();
        for round in paths.rounds() {
            let environment = context.environment.as_ref();
            let seen = matrix::observe(environment, &round, |path| vec![transfers(path)]).await;
            for (path, seen) in round.into_iter().zip(&seen) {
                leave(context, &path, seen);
                let (cell, time) = match timed(seen) {
                    Ok(time) => (Cell::Ok(Some(Quantity::micros(time))), Some(time)),
                    Err(cell) => (cell, None),
                };
                measured.push((Judged { path, cell }, time));
            }
        }
        look_again(context, paths.locality, &mut measured).await;
        let judged: Vec<Judged> = measured.into_iter().map(|(judged, _)| judged).collect();
        let mut tally = Tally::new();
        matrix::conclude(context, paths, WORDING, &judged, &mut tally).await;
        tally.verdict()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        kit::path_check::PathCheck,
        testing::{Ask, Fake, Shape, infra, infra_to_apps, instance_of, local_error, timeout},
    };

    const CHECKS: [PathCheck<Throughput>; 2] =
        [PathCheck::other_node(Throughput), PathCheck::other_cluster(Throughput)];
    const SLOW: u64 = 900_000;

    fn two_nodes() -> Fake {
        Fake::of(Shape { clusters: 2, nodes: 2 })
    }

    fn between(ask: &Ask<'_>, a: &str, b: &str) -> bool {
        let ends = (ask.from.node.as_str(), ask.to_node().unwrap_or_default());
        ends == (a, b) || ends == (b, a)
    }

    #[tokio::test(start_paused = true)]
    async fn alike_is_green_however_slow() {
        for check in CHECKS {
            Fake::healthy().expect(&check, instance_of(&check), "pass").await;
            Fake::healthy()
                .latency(SLOW)
                .expect(&check, instance_of(&check), "pass")
                .await;
            two_nodes()
                .latency(SLOW)
                .expect(&check, instance_of(&check), "pass")
                .await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_slow_pair_is_red_and_named() {
        let check = PathCheck::other_node(Throughput);
        for world in [Fake::healthy(), two_nodes()] {
            let slow = world.rule(|p| between(p, "infra-1", "infra-2").then(|| p.answered_after(SLOW)));
            let text = slow.expect(&check, infra(), "fail").await;
            assert!(text.contains("900 ms (19 Mbit/s)"), "{text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_slow_node_is_red_on_its_way_to_the_other_cluster() {
        let slow = two_nodes().rule(|p| {
            let is_there = p.from.node.as_str() == "infra-2" || p.to_node() == Some("infra-2");
            is_there.then(|| p.answered_after(SLOW))
        });
        let text = slow
            .expect(&PathCheck::other_cluster(Throughput), infra_to_apps(), "fail")
            .await;
        assert!(text.contains("from infra-2"), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_slow_once_is_no_finding() {
        for check in CHECKS {
            let once = Fake::healthy()
                .rule(|p| (p.batch == 0 && p.from.node.as_str() == "infra-1").then(|| p.answered_after(SLOW)));
            once.expect(&check, instance_of(&check), "pass").await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_in_time_is_red_and_what_could_not_be_tried_inconclusive() {
        for check in CHECKS {
            let silent = Fake::healthy().rule(|_| Some(timeout()));
            silent.expect(&check, instance_of(&check), "fail").await;
            let broken = Fake::healthy().rule(|_| Some(local_error()));
            broken.expect(&check, instance_of(&check), "inconclusive").await;
        }
    }
}
