//! Requests to a Service from every node: how many are lost on the way that a Service adds to a path.

use super::{NEEDS, ask::Exchange, judge::suggest, side::Side, steady::while_steady};
use crate::kit::{
    availability::{FIRST, FURTHER, Loss, LossCount, LossTest},
    probes,
};
use async_trait::async_trait;
use futures::future::join_all;
use meshproof_contract::{
    Admission, AgentFacts, Check, CheckContext, CheckId, CheckText, Needs, NodeLabel, Outcome, Probe, Scope, Tally,
    Target, Unit, Verdict,
};
use std::time::Duration;

/// Loss of requests to a Service.
pub struct Availability;

/// The Service: where clusters are joined its backends are in all of them.
const SERVICE: &str = "svc-global";
const SPACING: Duration = Duration::from_micros(2500);
/// Spacing when a client is measured again.
const SLOW_SPACING: Duration = Duration::from_millis(5);
/// Requests, and the port of the Service that takes them.
const EXCHANGES: [(Exchange, &str, &str); 2] = [(Exchange::Http, "http", "HTTP"), (Exchange::Udp, "udp", "UDP")];

#[async_trait]
impl Check for Availability {
    fn id(&self) -> CheckId {
        CheckId::from("service::availability")
    }
    fn text(&self) -> CheckText {
        CheckText {
            title: "Requests to a Service are answered from every node as often as the service level promises",
            proves: "No node sends a share of its requests to a backend that is gone, or loses them in its own load \
                     balancing: at least `availability` of the thresholds are answered.",
            how: "The client on every node sends 600 GETs, each over a new connection, and beside them 600 datagrams \
                  to the cluster IP of `svc-global`, one every 2.5 ms regardless of the ones before. What gives no \
                  answer within 1 s is lost. A client that loses one request or more is measured on with 3.5 s for \
                  each, since a busy machine answers late and a backend that is gone never does: 1,000 requests at \
                  half the pace each time, judged by the sequential test of connectivity::round_trips_*, until the \
                  odds are clear. A node that loses 0.1 % is red in less than one of a million trials, one that loses \
                  0.5 % with a probability of 85 %, one that loses 1 % with 99 %.",
            control: "The requests that were answered. A client without any answer is a finding; one that could not \
                      try is inconclusive, and so is loss in bursts with a lag of the agent above 50 ms. A backend \
                      that became unready meanwhile makes a failure inconclusive.",
            when_red: "`kubectl --context CONTEXT -n kube-system exec AGENT_POD -c cilium-agent -- cilium-dbg bpf lb \
                       list` on the node named: an address behind the Service that no pod has? If the suite \
                       connectivity is red for the same node, start there.",
        }
    }
    fn scope(&self) -> Scope {
        Scope::Cluster
    }
    fn needs(&self) -> Needs {
        Needs {
            admission: Admission::ExclusiveInCluster,
            ..NEEDS
        }
    }
    fn faults(&self) -> &'static [&'static str] {
        &["service-stale-backend-on-node"]
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        while_steady(context, observe(context)).await
    }
}

async fn observe(context: &CheckContext) -> Result<Verdict, Verdict> {
    let side = Side::of(context, context.instance.from())?;
    let mut tally = Tally::new();
    side.report_missing(&mut tally);
    let promised = side.facts.thresholds.availability;
    let mut streams = Vec::new();
    for (exchange, port, name) in EXCHANGES {
        let to = side.target(SERVICE, port)?;
        streams.extend(
            side.clients
                .iter()
                .map(|client| Requests::of(client, exchange, &to, name)),
        );
    }
    let test = LossTest::new(promised, streams.len());
    let mut open: Vec<&mut Requests> = streams.iter_mut().collect();
    let (mut count, mut spacing) = (FIRST, SPACING);
    while !open.is_empty() {
        join_all(open.iter_mut().map(|requests| requests.send(context, count, spacing))).await;
        open.retain(|requests| requests.is_open(&test));
        (count, spacing) = (FURTHER, SLOW_SPACING);
    }
    for requests in &streams {
        requests.conclude(context, &test, &mut tally);
    }
    if tally.has_findings() {
        suggest(context, &side, None);
    }
    Ok(tally.verdict())
}

/// The requests of one client by one protocol.
struct Requests<'a> {
    client: &'a AgentFacts,
    probe: Probe,
    name: &'static str,
    series: u32,
    /// Of the series that counts: the first one, or all after it.
    count: LossCount,
    /// The first one, where something was lost in it.
    first: Option<LossCount>,
    unknown: Option<String>,
}

impl<'a> Requests<'a> {
    fn of(client: &'a AgentFacts, exchange: Exchange, to: &Target, name: &'static str) -> Self {
        Self {
            client,
            probe: Probe::once(exchange.action(to.clone()), probes::DEADLINE),
            name,
            series: 0,
            count: LossCount::default(),
            first: None,
            unknown: None,
        }
    }

    async fn send(&mut self, context: &CheckContext, count: u32, spacing: Duration) {
        if self.series == 1 {
            // A machine that is busy for a second answers late; a backend that is gone never does.
            self.first = Some(std::mem::take(&mut self.count));
            self.probe = probes::patient(self.probe.clone());
        }
        self.series += 1;
        let series = Probe::series(self.probe.action.clone(), self.probe.deadline, count, spacing);
        let seen = context.environment.probe(&self.client.id, vec![series]).await;
        self.unknown = match seen.as_deref() {
            Ok([outcome]) => self.take(outcome, count).err(),
            Ok(_) => Some("unexpected number of outcomes for one series".to_owned()),
            Err(error) => Some(error.to_string()),
        };
    }

    fn take(&mut self, outcome: &Outcome, count: u32) -> Result<(), String> {
        let Outcome::Series {
            latencies,
            failures,
            served_by,
            lag,
            ..
        } = outcome
        else {
            return Err(outcome.to_string());
        };
        if let Some((number, failure)) = failures.iter().find(|(_, failure)| failure.is_local_error()) {
            return Err(format!("request {number}: {failure}"));
        }
        let sent = latencies.len() + failures.len();
        if sent < count as usize {
            return Err(format!("only {sent} of {count} requests were attempted"));
        }
        let named: u32 = served_by.iter().map(|(_, times)| times).sum();
        if (named as usize) < latencies.len() {
            return Err("something other than a probe agent answered".to_owned());
        }
        self.count.add(latencies.len() as u32, failures, *lag);
        Ok(())
    }

    fn is_open(&self, test: &LossTest) -> bool {
        match &self.unknown {
            Some(_) => self.series < 2,
            None => self.count.is_open(test),
        }
    }

    fn conclude(&self, context: &CheckContext, test: &LossTest, tally: &mut Tally) {
        let from = NodeLabel::from(self.client);
        let what = format!("{SERVICE} over {} from {from}", self.name);
        if self.count.sent() > 0 {
            context.measure(
                "requests_lost",
                format!("{from}, {}", self.name),
                self.count.share(),
                Unit::Ratio,
            );
        }
        if let Some(first) = &self.first {
            let patience = probes::PATIENT.as_millis();
            context.note(format!(
                "{what}: {first} within 1 s; measured on with {patience} ms for each: {}",
                self.count
            ));
        }
        if let Some(why) = &self.unknown {
            return tally.unknown(format!("{what}: {why}"));
        }
        match self.count.judge(test) {
            Loss::AsPromised => tally.witness(format!("{what}: {} of {} lost", self.count.lost(), self.count.sent())),
            Loss::Unknown(why) => tally.unknown(format!("{what}: {why}")),
            Loss::TooMuch => tally.finding(
                what,
                format!(
                    "at least {} of the requests are answered (service level)",
                    context.environment.facts().thresholds.availability
                ),
                self.count.to_string(),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::world::{healthy, healthy_but},
        *,
    };
    use crate::testing::{infra, local_error, timeout};

    #[tokio::test(start_paused = true)]
    async fn no_loss_is_green_and_one_in_two_hundred_is_red_and_names_the_node() {
        let text = healthy().expect(&Availability, infra(), "pass").await;
        assert!(text.contains("0 of 600 lost"), "{text}");
        let lossy = |every: u32| {
            healthy_but(move |p| (p.from.node.as_str() == "infra-2" && p.number % every == 7).then(timeout))
        };
        let text = lossy(200).expect(&Availability, infra(), "fail").await;
        assert!(
            text.contains("of 4000 lost") && !text.contains("from infra-1 | expected"),
            "{text}"
        );
        lossy(1000).expect(&Availability, infra(), "pass").await;
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_red_and_what_could_not_be_tried_is_inconclusive() {
        let dead = healthy_but(|_| Some(timeout()));
        dead.expect(&Availability, infra(), "fail").await;
        let unable = healthy_but(|_| Some(local_error()));
        unable.expect(&Availability, infra(), "inconclusive").await;
        let busy = healthy_but(|p| (p.number % 100 < 30).then(timeout)).lag(200_000);
        busy.expect(&Availability, infra(), "inconclusive").await;
    }
}
