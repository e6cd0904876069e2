//! The API server answers in time.

use crate::kit::next_steps;
use async_trait::async_trait;
use meshproof_contract::{
    Check, CheckContext, CheckId, CheckText, Distribution, EnvironmentError, ObjectRef, Scope, Tally, Unit, Verdict,
};
use tokio::time::{Duration, Instant, sleep};

/// Times of the API server.
pub struct ApiServer;

/// So many reads, one after the other.
const READS: usize = 5;
/// What is slow is measured again after so long.
const AGAIN: Duration = Duration::from_secs(5);

#[async_trait]
impl Check for ApiServer {
    fn id(&self) -> CheckId {
        CheckId::from("components::api_server")
    }

    fn text(&self) -> CheckText {
        CheckText {
            title: "The API server answers a simple read in time",
            proves: "Controllers, kubelets and Cilium's agents learn of changes from an API server that is not slow \
                     by itself (`apiLatency` of the thresholds): what they do late is not its doing.",
            how: "One small object is read five times, one after the other, and the median counts. Over the threshold \
                  it is measured again 5 s later, and both must be over it.",
            control: "At least three reads must be answered; otherwise the check is inconclusive.",
            when_red: "`kubectl --context CONTEXT get --raw '/readyz?verbose'` shows which part is not ready, `kubectl \
                       --context CONTEXT get --raw /metrics | grep apiserver_request_duration` where the time goes. \
                       Then look at the disk of etcd and the CPU of the control plane; a webhook that is slow delays \
                       writes only.",
        }
    }

    fn scope(&self) -> Scope {
        Scope::Cluster
    }
    fn faults(&self) -> &'static [&'static str] {
        &["api-server-slow"]
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        let facts = context.environment.facts();
        let cluster = context.instance.from();
        let limit = facts.thresholds.api_latency;
        let mut times = match measure(context).await {
            Ok(times) => times,
            Err(verdict) => return verdict,
        };
        if median(&times) > limit {
            sleep(AGAIN).await;
            match measure(context).await {
                Ok(again) if median(&again) < median(&times) => times = again,
                Ok(_) => {}
                Err(verdict) => return verdict,
            }
        }
        context.measure_latencies("api_latency", cluster.as_str(), times.clone());
        let micros = |value: u64| Unit::Microseconds.quantity(value as f64);
        let mut tally = Tally::new();
        if median(&times) > limit {
            tally.finding(
                format!("API server of {cluster}"),
                format!("half of the reads answered within {} ms", limit.as_millis()),
                format!(
                    "median {} of {} reads, fastest {}",
                    micros(times.p50),
                    times.count,
                    micros(times.min)
                ),
            );
            context.suggest(next_steps::kubectl(&facts, cluster, "get --raw '/readyz?verbose'"));
        } else {
            let (median, count) = (micros(times.p50), times.count);
            tally.witness(format!(
                "the API server of {cluster} answers: median {median} of {count} reads"
            ));
        }
        tally.verdict()
    }
}

fn median(times: &Distribution) -> Duration {
    Duration::from_micros(times.p50)
}

async fn measure(context: &CheckContext) -> Result<Distribution, Verdict> {
    let cluster = context.instance.from();
    let object = ObjectRef::cluster_wide("v1", "Namespace", "kube-system");
    let (mut times, mut failed) = (Vec::new(), None);
    for _ in 0..READS {
        let began = Instant::now();
        match context.environment.get(cluster, &object).await {
            Ok(_) => times.push(u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX)),
            Err(error) => failed = Some(error),
        }
    }
    let enough = times.len() > READS / 2;
    Distribution::of(times)
        .filter(|_| enough)
        .ok_or_else(|| unread(context, failed))
}

fn unread(context: &CheckContext, failed: Option<EnvironmentError>) -> Verdict {
    let cluster = context.instance.from();
    let why = failed.map(|error| format!(": {error}")).unwrap_or_default();
    Verdict::inconclusive(format!("the API server of {cluster} did not answer most reads{why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        components::tests::world::healthy,
        testing::{MISSION, infra},
    };

    #[tokio::test(start_paused = true)]
    async fn the_threshold_is_what_counts() {
        let taking = |millis| healthy(MISSION).api_latency(Duration::from_millis(millis));
        taking(0).expect(&ApiServer, infra(), "pass").await;
        taking(900).expect(&ApiServer, infra(), "pass").await;
        let said = taking(1_500).expect(&ApiServer, infra(), "fail").await;
        assert!(
            said.contains("API server of infra") && said.contains("median 1.5 s of 5 reads"),
            "{said}"
        );
        taking(1_500)
            .facts(|facts| facts.thresholds.api_latency = Duration::from_secs(2))
            .expect(&ApiServer, infra(), "pass")
            .await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_not_be_read_is_inconclusive() {
        healthy(MISSION)
            .get_refused("Namespace")
            .expect(&ApiServer, infra(), "inconclusive")
            .await;
    }
}
