//! A stream that is kept running: renewed before its lifetime ends, and moved to another client if its own has gone.

use super::{
    super::{now, stream::Stream},
    clock::wall,
    track::Track,
};
use jiff::{SignedDuration, Timestamp};
use meshproof_contract::{AgentFacts, CheckContext, EnvironmentError, NodeName, StreamId, StreamSpec};
use std::{net::IpAddr, time::Duration};
use tokio::time::Instant;

/// A stream of an agent lasts no longer than an hour.
const LIFETIME: Duration = Duration::from_secs(3_600);
/// It is renewed before.
const RENEWED_AFTER: Duration = Duration::from_secs(3_000);
/// A client that cannot be asked for so long may have gone: another one takes over.
const SILENT: SignedDuration = SignedDuration::from_secs(3);
/// A client that is there and has nothing to report for so long begins anew.
const GIVEN_UP: SignedDuration = SignedDuration::from_secs(10);

/// From where to where.
#[derive(Clone, Debug)]
pub struct Path {
    /// What is sent.
    pub stream: Stream,
    /// Who sends.
    pub client: AgentFacts,
    /// The destination's address.
    pub to: IpAddr,
    /// Its DNS name.
    pub name: String,
    /// The destination in words.
    pub what: String,
    /// The node of the pod that is the destination; none for a Service.
    pub pod_on: Option<NodeName>,
}

struct Running {
    id: StreamId,
    since: Instant,
    overwritten: u64,
}

/// A stream that is kept running.
pub struct Lane {
    /// From where to where, now.
    pub path: Path,
    /// What it has seen.
    pub track: Track,
    /// Times in which it was not observed, with the reason.
    pub unobserved: Vec<(Timestamp, Timestamp, String)>,
    spacing: Duration,
    running: Option<Running>,
    /// Since when it cannot be collected, and why.
    failing: Option<(Timestamp, String)>,
}

impl Lane {
    /// Starts it; one that cannot start yet does so later.
    pub async fn start(context: &CheckContext, path: Path, spacing: Duration) -> Self {
        let mut lane = Self {
            path,
            track: Track::new(wall(context)),
            unobserved: Vec::new(),
            spacing,
            running: None,
            failing: None,
        };
        lane.begin(context).await;
        lane
    }

    /// How findings call it.
    pub fn name(&self) -> String {
        let Path {
            stream, client, what, ..
        } = &self.path;
        format!("{} -> {what}, {stream}", client.node)
    }

    async fn begin(&mut self, context: &CheckContext) {
        let client = &self.path.client.id;
        let spec = StreamSpec {
            lifetime: LIFETIME,
            ..self.path.stream.spec(self.path.to, &self.path.name, self.spacing)
        };
        let begun = async {
            let clock = context.environment.clock(client).await?;
            let shown = SignedDuration::from_micros(i64::try_from(clock.micros).unwrap_or(i64::MAX));
            let age = SignedDuration::try_from(now() - clock.at).unwrap_or_default();
            let id = context.environment.start_stream(client, spec).await?;
            Ok::<_, EnvironmentError>((wall(context) - age - shown, id))
        };
        match begun.await {
            Ok((zero, id)) => {
                self.track.renew(zero);
                self.running = Some(Running {
                    id,
                    since: Instant::now(),
                    overwritten: 0,
                });
                self.observed_again(context);
            }
            Err(error) => self.fails(context, &error),
        }
    }

    fn fails(&mut self, context: &CheckContext, error: &EnvironmentError) {
        self.failing.get_or_insert_with(|| (wall(context), error.to_string()));
    }

    fn observed_again(&mut self, context: &CheckContext) {
        let Some((since, why)) = self.failing.take() else {
            return;
        };
        // What an agent went on recording is known now.
        if self
            .track
            .known_until
            .is_none_or(|known| known < wall(context) - SignedDuration::from_secs(2))
        {
            self.unobserved.push((since, wall(context), why));
        }
    }

    /// Takes in what became known; renews, or moves to another client, where that is due.
    pub async fn collect(&mut self, context: &CheckContext) {
        let Some(running) = &mut self.running else {
            self.begin_elsewhere(context).await;
            return;
        };
        match context
            .environment
            .collect_stream(&self.path.client.id, running.id)
            .await
        {
            Ok(report) => {
                let (before, ended) = (running.overwritten, report.ended);
                running.overwritten = report.overwritten;
                let is_old = running.since.elapsed() > RENEWED_AFTER;
                self.track.add(report, before);
                self.observed_again(context);
                if ended || is_old {
                    self.stop(context).await;
                    self.begin(context).await;
                }
            }
            Err(error) => {
                self.fails(context, &error);
                self.begin_elsewhere(context).await;
            }
        }
    }

    /// Follows a destination that was replaced, such as a pod with another address after a reboot of its node. Until
    /// then nobody could answer, which is no outage of the network; a pod that has no successor yet is lost.
    pub async fn follow(&mut self, context: &CheckContext, pods: &[AgentFacts]) {
        let Some(node) = &self.path.pod_on else { return };
        let mut there = pods.iter().filter(|pod| pod.node == *node);
        let Some(pod) = there.next().filter(|pod| pod.address != self.path.to) else {
            return;
        };
        self.path.to = pod.address;
        self.stop(context).await;
        if let Some(since) = self.track.excuse() {
            self.unobserved
                .push((since, wall(context), "its destination was replaced".to_owned()));
        }
        self.begin(context).await;
    }

    /// Goes on from the same client if it is there, or from another one, after a while.
    async fn begin_elsewhere(&mut self, context: &CheckContext) {
        let failing = self.failing.as_ref();
        let failing = failing.map_or(SignedDuration::MAX, |(since, _)| wall(context).duration_since(*since));
        if failing < SILENT {
            return;
        }
        let client = &self.path.client;
        let (cluster, scenario, workload) = (&client.id.cluster, &client.scenario, &client.workload);
        let Ok(found) = context.environment.agents(cluster, scenario, workload).await else {
            return;
        };
        if found.iter().any(|other| other.id == client.id) {
            // It is there, and connected again: it may still have what it recorded. If not, it knows no such stream.
            if self.running.is_none() || failing > GIVEN_UP {
                self.running = None;
                self.begin(context).await;
            }
            return;
        }
        let other = found.iter().find(|other| other.node == client.node).or(found.first());
        if let Some(other) = other {
            (self.path.client, self.running) = (other.clone(), None);
            self.begin(context).await;
        }
    }

    async fn stop(&mut self, context: &CheckContext) {
        let Some(running) = self.running.take() else { return };
        match context.environment.stop_stream(&self.path.client.id, running.id).await {
            Ok(report) => self.track.add(report, running.overwritten),
            Err(error) => self.fails(context, &error),
        }
    }

    /// Ends it.
    pub async fn end(&mut self, context: &CheckContext) {
        self.stop(context).await;
        self.track.end();
        if let Some((since, why)) = self.failing.take() {
            self.unobserved.push((since, wall(context), why));
        }
    }
}
