//! How long lookups take, from every node.

use super::ALONE;
use crate::kit::cpu_pressure;
use crate::kit::dns::zone::{Zone, address_record};
use crate::kit::matrix::place;
use crate::kit::probes::{self, DEADLINE};
use async_trait::async_trait;
use futures::future::join_all;
use meshproof_contract::{
    AgentFacts, Check, CheckContext, CheckId, CheckText, Distribution, EnvironmentError, Needs, Outcome, Probe, Scope,
    Tally, Transport, Unit, Verdict,
};
use std::time::Duration;

/// Latency of lookups through the DNS service's address.
pub struct Latency;

const LOOKUPS: u32 = 200;
const SPACING: Duration = Duration::from_millis(5);
/// Spacing when a node is measured again.
const SLOW_SPACING: Duration = Duration::from_millis(10);
/// Share of lookups that must be answered for the latency to mean anything.
const ANSWERED: f64 = 0.8;

#[async_trait]
impl Check for Latency {
    fn id(&self) -> CheckId {
        CheckId::from("dns::latency")
    }

    fn text(&self) -> CheckText {
        CheckText {
            title: "99 % of the lookups are answered within the service level (100 ms), from every node",
            proves: "Cluster DNS is quick enough for the service level of local traffic, wherever the pod is and whichever replica answers.",
            how: "The client on every node asks for the service's absolute name over UDP 200 times, 5 ms apart whatever happened to the ones before, through its own nameserver. The 99th percentile must be within `dnsLatency` of the thresholds (100 ms by default). \
                  Lost lookups are recorded; more than one in five is a finding here too (a path that loses one in ten passes in all but one of a million runs), less is judged by connectivity::round_trips.",
            control: "The lookups that were answered: without any the result is a finding for silence, and inconclusive if the agent could not ask. What is not right is measured once more at half the pace before it counts. An excess that is no more than the agent's own lag is inconclusive, and so is loss with a lag above 50 ms.",
            when_red: "`kubectl --context CONTEXT -n NAMESPACE top pods` for the pods behind the DNS Service (CPU limit reached?), conntrack and drops on the node named; one node only: its path to the replicas, see dns::replica_answers.",
        }
    }

    fn scope(&self) -> Scope {
        Scope::Cluster
    }
    fn needs(&self) -> Needs {
        ALONE
    }
    fn faults(&self) -> &'static [&'static str] {
        &["dns-slow"]
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        let zone = match Zone::of(context) {
            Ok(zone) => zone,
            Err(verdict) => return verdict,
        };
        let (service, address) = match zone.cluster_ip(context, "server") {
            Ok(found) => found,
            Err(verdict) => return verdict,
        };
        let name = zone.absolute(&service.namespace, &service.name);
        let once = probes::dns(&name, address_record(address), None, Transport::Udp);
        let mut tally = Tally::new();
        zone.note_missing(&mut tally);
        let limit = context.environment.facts().thresholds.dns_latency;
        let measure = async |askers: &[AgentFacts], spacing: Duration| -> Vec<Row> {
            join_all(askers.iter().map(|asker| {
                let series = Probe::series(once.action.clone(), DEADLINE, LOOKUPS, spacing);
                async move {
                    let seen = context.environment.probe(&asker.id, vec![series]).await;
                    Row::of(&place(asker), &seen, limit)
                }
            }))
            .await
        };
        let mut rows = measure(&zone.askers, SPACING).await;
        let doubtful: Vec<usize> = (0..rows.len())
            .filter(|i| !matches!(rows[*i].said, Said::Right(_)))
            .collect();
        let again: Vec<AgentFacts> = doubtful.iter().map(|i| zone.askers[*i].clone()).collect();
        for (index, row) in doubtful.into_iter().zip(measure(&again, SLOW_SPACING).await) {
            context.note(format!("{}: measured again at half the pace", row.from));
            rows[index] = row;
        }
        for row in rows {
            row.tell(context, &mut tally);
        }
        tally.verdict()
    }
}

/// What one node's lookups said.
struct Row {
    from: String,
    figures: Vec<(&'static str, f64, Unit)>,
    said: Said,
}

enum Said {
    Right(String),
    Wrong { expected: String, observed: String },
    Unknown(String),
}

impl Row {
    fn of(from: &str, seen: &Result<Vec<Outcome>, EnvironmentError>, limit: Duration) -> Self {
        let mut figures = Vec::new();
        let said = match seen.as_deref() {
            Ok(
                [
                    Outcome::Series {
                        latencies,
                        failures,
                        lag,
                        starved,
                        ..
                    },
                ],
            ) => judge(latencies, failures, (*lag, *starved), limit, &mut figures),
            Ok([Outcome::LocalError { reason }]) => Said::Unknown(format!("the agent could not try: {reason}")),
            Ok(_) => Said::Unknown("the agent answered something else than it was asked".to_owned()),
            Err(error) => Said::Unknown(error.to_string()),
        };
        Self {
            from: from.to_owned(),
            figures,
            said,
        }
    }

    fn tell(self, context: &CheckContext, tally: &mut Tally) {
        for (figure, value, unit) in self.figures {
            context.measure(figure, &self.from, value, unit);
        }
        match self.said {
            Said::Right(what) => tally.witness(format!("{}: {what}", self.from)),
            Said::Wrong { expected, observed } => {
                tally.finding(format!("lookups from {}", self.from), expected, observed)
            }
            Said::Unknown(why) => tally.unknown(format!("{}: {why}", self.from)),
        }
    }
}

fn judge(
    latencies: &[u32],
    failures: &[(u32, Outcome)],
    (lag, starved): (u64, Option<u64>),
    limit: Duration,
    figures: &mut Vec<(&'static str, f64, Unit)>,
) -> Said {
    let ms = |us: u64| us as f64 / 1000.0;
    let lagged = || {
        Said::Unknown(format!(
            "the agent fell behind its own schedule by up to {:.0} ms",
            ms(lag)
        ))
    };
    if let Some((_, failure)) = failures.iter().find(|(_, failure)| failure.is_local_error()) {
        return Said::Unknown(failure.to_string());
    }
    let asked = latencies.len() + failures.len();
    if asked < LOOKUPS as usize {
        return Said::Unknown(format!("only {asked} of {LOOKUPS} lookups were tried"));
    }
    figures.push(("lookups_lost", failures.len() as f64 / asked as f64, Unit::Ratio));
    let times = Distribution::of(latencies.iter().map(|t| u64::from(*t)));
    let Some(times) = times.filter(|times| times.count as f64 >= ANSWERED * asked as f64) else {
        // When the machine is busy datagrams are lost in its own queues; not all of them, though.
        if lag > cpu_pressure::LAG && !latencies.is_empty() {
            return lagged();
        }
        let first = failures
            .first()
            .map(|(_, failure)| format!("; the first: {failure}"))
            .unwrap_or_default();
        return Said::Wrong {
            expected: "at least four in five are answered".to_owned(),
            observed: format!("{} of {asked} were not{first}", failures.len()),
        };
    };
    figures.push(("lookup_p50", times.p50 as f64, Unit::Microseconds));
    figures.push(("lookup_p99", times.p99 as f64, Unit::Microseconds));
    if times.p99 <= limit.as_micros() as u64 {
        Said::Right(format!(
            "{} lookups, p50 {:.1} ms, p99 {:.1} ms",
            times.count,
            ms(times.p50),
            ms(times.p99)
        ))
    } else if let Some(why) = excuse(&times, lag, starved, limit) {
        Said::Unknown(format!(
            "{why}, so p99 of {:.1} ms says nothing about the DNS server",
            ms(times.p99)
        ))
    } else {
        Said::Wrong {
            expected: format!("99 % within {} ms (service level)", limit.as_millis()),
            observed: format!("p50 {:.1} ms, p99 {:.1} ms", ms(times.p50), ms(times.p99)),
        }
    }
}

/// Why slow lookups may be the agent's own doing. A slow server is slow for the quickest lookup too; a busy machine delays some.
fn excuse(times: &Distribution, lag: u64, starved: Option<u64>, limit: Duration) -> Option<String> {
    let limit = limit.as_micros() as u64;
    if times.min > limit {
        return None;
    }
    if times.p99.saturating_sub(lag) <= limit {
        let lag = lag as f64 / 1000.0;
        return Some(format!("the agent fell behind its own schedule by up to {lag:.0} ms"));
    }
    cpu_pressure::starved(starved, SPACING * LOOKUPS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Fake, infra, timeout};

    #[tokio::test]
    async fn the_promised_service_level_is_what_counts() {
        let promising = |ms| {
            Fake::healthy()
                .latency(20_000)
                .facts(|facts| facts.thresholds.dns_latency = Duration::from_millis(ms))
        };
        promising(25).expect(&Latency, infra(), "pass").await;
        let text = promising(15).expect(&Latency, infra(), "fail").await;
        assert!(text.contains("99 % within 15 ms"), "{text}");
    }

    #[tokio::test]
    async fn quick_lookups_are_green_and_recorded() {
        let text = Fake::healthy().expect(&Latency, infra(), "pass").await;
        assert!(text.contains("lookup_p99"), "{text}");
        Fake::healthy()
            .rule(|p| p.number.is_multiple_of(20).then(timeout))
            .expect(&Latency, infra(), "pass")
            .await;
    }

    #[tokio::test]
    async fn slow_or_lost_lookups_are_red() {
        let text = Fake::healthy().latency(150_000).expect(&Latency, infra(), "fail").await;
        assert!(text.contains("99 % within 100 ms"), "{text}");
        Fake::healthy()
            .rule(|p| p.number.is_multiple_of(4).then(timeout))
            .expect(&Latency, infra(), "fail")
            .await;
        Fake::healthy()
            .rule(|_| Some(timeout()))
            .expect(&Latency, infra(), "fail")
            .await;
    }

    #[tokio::test]
    async fn what_the_harness_could_not_see_is_inconclusive() {
        let fakes = [
            Fake::healthy()
                .lag(60_000)
                .rule(|p| p.number.is_multiple_of(10).then(|| p.resolved_after(120_000))),
            Fake::healthy()
                .starved(900_000)
                .rule(|p| p.number.is_multiple_of(10).then(|| p.resolved_after(500_000))),
            Fake::healthy()
                .lag(200_000)
                .rule(|p| p.number.is_multiple_of(3).then(timeout)),
            Fake::healthy().local_errors(),
            Fake::healthy().agents_gone(),
            Fake::healthy().without_agents(),
        ];
        for fake in fakes {
            fake.expect(&Latency, infra(), "inconclusive").await;
        }
    }
}
