//! How long lookups take, from every node.

use super::ALONE;
use super::zone::{Zone, address_record};
use crate::matrix::place;
use crate::probes::{self, DEADLINE};
use async_trait::async_trait;
use futures::future::join_all;
use meshproof_contract::{
    Check, CheckContext, CheckId, CheckText, Distribution, Needs, Outcome, Probe, Scope, Tally, Transport, Unit,
    Verdict,
};
use std::time::Duration;

/// Latency of lookups through the DNS service's address.
pub struct Latency;

const LOOKUPS: u32 = 200;
const SPACING: Duration = Duration::from_millis(5);
/// The service level for what stays inside a cluster, in microseconds.
const LIMIT: u64 = 100_000;
/// Share of lookups that must be answered for the latency to mean anything.
const ANSWERED: f64 = 0.8;

#[async_trait]
impl Check for Latency {
    fn id(&self) -> CheckId {
        CheckId::from("dns::latency")
    }

    fn text(&self) -> CheckText {
        CheckText {
            title: "99 % of the lookups are answered within 100 ms, from every node",
            proves: "Cluster DNS is quick enough for the service level of local traffic, wherever the pod is and whichever replica answers.",
            how: "The client on every node asks for the service's absolute name over UDP 200 times, 5 ms apart whatever happened to the ones before, through its own nameserver. The 99th percentile must be within 100 ms. \
                  Lost lookups are recorded; more than one in five is a finding here too (a path that loses one in ten passes in all but one of a million runs), less is judged by connectivity::round_trips.",
            control: "The lookups that were answered: without any the result is a finding for silence, and inconclusive if the agent could not ask. An excess that is no more than the agent's own lag is inconclusive.",
            when_red: "`kubectl --context CONTEXT -n kube-system top pods -l k8s-app=kube-dns` (CPU limit reached?), conntrack and drops on the node named; one node only: its path to the replicas, see dns::replica_answers.",
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
        let series = Probe::series(once.action, DEADLINE, LOOKUPS, SPACING);
        let mut tally = Tally::new();
        zone.note_missing(&mut tally);
        let rows = join_all(zone.askers.iter().map(|asker| {
            let series = series.clone();
            async move { (asker, context.environment.probe(&asker.id, vec![series]).await) }
        }))
        .await;
        for (asker, row) in rows {
            let from = place(asker);
            match row.as_deref() {
                Ok(
                    [
                        Outcome::Series {
                            latencies,
                            failures,
                            lag,
                            ..
                        },
                    ],
                ) => judge(context, &from, latencies, failures, *lag, &mut tally),
                Ok([Outcome::LocalError { reason }]) => {
                    tally.unknown(format!("{from}: the agent could not try: {reason}"))
                }
                Ok(_) => tally.unknown(format!("{from}: the agent answered something else than it was asked")),
                Err(error) => tally.unknown(format!("{from}: {error}")),
            }
        }
        tally.verdict()
    }
}

fn judge(
    context: &CheckContext,
    from: &str,
    latencies: &[u32],
    failures: &[(u32, Outcome)],
    lag: u64,
    tally: &mut Tally,
) {
    if let Some((_, failure)) = failures.iter().find(|(_, failure)| failure.is_local_error()) {
        tally.unknown(format!("{from}: {failure}"));
        return;
    }
    let asked = latencies.len() + failures.len();
    if asked < LOOKUPS as usize {
        tally.unknown(format!("{from}: only {asked} of {LOOKUPS} lookups were tried"));
        return;
    }
    context.measure("lookups_lost", from, failures.len() as f64 / asked as f64, Unit::Ratio);
    if (latencies.len() as f64) < ANSWERED * asked as f64 {
        let first = failures
            .first()
            .map(|(_, failure)| format!("; the first: {failure}"))
            .unwrap_or_default();
        tally.finding(
            format!("lookups from {from}"),
            "at least four in five are answered",
            format!("{} of {asked} were not{first}", failures.len()),
        );
        return;
    }
    let Some(times) = Distribution::of(latencies.iter().map(|t| u64::from(*t))) else {
        tally.unknown(format!("{from}: no lookup was timed"));
        return;
    };
    for (figure, value) in [("lookup_p50", times.p50), ("lookup_p99", times.p99)] {
        context.measure(figure, from, value as f64, Unit::Microseconds);
    }
    let ms = |us: u64| us as f64 / 1000.0;
    if times.p99 <= LIMIT {
        tally.witness(format!(
            "{from}: {} lookups, p50 {:.1} ms, p99 {:.1} ms",
            times.count,
            ms(times.p50),
            ms(times.p99)
        ));
    } else if times.p99.saturating_sub(lag) <= LIMIT {
        tally.unknown(format!(
            "{from}: the agent fell behind its own schedule by up to {:.0} ms",
            ms(lag)
        ));
    } else {
        tally.finding(
            format!("lookups from {from}"),
            "99 % within 100 ms (service level)",
            format!("p50 {:.1} ms, p99 {:.1} ms", ms(times.p50), ms(times.p99)),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{Fake, infra, timeout};

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
            Fake::healthy().latency(101_000).lag(2_000),
            Fake::healthy().local_errors(),
            Fake::healthy().agents_gone(),
            Fake::healthy().without_agents(),
        ];
        for fake in fakes {
            fake.expect(&Latency, infra(), "inconclusive").await;
        }
    }
}
