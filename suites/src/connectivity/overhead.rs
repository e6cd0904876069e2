//! How much longer a round trip to the other cluster takes than one to another node.

use crate::kit::{
    cpu_pressure,
    matrix::{self, Cell, Deviation, Judged, Locality, Path, Paths, Quantity, Seen, Wording, WorkloadPair},
    needs, probes,
};
use async_trait::async_trait;
use meshproof_contract::{
    Check, CheckContext, CheckId, CheckText, Distribution, Environment, Instance, Needs, Outcome, Scope, Tally, Unit,
    Verdict,
};
use std::time::Duration;

/// Median round trip to the other cluster less the median to other nodes.
pub struct CrossClusterOverhead;

/// Round trips a pair: a median needs fewer than a 99th percentile.
const SAMPLES: u32 = 300;
const SPACING: Duration = Duration::from_millis(2);
/// Spacings of one measurement after the other, in multiples of that: the second for what is over the limit, the others
/// for what a busy machine hides.
const PACES: [u32; 4] = [1, 2, 5, 10];
const WORDING: Wording = Wording {
    what: "cross-cluster overhead",
    ok: "within the service level above the cluster's own median",
    figure: None,
};

/// What one path's series says about times.
struct Times {
    all: Vec<u64>,
    lag: u64,
    starved: Option<u64>,
}

/// The times of one path, or why there are none to compare.
fn times(path: &Path, seen: &Seen) -> Result<Times, String> {
    match seen.as_deref() {
        Ok([Outcome::Series { served_by, .. }]) if served_by.iter().any(|(identity, _)| !path.is_server(identity)) => {
            Err("another pod than the one asked answered, see connectivity::round_trips_other_cluster".to_owned())
        }
        Ok(
            [
                Outcome::Series {
                    latencies,
                    lag,
                    starved,
                    ..
                },
            ],
        ) if latencies.len() >= SAMPLES as usize / 2 => Ok(Times {
            all: latencies.iter().map(|t| u64::from(*t)).collect(),
            lag: *lag,
            starved: *starved,
        }),
        Ok([Outcome::LocalError { reason }]) => Err(format!("the agent could not try: {reason}")),
        Ok([outcome]) => Err(format!("too few answers for a median: {outcome}")),
        Ok(_) => Err("unexpected number of outcomes for one series".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// One measurement: the paths within the cluster, and those between the clusters judged against them.
struct Comparison {
    inside: Option<Distribution>,
    across: Vec<Judged>,
    unknown: Vec<String>,
    figures: Vec<(Path, f64)>,
}

impl Comparison {
    async fn measure(
        environment: &dyn Environment,
        near: &[Vec<Path>],
        far: &[Vec<Path>],
        spacing: Duration,
        limit: Duration,
    ) -> Self {
        let probes = |path: &Path| vec![probes::udp_series(path, SAMPLES, spacing)];
        let (mut near_seen, mut far_seen) = (Vec::new(), Vec::new());
        // Pairs inside are measured in every round across, over again where there are fewer.
        for (inside, across) in near.iter().cycle().zip(far) {
            let (seen_inside, seen_across) = futures::join!(
                matrix::observe(environment, inside, probes),
                matrix::observe(environment, across, probes),
            );
            near_seen.extend(inside.iter().zip(seen_inside));
            far_seen.extend(across.iter().zip(seen_across));
        }
        let mut comparison = Self {
            inside: None,
            across: Vec::new(),
            unknown: Vec::new(),
            figures: Vec::new(),
        };
        let mut local = Vec::new();
        for (path, seen) in &near_seen {
            match times(path, seen) {
                Ok(times) => local.extend(times.all),
                Err(why) => comparison.unknown.push(format!("{path}: {why}")),
            }
        }
        comparison.inside = Distribution::of(local);
        if let Some(inside) = &comparison.inside {
            for (path, seen) in &far_seen {
                let (cell, overhead) = match times(path, seen) {
                    Ok(times) => judge(times, inside.p50, spacing, limit),
                    Err(why) => (Cell::Unknown(why), None),
                };
                comparison
                    .figures
                    .extend(overhead.map(|overhead| ((*path).clone(), overhead)));
                comparison.across.push(Judged {
                    path: (*path).clone(),
                    cell,
                });
            }
        }
        comparison
    }

    /// Whether a busy machine hides what some path takes, and nothing is known to be wrong.
    fn is_hidden(&self) -> bool {
        let unknown = |j: &Judged| matches!(j.cell, Cell::Unknown(_));
        let wrong = |j: &Judged| matches!(j.cell, Cell::Mismatch(_));
        self.across.iter().any(unknown) && !self.across.iter().any(wrong)
    }

    fn is_ok(&self) -> bool {
        self.unknown.is_empty() && self.across.iter().all(|j| matches!(j.cell, Cell::Ok(_)))
    }
}

/// Judges a path across against the median inside; the figure is its overhead in microseconds.
fn judge(times: Times, inside: u64, spacing: Duration, limit: Duration) -> (Cell, Option<f64>) {
    let limit_micros = limit.as_micros() as u64;
    let (lag, starved) = (times.lag, times.starved);
    let Some(times) = Distribution::of(times.all) else {
        return (Cell::Unknown("no round trip was timed".to_owned()), None);
    };
    let ms = |us: u64| us as f64 / 1000.0;
    let (median, overhead) = (times.p50, times.p50.saturating_sub(inside));
    let figure = Some(median as f64 - inside as f64);
    if overhead < limit_micros {
        return (Cell::Ok(Some(Quantity::micros(median))), figure);
    }
    // A long path is long for the fastest packet too; a busy machine delays some.
    if times.min.saturating_sub(inside) < limit_micros {
        if overhead.saturating_sub(lag) < limit_micros {
            return (Cell::Unknown(cpu_pressure::fell_behind(lag)), figure);
        }
        if let Some(why) = cpu_pressure::starved(starved, spacing * SAMPLES) {
            return (Cell::Unknown(why), figure);
        }
    }
    let detail = format!(
        "median {:.1} ms against {:.1} ms within the cluster, {:.1} ms more",
        ms(median),
        ms(inside),
        ms(overhead)
    );
    let expected = format!(
        "the median round trip to the other cluster exceeds the one to other nodes by less than {} ms (service level)",
        limit.as_millis()
    );
    let deviation = Deviation::new(expected, "the path between the clusters adds too much latency");
    let deviation = deviation.with_detail(detail).with_quantity(Quantity::micros(median));
    (Cell::Mismatch(deviation), figure)
}

#[async_trait]
impl Check for CrossClusterOverhead {
    fn id(&self) -> CheckId {
        CheckId::from("connectivity::cross_cluster_overhead")
    }

    fn text(&self) -> CheckText {
        CheckText {
            title: "Round trips between the clusters exceed local ones by less than the service level",
            proves: "From every node, the path between the clusters adds less than the service level \
                     (`crossClusterOverhead` of the thresholds) to what a path within a cluster takes.",
            how: "300 datagrams a pair, 2 ms apart, at the same time to other nodes of the own cluster (the same node \
                  if it has only one) and to the other cluster. Each goes over all pairs where there are at most 12, \
                  else over a set of pairs in which every node is source and target; no two pairs share an end at \
                  once. Each cross-cluster pair's median is compared with the median of all pairs within the cluster. \
                  What is over the limit is measured once more at half the pace, and what a busy machine hides up to \
                  three times, at a tenth of it in the end.",
            control: "The medians within the cluster, measured at the same time: without them, or with fewer than \
                      half of a pair's answers, the result is inconclusive. So is an excess that the agent's own lag \
                      or a shortage of CPU explains, unless even the fastest packet took too long.",
            when_red: "`kubectl --context CONTEXT -n kube-system exec ds/cilium -c cilium-agent -- cilium-health \
                       status` shows the underlay's own round trip between the nodes. A single pair: the route of \
                       that node; all pairs: the link between the sites.",
        }
    }

    fn scope(&self) -> Scope {
        Scope::Direction
    }
    fn needs(&self) -> Needs {
        needs::ALONE
    }
    fn faults(&self) -> &'static [&'static str] {
        &["latency-mesh"]
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        let facts = context.environment.facts();
        let inside = Instance::Cluster(context.instance.from().clone());
        let reference = Paths::of(&facts, &inside, Locality::OtherNode, WorkloadPair::PODS)
            .or_else(|_| Paths::of(&facts, &inside, Locality::SameNode, WorkloadPair::PODS));
        let across = Paths::of(&facts, &context.instance, Locality::OtherCluster, WorkloadPair::PODS);
        let (reference, across) = match (reference, across) {
            (Ok(reference), Ok(across)) => (reference, across),
            (Err(verdict), _) | (_, Err(verdict)) => return verdict,
        };
        let (near, far) = (reference.rounds(), across.rounds());
        let environment = context.environment.as_ref();
        let limit = facts.thresholds.cross_cluster_overhead;
        let mut comparison = Comparison::measure(environment, &near, &far, SPACING, limit).await;
        for (pace, before) in PACES.into_iter().skip(1).zip(PACES) {
            let is_repeated = before == PACES[0] || comparison.is_hidden();
            if comparison.is_ok() || !is_repeated {
                break;
            }
            context.note(format!(
                "measured again with a datagram every {} ms",
                (pace * SPACING).as_millis()
            ));
            comparison = Comparison::measure(environment, &near, &far, pace * SPACING, limit).await;
        }
        let mut tally = Tally::new();
        for why in comparison.unknown {
            tally.unknown(why);
        }
        let Some(inside) = comparison.inside else {
            let from = &reference.from;
            tally.unknown(format!(
                "nothing to compare with: no round trip succeeded within {from}"
            ));
            return tally.verdict();
        };
        let micros = Unit::Microseconds;
        context.measure("local_median", reference.describe(), inside.p50 as f64, micros);
        for (path, overhead) in comparison.figures {
            context.measure("cross_cluster_overhead", &path, overhead, micros);
        }
        let judged = comparison.across;
        matrix::conclude(context, &across, WORDING, &judged, &mut tally).await;
        tally.verdict()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Fake, infra_to_apps, timeout};

    #[tokio::test(start_paused = true)]
    async fn a_short_way_is_green_and_a_long_one_red() {
        let text = Fake::healthy()
            .expect(&CrossClusterOverhead, infra_to_apps(), "pass")
            .await;
        assert!(text.contains("cross_cluster_overhead"), "{text}");
        let slow = Fake::healthy().mesh_latency(200_000);
        let text = slow.expect(&CrossClusterOverhead, infra_to_apps(), "fail").await;
        assert!(text.contains("all 9 pairs infra -> apps"), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn slow_everywhere_is_not_overhead() {
        Fake::healthy()
            .latency(90_000)
            .mesh_latency(95_000)
            .expect(&CrossClusterOverhead, infra_to_apps(), "pass")
            .await;
    }

    #[tokio::test(start_paused = true)]
    async fn no_medians_are_inconclusive() {
        let silent = |cross: bool| {
            Fake::healthy()
                .rule(move |p| (p.to.is_some_and(|to| to.id.cluster != p.from.id.cluster) == cross).then(timeout))
        };
        silent(true)
            .expect(&CrossClusterOverhead, infra_to_apps(), "inconclusive")
            .await;
        silent(false)
            .expect(&CrossClusterOverhead, infra_to_apps(), "inconclusive")
            .await;
        Fake::healthy()
            .mesh_latency(60_000)
            .lag(30_000)
            .rule(|p| (p.number == 10).then(|| p.answered_after(500)))
            .expect(&CrossClusterOverhead, infra_to_apps(), "inconclusive")
            .await;
    }
}
