//! A thousand round trips a pair: how many are lost, and how long they take.

mod series;

pub use series::series;

use super::ALONE;
use crate::kit::matrix::{self, Cell, Judged, Locality, Path, Paths, Seen, Wording, WorkloadPair};
use async_trait::async_trait;
use meshproof_contract::{Check, CheckContext, CheckId, CheckText, Needs, Scope, Tally, Thresholds, Verdict};
use series::{Judgement, judge, outliers};
use std::time::Duration;

/// Loss and latency over one locality of paths.
pub struct RoundTrips {
    locality: Locality,
}

/// On one node.
pub const SAME_NODE: RoundTrips = RoundTrips {
    locality: Locality::SameNode,
};
/// Between the nodes of a cluster.
pub const OTHER_NODE: RoundTrips = RoundTrips {
    locality: Locality::OtherNode,
};
/// Between clusters.
pub const OTHER_CLUSTER: RoundTrips = RoundTrips {
    locality: Locality::OtherCluster,
};

/// Round trips a pair.
const SAMPLES: u32 = 1000;
/// Spacing of their starts, whatever happened to the ones before (open loop).
const SPACING: Duration = Duration::from_micros(1500);
/// Spacing when a path is measured again.
const SLOW_SPACING: Duration = Duration::from_millis(4);

impl RoundTrips {
    /// The 99th percentile that the service levels allow.
    fn limit(&self, promised: &Thresholds) -> Duration {
        self.locality.by(
            promised.local_latency,
            promised.local_latency,
            promised.cross_cluster_latency,
        )
    }

    fn judge(&self, path: &Path, seen: &Seen, limit: Duration) -> Judgement {
        match seen.as_deref() {
            Ok([outcome]) => judge(path, outcome, limit),
            Ok(_) => Judgement::of(Cell::Unknown(
                "the agent answered something else than it was asked".to_owned(),
            )),
            Err(error) => Judgement::of(Cell::Unknown(error.to_string())),
        }
    }
}

#[async_trait]
impl Check for RoundTrips {
    fn id(&self) -> CheckId {
        CheckId::from(self.locality.by(
            "connectivity::round_trips_same_node",
            "connectivity::round_trips_other_node",
            "connectivity::round_trips_other_cluster",
        ))
    }

    fn text(&self) -> CheckText {
        CheckText {
            title: self.locality.by(
                "A thousand round trips on a node: none lost, p99 under 100 ms",
                "A thousand round trips between nodes: none lost, p99 under 100 ms",
                "A thousand round trips between the clusters: none lost, p99 under 500 ms",
            ),
            proves: "The paths meet the service levels: success of at least 99.9 % and the 99th percentile of the round trip within its limit.",
            how: "1,000 datagrams of 64 B a pair, 1.5 ms apart whatever happened to the ones before, over all pairs where there are no more than 12, else a set in which every node asks and is asked; no two pairs with a common end at once. \
                  A round trip is lost when nothing is back after 1 s. Expected loss is 0; more than 5 of 1,000 (0.5 %) is a finding. \
                  That is a one-sided binomial test: a path that loses 0.1 %, the service level, exceeds it in 6 of 10,000 measurements; one that \
                  loses 2 % stays below in 1 of 10,000, one that loses 5 % never (2 in 10^16). What is not right is measured once more at half the pace before it counts, unless nothing at all came back. Where there are three pairs or more, one whose quickest round trip takes more than 20 ms and more than ten times the median of the pairs is a finding too: something holds up every packet there. p50, p99, loss and the generator's own lag are recorded per pair.",
            control: "Every answer carries the server's identity. If the agent fell behind its own schedule by more than 50 ms, loss in bursts is inconclusive (losses that stand singly are the path's), and so is a p99 over the \
                      limit by no more than that lag, or, beside a quickest packet within it, while tasks of the agent's machine waited for a CPU most of the time: then the machine is busy, not the network slow.",
            when_red: "Loss: `kubectl --context CONTEXT -n kube-system exec POD -c cilium-agent -- cilium-dbg metrics list | grep drop_count` before and after on both nodes, \
                       `ip -s link` for drops and errors of the devices; one pair only: the link between, all pairs of a node: its device or CPU. \
                       Latency: `cilium-health status` of both nodes for the underlay's own round trip, then CPU pressure on the nodes named.",
        }
    }

    fn scope(&self) -> Scope {
        self.locality.scope()
    }
    fn needs(&self) -> Needs {
        ALONE
    }
    fn faults(&self) -> &'static [&'static str] {
        self.locality.by(
            &["loss-same-node"],
            &["loss-cluster", "latency-cluster"],
            &["loss-mesh"],
        )
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        let facts = context.environment.facts();
        let paths = match Paths::of(&facts, &context.instance, self.locality, WorkloadPair::PODS) {
            Ok(paths) => paths,
            Err(verdict) => return verdict,
        };
        let rounds = paths.rounds();
        let chosen = rounds.concat();
        let (environment, limit) = (context.environment.as_ref(), self.limit(&facts.thresholds));
        let measure = async |paths: &[Path], spacing: Duration| -> Vec<Judgement> {
            let seen = matrix::observe(environment, paths, |path| vec![series(path, SAMPLES, spacing)]).await;
            paths
                .iter()
                .zip(&seen)
                .map(|(path, seen)| self.judge(path, seen, limit))
                .collect()
        };
        let mut judgements = Vec::new();
        for round in &rounds {
            judgements.extend(measure(round, SPACING).await);
        }
        let apart = |judgements: &[Judgement]| outliers(&judgements.iter().map(|j| j.quickest).collect::<Vec<_>>());
        let outlying = apart(&judgements);
        let is_doubtful = |at: &usize| judgements[*at].may_be_chance || outlying[*at].is_some();
        let doubtful: Vec<usize> = (0..chosen.len()).filter(is_doubtful).collect();
        if !doubtful.is_empty() {
            let again: Vec<Path> = doubtful.iter().map(|i| chosen[*i].clone()).collect();
            let second = measure(&again, SLOW_SPACING).await;
            for (index, judgement) in doubtful.into_iter().zip(second) {
                let path = &chosen[index];
                context.note(format!("{path}: measured again at half the pace"));
                judgements[index] = judgement;
            }
        }
        let outlying = apart(&judgements);
        let judged: Vec<Judged> = chosen
            .iter()
            .zip(judgements.into_iter().zip(outlying))
            .map(|(path, (judgement, outlying))| {
                for (figure, value, unit) in judgement.figures {
                    context.measure(figure, path.to_string(), value, unit);
                }
                Judged {
                    path: path.clone(),
                    cell: match (judgement.cell, outlying) {
                        (Cell::Ok(_), Some(deviation)) => Cell::Mismatch(deviation),
                        (cell, _) => cell,
                    },
                }
            })
            .collect();
        let mut tally = Tally::new();
        let wording = Wording {
            what: "1,000 round trips a pair",
            right: "within the service levels",
            figure: None,
        };
        matrix::conclude(context, &paths, wording, &judged, &mut tally).await;
        tally.verdict()
    }
}

#[cfg(test)]
mod tests {
    use super::series::ALLOWED_LOSS;
    use super::*;
    use crate::testing::{Fake, identity_of, infra, infra_to_apps, timeout};
    use meshproof_contract::Instance;

    fn all() -> [(RoundTrips, Instance); 3] {
        [
            (SAME_NODE, infra()),
            (OTHER_NODE, infra()),
            (OTHER_CLUSTER, infra_to_apps()),
        ]
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

    #[tokio::test]
    async fn the_promised_service_levels_are_what_counts() {
        for (check, instance) in all() {
            let promising = |ms| {
                Fake::healthy().latency(20_000).mesh_latency(20_000).facts(|facts| {
                    facts.thresholds.local_latency = Duration::from_millis(ms);
                    facts.thresholds.cross_cluster_latency = Duration::from_millis(ms);
                })
            };
            promising(45).expect(&check, instance.clone(), "pass").await;
            promising(15).expect(&check, instance, "fail").await;
        }
    }

    #[tokio::test]
    async fn no_loss_is_green_and_the_figures_are_kept() {
        for (check, instance) in all() {
            let text = Fake::healthy().expect(&check, instance, "pass").await;
            assert!(text.contains("round_trip_p99") && text.contains("loss"), "{text}");
        }
    }

    #[tokio::test]
    async fn five_percent_are_red_and_five_in_a_thousand_are_not() {
        for (check, instance) in all() {
            let fake = Fake::healthy().rule(|p| p.number.is_multiple_of(20).then(timeout));
            let text = fake.expect(&check, instance.clone(), "fail").await;
            assert!(text.contains("50 of 1000 lost, 5.0 %"), "{text}");
            let fake = Fake::healthy().rule(|p| p.number.is_multiple_of(200).then(timeout));
            fake.expect(&check, instance, "pass").await;
        }
    }

    #[tokio::test]
    async fn a_path_that_carries_nothing_is_red() {
        for (check, instance) in all() {
            Fake::healthy()
                .rule(|_| Some(timeout()))
                .expect(&check, instance, "fail")
                .await;
        }
    }

    #[tokio::test]
    async fn slow_paths_are_red_unless_the_agent_itself_was_slow() {
        for (check, instance) in all() {
            let limit = check.limit(&Thresholds::default()).as_micros() as u64;
            let text = Fake::healthy()
                .latency(limit + 1000)
                .expect(&check, instance.clone(), "fail")
                .await;
            assert!(text.contains("take too long"), "{text}");
            Fake::healthy()
                .rule(move |p| p.number.is_multiple_of(20).then(|| p.answered_after(limit + 1000)))
                .lag(5000)
                .expect(&check, instance, "inconclusive")
                .await;
        }
    }

    #[tokio::test]
    async fn a_pair_that_is_slow_unlike_the_others_is_red() {
        for (check, instance) in all() {
            let slow_at = |micros: u64| {
                let from = instance.to().to_string() + "-2";
                Fake::healthy().rule(move |p| {
                    let is_there = p.to.is_some_and(|to| to.node.as_str() == from);
                    is_there.then(|| p.answered_after(micros))
                })
            };
            let text = slow_at(80_000).expect(&check, instance.clone(), "fail").await;
            assert!(
                text.contains("every packet is held up") && text.contains("80.0 ms"),
                "{text}"
            );
            slow_at(18_000).expect(&check, instance.clone(), "pass").await;
            let all_far = Fake::healthy().latency(60_000).mesh_latency(60_000);
            all_far.expect(&check, instance, "pass").await;
        }
    }

    #[tokio::test]
    async fn a_burst_that_passes_is_not_red_but_recorded() {
        for (check, instance) in all() {
            let fake = Fake::healthy().rule(|p| (p.batch == 0 && p.number < 100).then(timeout));
            let text = fake.expect(&check, instance, "pass").await;
            assert!(text.contains("measured again at half the pace"), "{text}");
        }
    }

    #[tokio::test]
    async fn a_busy_machine_is_not_a_lossy_network() {
        for (check, instance) in all() {
            let scattered = Fake::healthy().rule(|p| p.number.is_multiple_of(10).then(timeout));
            scattered.lag(200_000).expect(&check, instance.clone(), "fail").await;
            let lossy = || Fake::healthy().rule(|p| (p.number % 100 < 30).then(timeout));
            lossy()
                .lag(200_000)
                .expect(&check, instance.clone(), "inconclusive")
                .await;
            lossy().lag(10_000).expect(&check, instance.clone(), "fail").await;
            let spikes = |every: u32| {
                let slow = check.limit(&Thresholds::default()).as_micros() as u64 + 60_000;
                let spiky =
                    move |p: &crate::testing::Ask<'_>| p.number.is_multiple_of(every).then(|| p.answered_after(slow));
                Fake::healthy().starved(1_900_000).rule(spiky)
            };
            spikes(20).expect(&check, instance.clone(), "inconclusive").await;
            spikes(1).expect(&check, instance.clone(), "fail").await;
            let dead = Fake::healthy().lag(200_000).rule(|_| Some(timeout()));
            dead.expect(&check, instance, "fail").await;
        }
    }

    #[tokio::test]
    async fn a_wrong_server_is_red() {
        let fake =
            Fake::healthy().rule(|p| (p.number == 7).then(|| p.answered_as(identity_of("infra", "infra-9", "server"))));
        for (check, instance) in all() {
            fake.clone().expect(&check, instance, "fail").await;
        }
    }

    #[tokio::test]
    async fn what_the_harness_could_not_see_is_inconclusive() {
        for (check, instance) in all() {
            Fake::healthy()
                .local_errors()
                .expect(&check, instance.clone(), "inconclusive")
                .await;
            Fake::healthy()
                .agents_gone()
                .expect(&check, instance.clone(), "inconclusive")
                .await;
            Fake::healthy()
                .without_agents()
                .expect(&check, instance, "inconclusive")
                .await;
        }
    }
}
