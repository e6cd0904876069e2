//! How well a flow works: its 99th percentile, and the share of tries that succeed.

use super::{judge::Seen, speech::question};
use crate::kit::{
    availability::{FIRST, FURTHER, Loss, LossCount, LossTest},
    cpu_pressure,
    flow::Destination,
    probes::DEADLINE,
};
use meshproof_contract::{
    Action, AgentFacts, CheckContext, Distribution, Flow, Outcome, Probe, flow::FlowProtocol, probe::Connection,
    thresholds::write_duration,
};
use std::time::Duration;

/// Tries of a percentile alone.
const TRIES: u32 = 200;
/// Time between the starts of two tries.
const SPACING: Duration = Duration::from_millis(5);

/// Measures what the flow promises; nothing where it promises nothing.
pub async fn judge(context: &CheckContext, flow: &Flow, client: &AgentFacts, destination: &Destination) -> Vec<Seen> {
    let promised = flow.expect.availability;
    if flow.p99().is_none() && promised.is_none() {
        return Vec::new();
    }
    let count = if promised.is_some() { FIRST } else { TRIES };
    let first = match series(context, flow, client, destination, count).await {
        Ok(first) => first,
        Err(why) => return vec![Seen::Unknown(why)],
    };
    let mut seen = Vec::from_iter(first.p99(context, flow));
    if let Some(promised) = promised {
        let test = LossTest::new(promised, 1);
        let mut lost = LossCount::default();
        first.add_to(&mut lost);
        while lost.is_open(&test) {
            match series(context, flow, client, destination, FURTHER).await {
                Ok(further) => further.add_to(&mut lost),
                Err(why) => return vec![Seen::Unknown(why)],
            }
        }
        seen.push(match lost.judge(&test) {
            Loss::AsPromised => Seen::Right(format!(
                "{} of {} tries answered",
                lost.sent() - lost.lost(),
                lost.sent()
            )),
            Loss::TooMuch => Seen::Wrong(format!("{promised} of tries answered"), lost.to_string()),
            Loss::Unknown(why) => Seen::Unknown(why),
        });
    }
    seen
}

async fn series(
    context: &CheckContext,
    flow: &Flow,
    client: &AgentFacts,
    destination: &Destination,
    count: u32,
) -> Result<Series, String> {
    let deadline = flow.p99().map_or(DEADLINE, |limit| DEADLINE.max(limit * 2));
    let probe = Probe::series(action(flow, destination), deadline, count, SPACING);
    let outcomes = context.environment.probe(&client.id, vec![probe]).await;
    match outcomes.map_err(|error| error.to_string())?.pop() {
        Some(Outcome::Series {
            latencies,
            failures,
            lag,
            starved,
            ..
        }) => Ok(Series {
            latencies,
            failures,
            lag,
            starved,
            over: SPACING * count,
        }),
        _ => Err("the client's agent gave no series".to_owned()),
    }
}

fn action(flow: &Flow, destination: &Destination) -> Action {
    let to = destination.target.clone();
    match (flow.to.protocol, flow.to.request.clone().unwrap_or_default()) {
        (FlowProtocol::Http, request) => Action::Http {
            to,
            method: request.method,
            path: request.path,
            headers: request.headers.into_iter().collect(),
            body: 0,
            connection: Connection::New,
        },
        (FlowProtocol::Dns, _) => question(flow, destination),
        _ => Action::TcpConnect { to },
    }
}

struct Series {
    latencies: Vec<u32>,
    failures: Vec<(u32, Outcome)>,
    lag: u64,
    starved: Option<u64>,
    over: Duration,
}

impl Series {
    fn p99(&self, context: &CheckContext, flow: &Flow) -> Option<Seen> {
        let limit = flow.p99()?;
        let expected = format!("p99 at most {}", write_duration(limit));
        let Some(times) = Distribution::of(self.latencies.iter().map(|micros| u64::from(*micros))) else {
            return Some(Seen::Wrong(expected, "no try was answered".to_owned()));
        };
        context.measure_latencies("flow_latency", flow.name.clone(), times.clone());
        let told = format!("p99 {:.1} ms of {} tries", times.p99 as f64 / 1e3, times.count);
        if u128::from(times.p99) <= limit.as_micros() {
            return Some(Seen::Right(told));
        }
        match cpu_pressure::delays(&times, self.lag, self.starved, self.over, limit) {
            Some(busy) => Some(Seen::Unknown(format!("{told}, but {busy}"))),
            None => Some(Seen::Wrong(expected, told)),
        }
    }

    fn add_to(&self, lost: &mut LossCount) {
        lost.add(self.latencies.len() as u32, &self.failures, self.lag);
    }
}
