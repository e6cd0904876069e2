//! A thousand round trips a pair: how many are lost, and how long they take.

use super::ALONE;
use crate::matrix::{self, Cell, Class, Deviation, Ends, Judged, Path, Paths, Wording};
use crate::probes::DEADLINE;
use async_trait::async_trait;
use meshproof_contract::{
    Action, Check, CheckContext, CheckId, CheckText, Distribution, Needs, Outcome, Probe, Scope, Tally, Unit, Verdict,
    port,
};
use std::time::Duration;

/// Loss and latency over one class of paths.
pub struct RoundTrips {
    class: Class,
}

/// On one node.
pub const SAME_NODE: RoundTrips = RoundTrips { class: Class::SameNode };
/// Between the nodes of a cluster.
pub const OTHER_NODE: RoundTrips = RoundTrips {
    class: Class::OtherNode,
};
/// Between clusters.
pub const OTHER_CLUSTER: RoundTrips = RoundTrips {
    class: Class::OtherCluster,
};

/// Round trips a pair.
pub const SAMPLES: u32 = 1000;
/// Spacing of their starts, whatever happened to the ones before (open loop).
pub const SPACING: Duration = Duration::from_millis(2);
/// Lost round trips of [`SAMPLES`] that are still no finding; see [`tests::the_stated_error_rates_hold`].
const ALLOWED_LOSS: usize = 5;
const LOSS: &str = "at most 5 of 1,000 round trips lost (service level 99.9 %)";

impl RoundTrips {
    /// The 99th percentile that the service levels allow.
    const fn limit(&self) -> Duration {
        self.class.pick(
            Duration::from_millis(100),
            Duration::from_millis(100),
            Duration::from_millis(500),
        )
    }

    fn judge(&self, context: &CheckContext, path: &Path, outcome: &Outcome) -> Cell {
        let Outcome::Series {
            latencies,
            failures,
            served_by,
            lag,
        } = outcome
        else {
            return matrix::silence(outcome, LOSS);
        };
        if let Some((number, failure)) = failures.iter().find(|(_, failure)| failure.is_local_error()) {
            return Cell::Unknown(format!("at number {number}: {failure}"));
        }
        let sent = latencies.len() + failures.len();
        if sent < SAMPLES as usize {
            return Cell::Unknown(format!("only {sent} of {SAMPLES} round trips were tried"));
        }
        if let Some((identity, times)) = served_by.iter().find(|(identity, _)| !path.is_server(identity)) {
            return Cell::Deviates(
                Deviation::new(
                    "every answer from exactly the pod asked",
                    "answered by another pod than the one asked",
                )
                .with_detail(format!("{times} times by {identity}")),
            );
        }
        let named: u64 = served_by.iter().map(|(_, times)| u64::from(*times)).sum();
        if named < latencies.len() as u64 {
            return Cell::Unknown(format!(
                "only {named} of {} answers told who gave them",
                latencies.len()
            ));
        }
        context.measure(
            "loss",
            path.to_string(),
            failures.len() as f64 / sent as f64,
            Unit::Ratio,
        );
        context.measure("generator_lag", path.to_string(), *lag as f64, Unit::Microseconds);
        if failures.len() > ALLOWED_LOSS {
            let first = failures
                .first()
                .map(|(number, f)| format!(", the first at number {number}: {f}"))
                .unwrap_or_default();
            let share = 100.0 * failures.len() as f64 / sent as f64;
            return Cell::Deviates(
                Deviation::new(LOSS, "packets are lost")
                    .with_detail(format!("{} of {sent} lost, {share:.1} %{first}", failures.len())),
            );
        }
        let Some(times) = Distribution::of(latencies.iter().map(|t| u64::from(*t))) else {
            return Cell::Unknown("no round trip was timed".to_owned());
        };
        for (name, value) in [("round_trip_p50", times.p50), ("round_trip_p99", times.p99)] {
            context.measure(name, path.to_string(), value as f64, Unit::Microseconds);
        }
        let limit = self.limit().as_micros() as u64;
        if times.p99 <= limit {
            return Cell::Right(Some(times.p50));
        }
        if times.p99.saturating_sub(*lag) <= limit {
            return Cell::Unknown(format!(
                "the agent fell behind its own schedule by up to {:.0} ms, so p99 of {:.0} ms says nothing about the network",
                *lag as f64 / 1000.0,
                times.p99 as f64 / 1000.0
            ));
        }
        Cell::Deviates(
            Deviation::new(
                format!(
                    "99 % of the round trips within {} ms (service level)",
                    self.limit().as_millis()
                ),
                "round trips take too long",
            )
            .with_detail(format!(
                "p50 {:.1} ms, p99 {:.1} ms",
                times.p50 as f64 / 1000.0,
                times.p99 as f64 / 1000.0
            )),
        )
    }
}

/// A series of small datagrams.
pub fn series(path: &Path, count: u32) -> Probe {
    Probe::series(
        Action::UdpEcho {
            to: path.target(port::UDP),
            payload: 64,
        },
        DEADLINE,
        count,
        SPACING,
    )
}

#[async_trait]
impl Check for RoundTrips {
    fn id(&self) -> CheckId {
        CheckId::from(self.class.pick(
            "connectivity::round_trips_same_node",
            "connectivity::round_trips_other_node",
            "connectivity::round_trips_other_cluster",
        ))
    }

    fn text(&self) -> CheckText {
        CheckText {
            title: self.class.pick(
                "A thousand round trips on a node: none lost, p99 under 100 ms",
                "A thousand round trips between nodes: none lost, p99 under 100 ms",
                "A thousand round trips between the clusters: none lost, p99 under 500 ms",
            ),
            proves: "The paths meet the service levels: success of at least 99.9 % and the 99th percentile of the round trip within its limit.",
            how: "1,000 datagrams of 64 B a pair, 2 ms apart whatever happened to the ones before, over a set of pairs in which every node asks and is asked. \
                  A round trip is lost when nothing is back after 1 s. Expected loss is 0; more than 5 of 1,000 (0.5 %) is a finding. \
                  That is a one-sided binomial test: a path that loses 0.1 %, the service level, is called red in 6 of 10,000 runs; one that \
                  loses 2 % is missed in 1 of 10,000, one that loses 5 % never (2 in 10^16). p50, p99, loss and the generator's own lag are recorded per pair.",
            control: "Every answer carries the server's identity. If p99 is over the limit by no more than the agent fell behind its own \
                      schedule, the result is inconclusive.",
            when_red: "Loss: `kubectl --context CONTEXT -n kube-system exec POD -c cilium-agent -- cilium-dbg metrics list | grep drop_count` before and after on both nodes, \
                       `ip -s link` for drops and errors of the devices; one pair only: the link between, all pairs of a node: its device or CPU. \
                       Latency: `cilium-health status` of both nodes for the underlay's own round trip, then CPU pressure on the nodes named.",
        }
    }

    fn scope(&self) -> Scope {
        self.class.scope()
    }
    fn needs(&self) -> Needs {
        ALONE
    }
    fn faults(&self) -> &'static [&'static str] {
        self.class.pick(
            &["loss-same-node"],
            &["loss-cluster", "latency-cluster"],
            &["loss-mesh"],
        )
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        let facts = context.environment.facts();
        let paths = match Paths::of(&facts, &context.instance, self.class, Ends::PODS) {
            Ok(paths) => paths,
            Err(verdict) => return verdict,
        };
        let covering = paths.covering();
        let seen = matrix::observe(context.environment.as_ref(), &covering, |path| {
            vec![series(path, SAMPLES)]
        })
        .await;
        let judged: Vec<Judged> = covering
            .iter()
            .zip(&seen)
            .map(|(path, seen)| Judged {
                path: path.clone(),
                cell: match seen {
                    Ok(outcomes) => matrix::judge_tries(outcomes, |outcome| self.judge(context, path, outcome)),
                    Err(error) => Cell::Unknown(error.to_string()),
                },
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
    use super::*;
    use crate::fake::{Fake, identity_of, infra, infra_to_apps, timeout};
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
            let limit = check.limit().as_micros() as u64;
            let text = Fake::healthy()
                .latency(limit + 1000)
                .expect(&check, instance.clone(), "fail")
                .await;
            assert!(text.contains("take too long"), "{text}");
            Fake::healthy()
                .latency(limit + 1000)
                .lag(5000)
                .expect(&check, instance, "inconclusive")
                .await;
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
