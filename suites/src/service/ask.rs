//! Many requests to one Service from many clients, and who answered them.
//!
//! It knows agents and probes, and not what a check wants to prove.

use crate::kit::{cpu_pressure, probes, wait};
use futures::future::join_all;
use meshproof_contract::{
    Action, AgentFacts, CheckContext, ClusterName, Identity, Outcome, Probe, Target, probe::Connection,
};
use std::{collections::BTreeMap, time::Duration};

/// How often a state is read while it is waited for.
const INTERVAL: Duration = Duration::from_millis(200);
/// Series of a client that run at the same time: few enough for small machines, enough that requests which fail slowly
/// do not add up.
const LANES: u32 = 6;
/// The same for requests that are made again with a long limit: more may wait at a time.
const PATIENT_LANES: u32 = 12;
/// Bytes of an echo.
const PAYLOAD: u32 = 64;
/// Bytes of an echo that no path carries in one packet, jumbo frames aside.
pub const FRAGMENTED: u32 = 4000;

/// How a request is made. Each opens a connection or a socket of its own, so that each is load-balanced by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exchange {
    /// A GET.
    Http,
    /// An echo over TCP.
    Tcp,
    /// An echo of a datagram.
    Udp,
    /// An echo of a datagram in fragments.
    Fragments,
}

/// Who answered the requests of one client.
#[derive(Clone, Debug)]
pub struct Answers {
    /// Who asked.
    pub client: AgentFacts,
    /// How often each server answered.
    pub servers: Vec<(Identity, u32)>,
    /// Requests without an answer.
    pub failures: Vec<Outcome>,
    /// Why something could not be observed.
    pub unknown: Option<String>,
}

impl Answers {
    /// Requests that were answered.
    pub fn answered(&self) -> u32 {
        self.servers.iter().map(|(_, times)| times).sum()
    }
    /// Requests that pods of the cluster answered.
    pub fn by_cluster(&self, cluster: &ClusterName) -> u32 {
        let of = self
            .servers
            .iter()
            .filter(|(server, _)| server.cluster == cluster.as_str());
        of.map(|(_, times)| times).sum()
    }
    /// Requests that the pod answered.
    pub fn by_pod(&self, pod: &AgentFacts) -> u32 {
        let of = self.servers.iter().filter(|(server, _)| is_pod(server, pod));
        of.map(|(_, times)| times).sum()
    }
    /// Whether every request was answered, and something was asked at all.
    pub fn is_complete(&self) -> bool {
        self.unknown.is_none() && self.failures.is_empty() && self.answered() > 0
    }
    /// Whether every request was answered, and by pods of these clusters only.
    pub fn only_by(&self, clusters: &[ClusterName]) -> bool {
        let own: u32 = clusters.iter().map(|c| self.by_cluster(c)).sum();
        self.is_complete() && own == self.answered()
    }
    /// Whether every request was answered, by these clusters only, and each of them at least once.
    pub fn by_each(&self, clusters: &[ClusterName]) -> bool {
        self.only_by(clusters) && clusters.iter().all(|c| self.by_cluster(c) > 0)
    }
    /// For people: `infra 31, apps 29; 2 failed: refused`.
    pub fn describe(&self) -> String {
        let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
        for (server, times) in &self.servers {
            *counts.entry(&server.cluster).or_default() += times;
        }
        let mut words: Vec<String> = counts
            .iter()
            .map(|(cluster, times)| format!("{cluster} {times}"))
            .collect();
        if let Some(first) = self.failures.first() {
            words.push(format!("{} failed: {first}", self.failures.len()));
        }
        words.extend(self.unknown.clone());
        if words.is_empty() {
            "no request was sent".to_owned()
        } else {
            words.join(", ")
        }
    }
}

/// Whether a server is that pod.
pub fn is_pod(server: &Identity, pod: &AgentFacts) -> bool {
    server.cluster == pod.id.cluster.as_str() && server.pod == pod.id.pod && server.namespace == pod.namespace
}

/// `count` requests of every client. A client with failures retries all of them once, with the longer limit of a second
/// look: a single lost packet is the subject of another check. Where nothing answered at all, a few requests tell as
/// much.
pub async fn ask(
    context: &CheckContext,
    clients: &[AgentFacts],
    to: &Target,
    exchange: Exchange,
    count: u32,
) -> Vec<Answers> {
    join_all(clients.iter().map(|client| async move {
        let first = once(context, client, to, exchange, count).await;
        if first.failures.is_empty() {
            return first;
        }
        let again = if first.answered() > 0 {
            count
        } else {
            count.min(2 * PATIENT_LANES)
        };
        let mut second = series(context, client, to, exchange, again, (PATIENT_LANES, probes::PATIENT)).await;
        if second.failures.is_empty() {
            context.note(format!(
                "{}: {}; all were answered in a retry",
                client.node,
                first.describe()
            ));
        }
        for (server, times) in first.servers {
            add(&mut second.servers, server, times);
        }
        second
    }))
    .await
}

/// Sends `count` requests from every client again and again until the answers of all of them are as wanted, twice in a
/// row: the time until then; else the last answers.
pub async fn ask_until(
    context: &CheckContext,
    clients: &[AgentFacts],
    to: &Target,
    count: u32,
    deadline: Duration,
    wanted: impl Fn(&Answers) -> bool,
) -> Result<Duration, Vec<Answers>> {
    ask_by_until(context, clients, (to, Exchange::Http), count, deadline, wanted).await
}

/// The same by another exchange.
pub async fn ask_by_until(
    context: &CheckContext,
    clients: &[AgentFacts],
    (to, exchange): (&Target, Exchange),
    count: u32,
    deadline: Duration,
    wanted: impl Fn(&Answers) -> bool,
) -> Result<Duration, Vec<Answers>> {
    let waited = wait::until(deadline, INTERVAL, || async {
        let clients = clients.iter();
        let seen = join_all(clients.map(|client| once(context, client, to, exchange, count))).await;
        if seen.iter().all(&wanted) { Ok(()) } else { Err(seen) }
    })
    .await;
    match waited {
        wait::Waited::Seen(after, ()) => Ok(after),
        wait::Waited::GaveUp(last) => Err(last),
    }
}

/// As many requests as meet each of so many clusters as surely as `count` requests meet each of two.
fn scaled(count: u32, clusters: usize) -> u32 {
    let missed = 1.0 - 1.0 / clusters.max(2) as f64;
    (f64::from(count) * 0.5_f64.ln() / missed.ln()).round() as u32
}

/// `count` is for two clusters.
async fn once(context: &CheckContext, client: &AgentFacts, to: &Target, exchange: Exchange, count: u32) -> Answers {
    let count = scaled(count, context.environment.facts().clusters.len());
    series(context, client, to, exchange, count, (LANES, probes::DEADLINE)).await
}

/// Requests in so many series at a time, each with this limit.
async fn series(
    context: &CheckContext,
    client: &AgentFacts,
    to: &Target,
    exchange: Exchange,
    count: u32,
    (lanes, limit): (u32, Duration),
) -> Answers {
    let lanes = lanes.min(count.max(1));
    let batch: Vec<Probe> = (0..lanes)
        .map(|lane| {
            let share = count / lanes + u32::from(lane < count % lanes);
            Probe::series(exchange.action(to.clone()), limit, share, Duration::ZERO)
        })
        .collect();
    let mut answers = Answers {
        client: client.clone(),
        servers: Vec::new(),
        failures: Vec::new(),
        unknown: None,
    };
    match context.environment.probe(&client.id, batch).await {
        Ok(outcomes) if outcomes.len() == lanes as usize => outcomes.into_iter().for_each(|o| answers.take(o)),
        Ok(_) => {
            answers.unknown = Some("the agent returned another number of outcomes than it was sent probes".to_owned())
        }
        Err(error) => answers.unknown = Some(error.to_string()),
    }
    answers
}

impl Exchange {
    /// The action of one request to there.
    pub fn action(self, to: Target) -> Action {
        match self {
            Exchange::Http => Action::Http {
                to,
                method: "GET".to_owned(),
                path: probes::IDENTITY_PAGE.to_owned(),
                headers: Vec::new(),
                body: 0,
                connection: Connection::New,
            },
            Exchange::Tcp => Action::TcpEcho { to, payload: PAYLOAD },
            Exchange::Udp => Action::UdpEcho { to, payload: PAYLOAD },
            Exchange::Fragments => Action::UdpEcho {
                to,
                payload: FRAGMENTED,
            },
        }
    }
}

impl Answers {
    fn take(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Series {
                latencies,
                failures,
                served_by,
                lag,
                ..
            } => {
                let known: u32 = served_by.iter().map(|(_, times)| times).sum();
                if known < latencies.len() as u32 {
                    self.unknown
                        .get_or_insert_with(|| "something other than a probe agent answered".to_owned());
                }
                for (server, times) in served_by {
                    add(&mut self.servers, server, times);
                }
                if !failures.is_empty() && lag > cpu_pressure::LAG {
                    self.unknown.get_or_insert_with(|| {
                        format!(
                            "requests failed while the agent was {} ms behind its schedule",
                            lag / 1000
                        )
                    });
                }
                failures.into_iter().for_each(|(_, failure)| self.fail(failure));
            }
            answered @ Outcome::Answered { .. } if answered.is_success() => match answered.served_by() {
                Some(server) => add(&mut self.servers, server.clone(), 1),
                None => self.unknown = Some("something other than a probe agent answered".to_owned()),
            },
            other => self.fail(other),
        }
    }

    fn fail(&mut self, outcome: Outcome) {
        if outcome.is_local_error() {
            self.unknown = Some(outcome.to_string());
        } else {
            self.failures.push(outcome);
        }
    }
}

fn add(servers: &mut Vec<(Identity, u32)>, server: Identity, times: u32) {
    match servers.iter_mut().find(|(known, _)| *known == server) {
        Some((_, count)) => *count += times,
        None => servers.push((server, times)),
    }
}

#[cfg(test)]
mod tests {
    use super::scaled;

    #[test]
    fn more_clusters_are_asked_more_often() {
        assert_eq!([1, 2, 3, 5].map(|clusters| scaled(12, clusters)), [12, 12, 21, 37]);
        for clusters in [2, 3, 5] {
            let unseen = (1.0 - 1.0 / clusters as f64).powi(scaled(120, clusters) as i32);
            assert!(unseen < 1.1 * 0.5_f64.powi(120), "{clusters}: {unseen}");
        }
    }
}
