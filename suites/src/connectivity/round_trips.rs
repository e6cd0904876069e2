//! A thousand round trips a pair: how many are lost, and how long they take.

mod series;

use crate::kit::{
    matrix::{self, Cell, Judged, Locality, Path, Paths, Wording},
    needs,
    path_check::PathProbe,
    paths::WorkloadPair,
    probes,
};
use async_trait::async_trait;
use futures::future::join;
use meshproof_contract::{CheckContext, CheckId, CheckText, ClusterName, Instance, Needs, Tally, Thresholds, Verdict};
use series::{Judgement, SAMPLES, SPACING, outliers};
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// Loss and latency between pods.
#[derive(Clone, Copy, Debug)]
pub struct RoundTrips;

/// Spacing when a path is measured again.
const SLOW_SPACING: Duration = Duration::from_millis(4);
const WORDING: Wording = Wording {
    what: "1,000 round trips a pair",
    ok: "within the service levels",
    figure: None,
};

/// The 99th percentile that the service levels allow.
fn limit(locality: Locality, promised: &Thresholds) -> Duration {
    locality.by(
        promised.local_latency,
        promised.local_latency,
        promised.cross_cluster_latency,
    )
}

/// What one series on each of these paths shows.
async fn measure(context: &CheckContext, paths: &[Path], spacing: Duration, limit: Duration) -> Vec<Judgement> {
    let series = |path: &Path| vec![probes::udp_series(path, SAMPLES, spacing)];
    let seen = matrix::observe(context.environment.as_ref(), paths, series).await;
    let judgements = paths.iter().zip(&seen).map(|(path, seen)| match seen.as_deref() {
        Ok([outcome]) => series::judge(path, outcome, limit),
        Ok(_) => Judgement::of(Cell::Unknown("unexpected number of outcomes for one series".to_owned())),
        Err(error) => Judgement::of(Cell::Unknown(error.to_string())),
    });
    judgements.collect()
}

/// What all paths show, round by round.
async fn rounds(context: &CheckContext, paths: &Paths, limit: Duration) -> Vec<Judgement> {
    let mut judgements = Vec::new();
    for round in paths.rounds() {
        judgements.extend(measure(context, &round, SPACING, limit).await);
    }
    judgements
}

/// What was measured for the trial of the other direction, by clusters: both load the same clusters, but no pod asks or
/// is asked in both.
#[derive(Default)]
struct Ahead(Mutex<HashMap<(ClusterName, ClusterName), Vec<Judgement>>>);

/// Taken by one trial at a time.
#[derive(Default)]
struct SecondLook(tokio::sync::Mutex<()>);

impl Ahead {
    fn lock(&self) -> MutexGuard<'_, HashMap<(ClusterName, ClusterName), Vec<Judgement>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The first measurement of the paths; between clusters that of both directions, one for the trial of the other.
async fn first_look(context: &CheckContext, paths: &Paths, limit: Duration) -> Vec<Judgement> {
    if paths.locality != Locality::OtherCluster {
        return rounds(context, paths, limit).await;
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
            let (there, back_again) = join(rounds(context, paths, limit), rounds(context, &back, limit)).await;
            ahead.lock().insert((back.from, back.to), back_again);
            there
        }
        Err(_) => rounds(context, paths, limit).await,
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
                "1,000 round trips on a node meet the service levels for loss and latency",
                "1,000 round trips between nodes meet the service levels for loss and latency",
                "1,000 round trips between the clusters meet the service levels for loss and latency",
            ),
            proves: "The paths meet the service levels: at least 99.9 % of the round trips succeed, and their 99th \
                     percentile is within `localLatency` or, between the clusters, `crossClusterLatency` of the \
                     thresholds.",
            how: "1,000 datagrams of 64 B a pair, one every 1.5 ms regardless of the ones before, over all pairs \
                  where there are at most 12, else over a set of pairs in which every node is source and target; no \
                  two pairs share an end at once. A round trip without an echo after 1 s is lost. Expected loss is 0; \
                  more than 5 of 1,000 (0.5 %) is a finding. That is a one-sided binomial test: a path that loses 0.1 \
                  %, the service level, exceeds it in 6 of 10,000 measurements; one that loses 2 % stays below in 1 \
                  of 10,000, one that loses 5 % never (2 in 10^16). A pair that is not as expected is measured once \
                  more at half the pace before it counts, unless nothing at all came back. With three pairs or more, \
                  a pair whose fastest round trip takes more than 20 ms and more than ten times the median of the \
                  pairs is a finding too: something delays every packet there. Latencies, loss and the agent's own \
                  lag are recorded for each pair.",
            control: "Every answer carries the server's identity. If the agent fell behind its own schedule by more \
                      than 50 ms, loss in bursts is inconclusive; single losses are the path's. A 99th percentile \
                      over the limit is inconclusive if that lag explains it, or if the fastest packet was within the \
                      limit and tasks of the agent's machine waited for a CPU most of the time: then the machine is \
                      busy, not the network slow.",
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
        let limit = limit(paths.locality, &context.environment.facts().thresholds);
        let pairs = paths.rounds().concat();
        let mut judgements = first_look(context, paths, limit).await;
        let apart = |judgements: &[Judgement]| outliers(&judgements.iter().map(Judgement::fastest).collect::<Vec<_>>());
        let outlying = apart(&judgements);
        let doubtful: Vec<usize> = (0..pairs.len())
            .filter(|at| judgements[*at].may_be_chance || outlying[*at].is_some())
            .collect();
        if !doubtful.is_empty() {
            // Not beside the second look of another cluster's trial: the first one may have been too much for a machine
            // that carries both.
            let turn = context.observed.of::<SecondLook>();
            let _turn = turn.0.lock().await;
            let again: Vec<Path> = doubtful.iter().map(|at| pairs[*at].clone()).collect();
            let repeated = measure(context, &again, SLOW_SPACING, limit).await;
            for (at, judgement) in doubtful.into_iter().zip(repeated) {
                context.note(format!("{}: measured again at half the pace", pairs[at]));
                judgements[at] = judgement;
            }
        }
        let outlying = apart(&judgements);
        let judgements = judgements.into_iter().zip(outlying);
        let judged: Vec<Judged> = pairs
            .into_iter()
            .zip(judgements)
            .map(|(path, (judgement, outlying))| {
                judgement.record(context, &path);
                let cell = match (judgement.cell, outlying) {
                    (Cell::Ok(_), Some(deviation)) => Cell::Mismatch(deviation),
                    (cell, _) => cell,
                };
                Judged { path, cell }
            })
            .collect();
        let mut tally = Tally::new();
        matrix::conclude(context, paths, WORDING, &judged, &mut tally).await;
        tally.verdict()
    }
}

#[cfg(test)]
mod tests {
    use super::{series::ALLOWED_LOSS, *};
    use crate::{
        kit::path_check::PathCheck,
        testing::{Ask, Fake, identity_of, instance_of, timeout},
    };

    fn limit_of(check: PathCheck<RoundTrips>) -> u64 {
        limit(check.locality(), &Thresholds::default()).as_micros() as u64
    }

    /// Probability of more than [`ALLOWED_LOSS`] losses at that rate.
    fn red_at(loss: f64) -> f64 {
        let mut term = (1.0 - loss).powi(SAMPLES as i32);
        let mut green = term;
        for k in 1..=ALLOWED_LOSS as i32 {
            term *= (f64::from(SAMPLES) - f64::from(k) + 1.0) / f64::from(k) * loss / (1.0 - loss);
            green += term;
        }
        1.0 - green
    }

    #[test]
    fn the_stated_error_rates_hold() {
        assert!((red_at(0.001) - 0.0006).abs() < 0.0001, "{}", red_at(0.001));
        assert!(1.0 - red_at(0.02) < 1.0e-4, "{}", red_at(0.02));
        assert!(1.0 - red_at(0.05) < 1.0e-15, "{}", red_at(0.05));
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
    async fn five_percent_are_red_and_five_in_a_thousand_are_not() {
        for check in PathCheck::all(RoundTrips) {
            let fake = Fake::healthy().rule(|p| p.number.is_multiple_of(20).then(timeout));
            let text = fake.expect(&check, instance_of(&check), "fail").await;
            assert!(text.contains("50 of 1000 lost, 5.0 %"), "{text}");
            let fake = Fake::healthy().rule(|p| p.number.is_multiple_of(200).then(timeout));
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
                .expect(&check, instance_of(&check), "inconclusive")
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
            all_far.expect(&check, instance_of(&check), "pass").await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_that_passes_is_not_red_but_recorded() {
        for check in PathCheck::all(RoundTrips) {
            let fake = Fake::healthy().rule(|p| (p.batch == 0 && p.number < 100).then(timeout));
            let text = fake.expect(&check, instance_of(&check), "pass").await;
            assert!(text.contains("measured again at half the pace"), "{text}");
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
            spikes(20).expect(&check, instance_of(&check), "inconclusive").await;
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
