//! How long lookups take, from every node.

use crate::kit::{
    availability::{FIRST, FURTHER, Loss, LossCount, LossTest},
    cpu_pressure,
    dns::zone::{Zone, address_record},
    needs,
    probes::{self, DEADLINE},
};
use async_trait::async_trait;
use futures::future::join_all;
use meshproof_contract::{
    AgentFacts, Check, CheckContext, CheckId, CheckText, Distribution, EnvironmentError, Needs, NodeLabel, Outcome,
    Percent, Probe, Scope, Tally, Transport, Unit, Verdict,
};
use std::time::Duration;

/// Latency of lookups through the DNS service's address.
pub struct Latency;

const SPACING: Duration = Duration::from_millis(4);
/// Spacing when a node is measured again.
const SLOW_SPACING: Duration = Duration::from_millis(8);

#[async_trait]
impl Check for Latency {
    fn id(&self) -> CheckId {
        CheckId::from("dns::latency")
    }

    fn text(&self) -> CheckText {
        CheckText {
            title: "DNS lookups from every node meet the service levels for loss and latency",
            proves: "Cluster DNS answers, and fast enough for the service level of local traffic, wherever the pod is \
                     and whichever replica answers: at least `availability` of the lookups are answered, and their \
                     99th percentile is within `dnsLatency` of the thresholds.",
            how: "The client on every node asks its own nameserver for the service's absolute name over UDP 600 \
                  times, one every 4 ms regardless of the ones before. Lost lookups are judged by the sequential test \
                  of connectivity::round_trips_*: a node that loses one lookup or more is measured on, 1,000 lookups \
                  at half the pace each time, until the odds are clear. A node that loses 0.1 % is red in less than \
                  one of a million trials, one that loses 0.5 % with a probability of 90 %, one that loses 1 % with \
                  99 %. A node that is slow is measured once more before it counts.",
            control: "The lookups that were answered. If none was, silence is a finding, and a failure of the agent \
                      is inconclusive, as is loss in bursts with a lag above 50 ms. If the agent's own lag or a \
                      machine short of CPU explains slow lookups twice, the median counts, and the witness says so.",
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
        &["dns-slow", "dns-lossy"]
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
        let promised = &zone.facts.thresholds;
        let levels = Levels {
            promised: promised.availability,
            loss: LossTest::new(promised.availability, zone.askers.len()),
            limit: promised.dns_latency,
        };
        let mut nodes: Vec<Lookups> = zone.askers.iter().map(Lookups::of).collect();
        let mut doubtful: Vec<&mut Lookups> = nodes.iter_mut().collect();
        let (mut count, mut spacing) = (FIRST, SPACING);
        while !doubtful.is_empty() {
            join_all(doubtful.iter_mut().map(|lookups| {
                let series = Probe::series(once.action.clone(), DEADLINE, count, spacing);
                async move {
                    let seen = context.environment.probe(&lookups.asker.id, vec![series.clone()]).await;
                    lookups.take(&series, &seen);
                }
            }))
            .await;
            doubtful.retain(|lookups| lookups.is_open(&levels));
            (count, spacing) = (FURTHER, SLOW_SPACING);
        }
        for lookups in nodes {
            lookups.conclude(context, &levels, &mut tally);
        }
        tally.verdict()
    }
}

/// The service levels that a node is judged by.
struct Levels {
    promised: Percent,
    loss: LossTest,
    limit: Duration,
}

/// What one node's lookups have shown so far.
struct Lookups {
    asker: AgentFacts,
    series: u32,
    count: LossCount,
    /// Of the last series, as what follows.
    latencies: Option<Distribution>,
    lag: u64,
    starved: Option<u64>,
    over: Duration,
    /// Why the last series says nothing.
    unknown: Option<String>,
}

enum Judgement {
    Ok(String),
    Mismatch { expected: String, observed: String },
    Unknown(String),
}

impl Lookups {
    fn of(asker: &AgentFacts) -> Self {
        Self {
            asker: asker.clone(),
            series: 0,
            count: LossCount::default(),
            latencies: None,
            lag: 0,
            starved: None,
            over: Duration::ZERO,
            unknown: None,
        }
    }

    fn take(&mut self, probe: &Probe, seen: &Result<Vec<Outcome>, EnvironmentError>) {
        self.series += 1;
        self.unknown = self.add(probe, seen).err();
    }

    fn add(&mut self, probe: &Probe, seen: &Result<Vec<Outcome>, EnvironmentError>) -> Result<(), String> {
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
            Ok([Outcome::LocalError { reason }]) => return Err(format!("the agent could not try: {reason}")),
            Ok(_) => return Err("unexpected outcome for a series of lookups".to_owned()),
            Err(error) => return Err(error.to_string()),
        };
        if let Some((_, failure)) = failures.iter().find(|(_, failure)| failure.is_local_error()) {
            return Err(failure.to_string());
        }
        let asked = (latencies.len() + failures.len()) as u32;
        if asked < probe.count {
            return Err(format!("only {asked} of {} lookups were attempted", probe.count));
        }
        self.count.add(latencies.len() as u32, failures, lag);
        self.latencies = Distribution::of(latencies.iter().map(|t| u64::from(*t)));
        (self.lag, self.starved, self.over) = (lag, starved, probe.interval * asked);
        Ok(())
    }

    /// Whether a further series may change what it says.
    fn is_open(&self, levels: &Levels) -> bool {
        match self.series {
            1 if self.count.is_silent() => false,
            1 => self.count.is_open(&levels.loss) || !matches!(self.judge(levels), Judgement::Ok(_)),
            _ => self.unknown.is_none() && self.count.is_open(&levels.loss),
        }
    }

    fn judge(&self, levels: &Levels) -> Judgement {
        if let Some(why) = &self.unknown {
            return Judgement::Unknown(why.clone());
        }
        match (self.count.judge(&levels.loss), &self.latencies) {
            (Loss::Unknown(why), _) => Judgement::Unknown(why),
            (Loss::AsPromised, Some(times)) => self.judge_latency(times, levels.limit),
            (Loss::AsPromised | Loss::TooMuch, _) => Judgement::Mismatch {
                expected: format!(
                    "at least {} of the lookups are answered (service level)",
                    levels.promised
                ),
                observed: self.count.to_string(),
            },
        }
    }

    fn judge_latency(&self, times: &Distribution, limit: Duration) -> Judgement {
        let (p50, p99) = (ms(times.p50), ms(times.p99));
        if times.p99 <= limit.as_micros() as u64 {
            return Judgement::Ok(format!(
                "{} of {} lookups lost, p50 {p50:.1} ms, p99 {p99:.1} ms (service level {} ms)",
                self.count.lost(),
                self.count.sent(),
                limit.as_millis()
            ));
        }
        if let Some(why) = cpu_pressure::delays(times, self.lag, self.starved, self.over, limit) {
            // A slow server is slow for half of the lookups, too.
            if self.series > 1 && times.p50 <= limit.as_micros() as u64 {
                return Judgement::Ok(format!(
                    "{} of {} lookups lost, p50 {p50:.1} ms (service level {} ms); {why}, so the median is judged \
                     instead of the 99th percentile",
                    self.count.lost(),
                    self.count.sent(),
                    limit.as_millis()
                ));
            }
            return Judgement::Unknown(format!(
                "{why}, so a p99 of {p99:.1} ms says nothing about the DNS server"
            ));
        }
        Judgement::Mismatch {
            expected: format!("99 % within {} ms (service level)", limit.as_millis()),
            observed: format!("p50 {p50:.1} ms, p99 {p99:.1} ms"),
        }
    }

    fn conclude(&self, context: &CheckContext, levels: &Levels, tally: &mut Tally) {
        let from = NodeLabel::from(&self.asker);
        if self.count.sent() > 0 {
            context.measure("lookups_lost", &from, self.count.share(), Unit::Ratio);
        }
        if let Some(latencies) = &self.latencies {
            context.measure_latencies("lookup", &from, latencies.clone());
        }
        if self.series > 1 {
            context.note(format!("{from}: measured in {} series: {}", self.series, self.count));
        }
        match self.judge(levels) {
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
            .rule(|p| (p.number % 1000 == 7).then(timeout))
            .expect(&Latency, infra(), "pass")
            .await;
    }

    #[tokio::test(start_paused = true)]
    async fn slow_or_lost_lookups_are_red() {
        let text = Fake::healthy().latency(150_000).expect(&Latency, infra(), "fail").await;
        assert!(text.contains("99 % within 100 ms"), "{text}");
        Fake::healthy()
            .rule(|p| (p.number % 150 == 7).then(timeout))
            .expect(&Latency, infra(), "fail")
            .await;
        Fake::healthy()
            .rule(|_| Some(timeout()))
            .expect(&Latency, infra(), "fail")
            .await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_busy_machine_is_judged_by_the_median_and_its_lost_bursts_are_inconclusive() {
        let slow = [
            Fake::healthy()
                .lag(60_000)
                .rule(|p| p.number.is_multiple_of(10).then(|| p.resolved_after(120_000))),
            Fake::healthy()
                .starved(5_900_000)
                .rule(|p| p.number.is_multiple_of(10).then(|| p.resolved_after(500_000))),
        ];
        for fake in slow {
            let text = fake.expect(&Latency, infra(), "pass").await;
            assert!(text.contains("the median is judged"), "{text}");
        }
        let lossy = Fake::healthy()
            .lag(200_000)
            .rule(|p| (p.number % 100 < 30).then(timeout));
        lossy.expect(&Latency, infra(), "inconclusive").await;
    }
}
