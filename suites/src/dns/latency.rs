//! How long lookups take, from every node.

use crate::kit::{
    cpu_pressure,
    dns::zone::{Zone, address_record},
    needs,
    probes::{self, DEADLINE},
};
use async_trait::async_trait;
use futures::future::join_all;
use meshproof_contract::{
    AgentFacts, Check, CheckContext, CheckId, CheckText, Distribution, EnvironmentError, Needs, NodeLabel, Outcome,
    Probe, Scope, Tally, Transport, Unit, Verdict,
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
            title: "99 % of the DNS lookups from every node are answered within the service level",
            proves: "Cluster DNS is fast enough for the service level of local traffic, wherever the pod is and \
                     whichever replica answers.",
            how: "The client on every node asks its own nameserver for the service's absolute name over UDP 200 \
                  times, one every 5 ms regardless of the ones before. The 99th percentile must be within \
                  `dnsLatency` of the thresholds. Lost lookups are recorded; more than one in five is a finding (a \
                  path that loses one in ten passes in all but one of a million runs), fewer are judged by \
                  connectivity::round_trips_*. A node that is not as expected is measured once more at half the pace \
                  before it counts.",
            control: "The lookups that were answered. If none was, silence is a finding, and a failure of the agent \
                      is inconclusive. An excess that the agent's own lag explains is inconclusive, and so is loss \
                      with a lag above 50 ms.",
            when_red: "`kubectl --context CONTEXT -n DNS_NAMESPACE top pods` for the pods behind the DNS Service (CPU \
                       limit reached?), then conntrack and drops on the node named. One node only: its path to the \
                       replicas, see dns::replica_answers.",
        }
    }

    fn scope(&self) -> Scope {
        Scope::Cluster
    }
    fn needs(&self) -> Needs {
        needs::ALONE
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
        let limit = zone.facts.thresholds.dns_latency;
        let measure = async |askers: &[AgentFacts], spacing: Duration| -> Vec<Lookups> {
            join_all(askers.iter().map(|asker| {
                let series = Probe::series(once.action.clone(), DEADLINE, LOOKUPS, spacing);
                async move {
                    let seen = context.environment.probe(&asker.id, vec![series]).await;
                    Lookups::of(asker.into(), &seen, limit)
                }
            }))
            .await
        };
        let mut nodes = measure(&zone.askers, SPACING).await;
        let doubtful: Vec<usize> = (0..nodes.len())
            .filter(|i| !matches!(nodes[*i].judgement, Judgement::Ok(_)))
            .collect();
        let again: Vec<AgentFacts> = doubtful.iter().map(|i| zone.askers[*i].clone()).collect();
        for (index, lookups) in doubtful.into_iter().zip(measure(&again, SLOW_SPACING).await) {
            context.note(format!("{}: measured again at half the pace", lookups.from));
            nodes[index] = lookups;
        }
        for lookups in nodes {
            lookups.conclude(context, &mut tally);
        }
        tally.verdict()
    }
}

/// What one node's lookups showed.
struct Lookups {
    from: NodeLabel,
    /// Share that was lost.
    lost: Option<f64>,
    latencies: Option<Distribution>,
    judgement: Judgement,
}

enum Judgement {
    Ok(String),
    Mismatch { expected: String, observed: String },
    Unknown(String),
}

impl Lookups {
    fn of(from: NodeLabel, seen: &Result<Vec<Outcome>, EnvironmentError>, limit: Duration) -> Self {
        let unknown = |why: String| Self {
            from: from.clone(),
            lost: None,
            latencies: None,
            judgement: Judgement::Unknown(why),
        };
        let (latencies, failures, lag, starved) = match seen.as_deref() {
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
            ) => (latencies, failures, *lag, *starved),
            Ok([Outcome::LocalError { reason }]) => return unknown(format!("the agent could not try: {reason}")),
            Ok(_) => return unknown("unexpected outcome for a series of lookups".to_owned()),
            Err(error) => return unknown(error.to_string()),
        };
        if let Some((_, failure)) = failures.iter().find(|(_, failure)| failure.is_local_error()) {
            return unknown(failure.to_string());
        }
        let asked = latencies.len() + failures.len();
        if asked < LOOKUPS as usize {
            return unknown(format!("only {asked} of {LOOKUPS} lookups were attempted"));
        }
        let times = Distribution::of(latencies.iter().map(|t| u64::from(*t)));
        let enough = |times: &&Distribution| times.count as f64 >= ANSWERED * asked as f64;
        Self {
            from,
            lost: Some(failures.len() as f64 / asked as f64),
            judgement: match times.as_ref().filter(enough) {
                Some(times) => judge_latency(times, lag, starved, limit),
                None => judge_loss(failures, asked, lag),
            },
            latencies: times,
        }
    }

    fn conclude(self, context: &CheckContext, tally: &mut Tally) {
        let from = self.from;
        if let Some(lost) = self.lost {
            context.measure("lookups_lost", &from, lost, Unit::Ratio);
        }
        if let Some(latencies) = self.latencies {
            context.measure_latencies("lookup", &from, latencies);
        }
        match self.judgement {
            Judgement::Ok(what) => tally.witness(format!("{from}: {what}")),
            Judgement::Mismatch { expected, observed } => {
                tally.finding(format!("lookups from {from}"), expected, observed);
            }
            Judgement::Unknown(why) => tally.unknown(format!("{from}: {why}")),
        }
    }
}

fn ms(micros: u64) -> f64 {
    micros as f64 / 1000.0
}

fn fell_behind(lag: u64) -> String {
    format!("the agent fell behind its own schedule by up to {:.0} ms", ms(lag))
}

fn judge_loss(failures: &[(u32, Outcome)], asked: usize, lag: u64) -> Judgement {
    // When the machine is busy datagrams are lost in its own queues; not all of them, though.
    if lag > cpu_pressure::LAG && failures.len() < asked {
        return Judgement::Unknown(fell_behind(lag));
    }
    let first = failures.first();
    let first = first
        .map(|(_, failure)| format!("; the first: {failure}"))
        .unwrap_or_default();
    Judgement::Mismatch {
        expected: "at least four in five lookups are answered".to_owned(),
        observed: format!("{} of {asked} lookups were not answered{first}", failures.len()),
    }
}

fn judge_latency(times: &Distribution, lag: u64, starved: Option<u64>, limit: Duration) -> Judgement {
    if times.p99 <= limit.as_micros() as u64 {
        let (p50, p99) = (ms(times.p50), ms(times.p99));
        return Judgement::Ok(format!(
            "{} lookups, p50 {p50:.1} ms, p99 {p99:.1} ms (service level {} ms)",
            times.count,
            limit.as_millis()
        ));
    }
    if let Some(why) = excuse(times, lag, starved, limit) {
        let p99 = ms(times.p99);
        return Judgement::Unknown(format!(
            "{why}, so a p99 of {p99:.1} ms says nothing about the DNS server"
        ));
    }
    Judgement::Mismatch {
        expected: format!("99 % within {} ms (service level)", limit.as_millis()),
        observed: format!("p50 {:.1} ms, p99 {:.1} ms", ms(times.p50), ms(times.p99)),
    }
}

/// Why slow lookups may be the agent's own doing. A slow server is slow for the fastest lookup too; a busy machine
/// delays some.
fn excuse(times: &Distribution, lag: u64, starved: Option<u64>, limit: Duration) -> Option<String> {
    let limit = limit.as_micros() as u64;
    if times.min > limit {
        return None;
    }
    if times.p99.saturating_sub(lag) <= limit {
        return Some(fell_behind(lag));
    }
    cpu_pressure::starved(starved, SPACING * LOOKUPS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Fake, infra, timeout};

    #[tokio::test(start_paused = true)]
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

    #[tokio::test(start_paused = true)]
    async fn quick_lookups_are_green_and_recorded() {
        let text = Fake::healthy().expect(&Latency, infra(), "pass").await;
        assert!(text.contains("measured: lookup ") && text.contains("p50 "), "{text}");
        Fake::healthy()
            .rule(|p| p.number.is_multiple_of(20).then(timeout))
            .expect(&Latency, infra(), "pass")
            .await;
    }

    #[tokio::test(start_paused = true)]
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

    #[tokio::test(start_paused = true)]
    async fn a_busy_machine_is_inconclusive() {
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
        ];
        for fake in fakes {
            fake.expect(&Latency, infra(), "inconclusive").await;
        }
    }
}
