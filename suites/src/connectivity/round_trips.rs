//! Round trips by the hundred: how many are lost, and how long they take.

mod series;

use super::nearby;
use crate::kit::{
    availability::LossTest,
    matrix::{self, Cell, Deviation, Judged, Locality, Path, Paths, Wording},
    needs,
    path_check::PathProbe,
    paths::WorkloadPair,
    probes,
};
use async_trait::async_trait;
use futures::future::join;
use meshproof_contract::{
    CheckContext, CheckId, CheckText, ClusterName, Instance, Needs, Probe, Tally, Thresholds, Verdict,
};
use series::{Exchange, Levels, Record, outliers};
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// Loss and latency between pods.
#[derive(Clone, Copy, Debug)]
pub struct RoundTrips;

const WORDING: Wording = Wording {
    what: "round trips by UDP and TCP",
    ok: "within the service levels",
    figure: None,
};

/// Datagrams on each path with which a slow pair is compared.
const AGAIN: u32 = 40;
const AGAIN_SPACING: Duration = Duration::from_millis(5);

/// The 99th percentile that the service levels allow.
fn limit(locality: Locality, promised: &Thresholds) -> Duration {
    locality.by(
        promised.local_latency,
        promised.local_latency,
        promised.cross_cluster_latency,
    )
}

/// One path with what its round trips have shown so far.
struct Measured {
    path: Path,
    records: [Record; 2],
}

impl Measured {
    fn of(path: Path) -> Self {
        Self {
            path,
            records: Exchange::ALL.map(Record::new),
        }
    }

    /// The cell of the path: the first that is not as expected, else the datagrams'.
    fn judge(&self, levels: &Levels) -> Cell {
        let [datagrams, connections] = &self.records;
        match datagrams.judge(levels) {
            Cell::Ok(quantity) => match connections.judge(levels) {
                Cell::Ok(_) => Cell::Ok(quantity),
                other => other,
            },
            other => other,
        }
    }
}

/// The probes of a path: one for each record that is measured now.
type Series = [Option<Probe>; 2];

/// Runs these series of each path, all at once.
async fn measure(context: &CheckContext, measured: &mut [Measured], series: &[Series]) {
    let asked: Vec<usize> = (0..series.len())
        .filter(|at| series[*at].iter().any(Option::is_some))
        .collect();
    let paths: Vec<Path> = asked.iter().map(|at| measured[*at].path.clone()).collect();
    let batch = |path: &Path| -> Vec<Probe> {
        let at = paths.iter().position(|p| p == path).map(|at| asked[at]);
        at.iter().flat_map(|at| series[*at].iter().flatten().cloned()).collect()
    };
    let seen = matrix::observe(context.environment.as_ref(), &paths, batch).await;
    for (at, seen) in asked.into_iter().zip(seen) {
        let mut outcomes = seen.as_deref().map(<[_]>::iter).map_err(ToString::to_string);
        let Measured { path, records } = &mut measured[at];
        for (record, probe) in records.iter_mut().zip(&series[at]) {
            let Some(probe) = probe else { continue };
            let outcome = match &mut outcomes {
                Ok(outcomes) => outcomes
                    .next()
                    .ok_or("unexpected number of outcomes for a series".to_owned()),
                Err(why) => Err(why.clone()),
            };
            record.add(path, probe, outcome);
        }
    }
}

/// What the first series of all paths show, round by round.
async fn rounds(context: &CheckContext, paths: &Paths) -> Vec<Measured> {
    let rounds = paths.all_in_rounds();
    let pairs = rounds.iter().map(Vec::len).sum();
    let mut all = Vec::new();
    for round in rounds {
        let mut measured: Vec<Measured> = round.into_iter().map(Measured::of).collect();
        let first = |one: &Measured| Exchange::ALL.map(|exchange| Some(exchange.first_look(&one.path, pairs)));
        let series: Vec<Series> = measured.iter().map(first).collect();
        measure(context, &mut measured, &series).await;
        all.extend(measured);
    }
    all
}

/// Compares slow pairs that are no outliers among their own with what is near to them: where all pairs are slow there
/// is no median, and two nodes have only one pair.
async fn unlike_neighbours(context: &CheckContext, measured: &[Measured], outlying: &mut [Option<Deviation>]) {
    let probe = |path: &Path| probes::udp_series(path, AGAIN, AGAIN_SPACING);
    for (one, outlying) in measured.iter().zip(outlying) {
        if outlying.is_none()
            && one.records[0].fastest().is_some_and(series::is_slow)
            && let Some(nearby) = nearby::compare(context, &one.path, probe, nearby::quickest).await
        {
            *outlying = series::unlike_neighbours(nearby);
        }
    }
}

/// What was measured for the trial of the other direction, by clusters: both load the same clusters, but no pod asks or
/// is asked in both.
#[derive(Default)]
struct Ahead(Mutex<HashMap<(ClusterName, ClusterName), Vec<Measured>>>);

/// Taken by one trial at a time.
#[derive(Default)]
struct SecondLook(tokio::sync::Mutex<()>);

impl Ahead {
    fn lock(&self) -> MutexGuard<'_, HashMap<(ClusterName, ClusterName), Vec<Measured>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The first series of the paths; between clusters those of both directions, one for the trial of the other.
async fn first_look(context: &CheckContext, paths: &Paths) -> Vec<Measured> {
    if paths.locality != Locality::OtherCluster {
        return rounds(context, paths).await;
    }
    let ahead = context.observed.of::<Ahead>();
    let measured = ahead.lock().remove(&(paths.from.clone(), paths.to.clone()));
    if let Some(measured) = measured {
        return measured;
    }
    let back = Instance::Direction {
        from: paths.to.clone(),
        to: paths.from.clone(),
    };
    match Paths::of(&context.environment.facts(), &back, paths.locality, WorkloadPair::PODS) {
        Ok(back) => {
            let (there, back_again) = join(rounds(context, paths), rounds(context, &back)).await;
            ahead.lock().insert((back.from, back.to), back_again);
            there
        }
        Err(_) => rounds(context, paths).await,
    }
}

#[async_trait]
impl PathProbe for RoundTrips {
    fn id(&self, locality: Locality) -> CheckId {
        locality.id("connectivity::round_trips")
    }

    fn text(&self, locality: Locality) -> CheckText {
        CheckText {
            title: locality.by(
                "Round trips on a node meet the service levels for loss and latency",
                "Round trips between nodes meet the service levels for loss and latency",
                "Round trips between the clusters meet the service levels for loss and latency",
            ),
            proves: "The paths meet the service levels: at least `availability` of the UDP and TCP round trips \
                     succeed, and the 99th percentile of UDP is within `localLatency` or, between the clusters, \
                     `crossClusterLatency` of the thresholds.",
            how: "On every observed pair 600 datagrams of 64 B, one every 1.5 ms regardless of the ones before, and \
                  beside them 200 to 600 TCP connections with an echo of 64 B, one every 5 ms; no two pairs share an \
                  end at once. What gives no answer within 1 s is lost. A sequential test (Wald) weighs the allowed \
                  loss against five times as much: a pair without a loss is done; one with a loss is measured on, \
                  1,000 round trips at half the pace each time and 10,000 at most, until the odds are clear. A path \
                  that loses 0.1 % is red in less than one of a million trials. A pair that loses 0.5 % of its \
                  datagrams is red with a probability of 90 %, one that loses 1 % with 99 %. Losses that follow each \
                  other in the first series count as one; in later ones each counts. With three pairs or more, a pair \
                  whose fastest round trip takes more than 20 ms and more than ten times the median of the pairs is \
                  a finding too: something delays every packet there. So is a pair of one node over 20 ms, and a \
                  pair of nodes over 20 ms that is more than ten times as slow as the nodes themselves, or more than \
                  twice as slow as both of them are to another cluster. Latencies, loss and the agent's own lag are \
                  recorded for each pair.",
            control: "Every answer carries the server's identity. If the agent fell behind its own schedule by more \
                      than 50 ms, loss in bursts is inconclusive; single losses are the path's. If that lag, or tasks \
                      of the agent's machine that waited for a CPU most of the time, explain a 99th percentile over \
                      the limit twice, the median counts and the evidence says so: a slow network delays half of the \
                      packets, too.",
            when_red: "Loss: `kubectl --context CONTEXT -n kube-system exec AGENT_POD -c cilium-agent -- cilium-dbg \
                       metrics list | grep drop_count` before and after on both nodes, and `ip -s link` for drops and \
                       errors of the devices. One pair: the link between the two nodes; all pairs of a node: its \
                       device or CPU. Latency: `cilium-health status` of both nodes shows the underlay's own round \
                       trip; then check CPU pressure on the nodes named.",
        }
    }

    fn faults(&self, locality: Locality) -> &'static [&'static str] {
        locality.by(
            &["loss-same-node"],
            &["loss-cluster", "latency-cluster"],
            &["loss-mesh"],
        )
    }

    fn needs(&self) -> Needs {
        needs::ALONE
    }

    async fn run(&self, context: &CheckContext, paths: &Paths) -> Verdict {
        let thresholds = context.environment.facts().thresholds.clone();
        let mut measured = first_look(context, paths).await;
        let levels = Levels {
            promised: thresholds.availability,
            loss: LossTest::new(thresholds.availability, 2 * measured.len()),
            limit: limit(paths.locality, &thresholds),
        };
        let apart = |measured: &[Measured]| {
            let fastest: Vec<_> = measured.iter().map(|one| one.records[0].fastest()).collect();
            outliers(&fastest, paths.locality)
        };
        let further = |one: &Measured| {
            let open = |record: &Record| {
                record
                    .is_open(&levels)
                    .then(|| record.exchange().further_look(&one.path))
            };
            one.records.each_ref().map(open)
        };
        let mut doubtful: Vec<Series> = measured.iter().map(further).collect();
        for (one, ([datagrams, _], outlying)) in measured.iter().zip(doubtful.iter_mut().zip(apart(&measured))) {
            if outlying.is_some() {
                *datagrams = Some(Exchange::Datagram.further_look(&one.path));
            }
        }
        while doubtful.iter().flatten().any(Option::is_some) {
            // Not beside the second look of another cluster's trial: the first one may have been too much for a machine
            // that carries both.
            let turn = context.observed.of::<SecondLook>();
            let _turn = turn.0.lock().await;
            measure(context, &mut measured, &doubtful).await;
            doubtful = measured.iter().map(further).collect();
        }
        let mut outlying = apart(&measured);
        if paths.locality == Locality::OtherNode {
            unlike_neighbours(context, &measured, &mut outlying).await;
        }
        let judged: Vec<Judged> = measured
            .into_iter()
            .zip(outlying)
            .map(|(one, outlying)| {
                for record in &one.records {
                    record.leave(context, &one.path, &levels);
                }
                let cell = match (one.judge(&levels), outlying, one.records[0].starved()) {
                    (Cell::Ok(_), Some(_), Some(why)) => {
                        Cell::Unknown(format!("{why}, so that even the fastest round trip was slow"))
                    }
                    (Cell::Ok(_), Some(deviation), None) => Cell::Mismatch(deviation),
                    (cell, ..) => cell,
                };
                Judged { path: one.path, cell }
            })
            .collect();
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
        testing::{Ask, Fake, Shape, identity_of, instance_of, timeout},
    };
    use meshproof_contract::Action;

    fn limit_of(check: PathCheck<RoundTrips>) -> u64 {
        limit(check.locality(), &Thresholds::default()).as_micros() as u64
    }

    #[tokio::test(start_paused = true)]
    async fn the_promised_service_levels_are_what_counts() {
        for check in PathCheck::all(RoundTrips) {
            let promising = |ms| {
                Fake::healthy().latency(20_000).mesh_latency(20_000).facts(|facts| {
                    facts.thresholds.local_latency = Duration::from_millis(ms);
                    facts.thresholds.cross_cluster_latency = Duration::from_millis(ms);
                })
            };
            promising(45).expect(&check, instance_of(&check), "pass").await;
            promising(15).expect(&check, instance_of(&check), "fail").await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_loss_is_green_and_the_figures_are_kept() {
        for check in PathCheck::all(RoundTrips) {
            let text = Fake::healthy().expect(&check, instance_of(&check), "pass").await;
            assert!(
                text.contains("measured: round_trip ") && text.contains("p50 "),
                "{text}"
            );
            assert!(text.contains("measured: loss "), "{text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn five_percent_and_half_a_percent_are_red_and_one_in_a_thousand_is_not() {
        for check in PathCheck::all(RoundTrips) {
            let fake = Fake::healthy().rule(|p| p.number.is_multiple_of(20).then(timeout));
            let text = fake.expect(&check, instance_of(&check), "fail").await;
            assert!(text.contains("80 of 1600 lost, 5.0 %"), "{text}");
            let fake = Fake::healthy().rule(|p| (p.number % 200 == 7).then(timeout));
            fake.expect(&check, instance_of(&check), "fail").await;
            let fake = Fake::healthy().rule(|p| (p.number % 1000 == 7).then(timeout));
            fake.expect(&check, instance_of(&check), "pass").await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_path_that_carries_nothing_is_red() {
        for check in PathCheck::all(RoundTrips) {
            Fake::healthy()
                .rule(|_| Some(timeout()))
                .expect(&check, instance_of(&check), "fail")
                .await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn slow_paths_are_red_unless_the_agent_itself_was_slow() {
        for check in PathCheck::all(RoundTrips) {
            let limit = limit_of(check);
            let text = Fake::healthy()
                .latency(limit + 1000)
                .expect(&check, instance_of(&check), "fail")
                .await;
            assert!(text.contains("take too long"), "{text}");
            Fake::healthy()
                .rule(move |p| p.number.is_multiple_of(20).then(|| p.answered_after(limit + 1000)))
                .lag(5000)
                .expect(&check, instance_of(&check), "pass")
                .await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_pair_that_is_slow_unlike_the_others_is_red() {
        for check in PathCheck::all(RoundTrips) {
            let slow_at = |micros: u64| {
                let node = instance_of(&check).to().to_string() + "-2";
                Fake::healthy().rule(move |p| {
                    let is_there = p.to.is_some_and(|to| to.node.as_str() == node);
                    is_there.then(|| p.answered_after(micros))
                })
            };
            let text = slow_at(80_000).expect(&check, instance_of(&check), "fail").await;
            assert!(
                text.contains("every packet is delayed") && text.contains("80.0 ms"),
                "{text}"
            );
            slow_at(18_000).expect(&check, instance_of(&check), "pass").await;
            let all_far = Fake::healthy().latency(60_000).mesh_latency(60_000);
            let expected = check.locality().by("fail", "pass", "pass");
            all_far.expect(&check, instance_of(&check), expected).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn two_nodes_that_are_farther_from_each_other_than_from_another_cluster_are_red() {
        let check = PathCheck::other_node(RoundTrips);
        let shape = Shape { clusters: 2, nodes: 2 };
        let fake = Fake::of(shape).rule(|p| {
            let is_there =
                p.to.is_some_and(|to| to.id.cluster == p.from.id.cluster && to.node != p.from.node);
            is_there.then(|| p.answered_after(30_000))
        });
        let text = fake.expect(&check, instance_of(&check), "fail").await;
        assert!(
            text.contains("between the nodes themselves") || text.contains("to nodes of the other cluster 2.4 ms"),
            "{text}"
        );
        let far = Fake::of(shape).latency(30_000);
        far.expect(&check, instance_of(&check), "pass").await;
    }

    #[tokio::test(start_paused = true)]
    async fn connections_that_fail_are_red_though_datagrams_pass() {
        let is_connection = |action: &Action| matches!(action, Action::TcpEcho { .. });
        for check in PathCheck::all(RoundTrips) {
            let fake = Fake::healthy().rule(move |p| (is_connection(p.action) && p.number % 50 == 7).then(timeout));
            let text = fake.expect(&check, instance_of(&check), "fail").await;
            assert!(text.contains("connections fail or stall"), "{text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_that_passes_is_not_red_but_recorded() {
        for check in PathCheck::all(RoundTrips) {
            let fake = Fake::healthy().rule(|p| (p.batch == 0 && p.number < 100).then(timeout));
            let text = fake.expect(&check, instance_of(&check), "pass").await;
            assert!(text.contains("all but the first at half the pace: 100 of"), "{text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_busy_machine_is_not_a_lossy_network() {
        for check in PathCheck::all(RoundTrips) {
            let scattered = Fake::healthy().rule(|p| p.number.is_multiple_of(10).then(timeout));
            scattered.lag(200_000).expect(&check, instance_of(&check), "fail").await;
            let lossy = || Fake::healthy().rule(|p| (p.number % 100 < 30).then(timeout));
            lossy()
                .lag(200_000)
                .expect(&check, instance_of(&check), "inconclusive")
                .await;
            lossy().lag(10_000).expect(&check, instance_of(&check), "fail").await;
            let spikes = |every: u32| {
                let slow = limit_of(check) + 60_000;
                let spiky = move |p: &Ask<'_>| p.number.is_multiple_of(every).then(|| p.answered_after(slow));
                Fake::healthy().starved(1_900_000).rule(spiky)
            };
            let text = spikes(20).expect(&check, instance_of(&check), "pass").await;
            assert!(text.contains("judged by the median"), "{text}");
            spikes(1).expect(&check, instance_of(&check), "fail").await;
            let dead = Fake::healthy().lag(200_000).rule(|_| Some(timeout()));
            dead.expect(&check, instance_of(&check), "fail").await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_wrong_server_is_red() {
        let fake =
            Fake::healthy().rule(|p| (p.number == 7).then(|| p.answered_as(identity_of("infra", "infra-9", "server"))));
        for check in PathCheck::all(RoundTrips) {
            fake.clone().expect(&check, instance_of(&check), "fail").await;
        }
    }
}
