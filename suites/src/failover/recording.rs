//! Streams under way: started together, collected while something happens, stopped together.

use super::cast::{Cast, Service};
use super::now;
use super::observed::{Observed, Track};
use super::patience::{self, Halt};
use super::series::Series;
use super::stream::{Stream, TESTED};
use futures::future::join_all;
use meshproof_contract::{
    AgentFacts, AgentId, CheckContext, ClockReading, EnvironmentError, Identity, StreamId, Verdict,
};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long streams may take to be settled before the event.
const BASELINE: Duration = Duration::from_secs(10);
/// How long the machine may take to be quiet enough to begin.
const QUIET_WITHIN: Duration = Duration::from_secs(15);
/// Between collections.
const LOOK: Duration = Duration::from_millis(60);

/// Which streams, from where to where.
pub struct Plan<'a> {
    pub context: &'a CheckContext,
    /// Carries the streams that are judged.
    pub client: &'a AgentFacts,
    /// Carries the controls.
    pub control: &'a AgentFacts,
    pub service: Service,
    pub cast: &'a Cast,
    /// The least spacing of probes.
    pub least: Duration,
}

impl<'a> Plan<'a> {
    /// Streams from a client to a service of its own cluster, with the controls on the client, too.
    pub fn of(
        context: &'a CheckContext,
        cast: &'a Cast,
        client: &'a AgentFacts,
        service: &str,
        least: Duration,
    ) -> Result<Self, Verdict> {
        Ok(Self {
            context,
            client,
            control: client,
            service: cast.service(&client.id.cluster, service)?,
            cast,
            least,
        })
    }
}

struct Running {
    agent: AgentId,
    id: StreamId,
}

/// Streams that run.
pub struct Recording<'a> {
    context: &'a CheckContext,
    running: Vec<Running>,
    /// What is known of them, in the same order.
    pub seen: Observed,
}

impl<'a> Recording<'a> {
    /// Starts all streams, and returns once all are good in a row as `fits` says of who answers: the state before the event.
    pub async fn start(plan: &Plan<'a>, fits: impl Fn(Option<&Identity>) -> bool) -> Result<Self, Halt> {
        let begun = now();
        let (mut spacing, mut late) = (plan.least, 0);
        // A burst of work on the machine passes: it is tried until one has lasted.
        while now() - begun < QUIET_WITHIN {
            let mut recording = Self::begin(plan, spacing).await?;
            let settled = recording.until(BASELINE, |seen| seen.all_settled(None, &fits)).await?;
            if !settled {
                let told = recording.seen.unsettled(None, &fits);
                recording.stop().await?;
                return Err(Verdict::inconclusive(format!("before anything was done: {told}")).into());
            }
            late = recording.seen.lag();
            // Half of it, since more is to come.
            if u128::from(late) * 2 <= spacing.as_micros() {
                return Ok(recording);
            }
            recording.stop().await?;
            spacing = patience::roomier(late, spacing);
        }
        Err(Verdict::inconclusive(format!(
            "the generator of the probes is up to {} ms late before anything is done: the agent's machine is too busy",
            late.div_ceil(1000)
        ))
        .into())
    }

    async fn begin(plan: &Plan<'a>, spacing: Duration) -> Result<Self, Verdict> {
        let environment = &plan.context.environment;
        let cluster = &plan.client.id.cluster;
        let mut wanted: Vec<(Stream, &AgentFacts, std::net::IpAddr)> = TESTED
            .into_iter()
            .map(|stream| (stream, plan.client, plan.service.address))
            .collect();
        wanted.push((Stream::OtherName, plan.control, plan.service.address));
        wanted.push((
            Stream::Neighbour,
            plan.control,
            plan.cast.neighbour(plan.control)?.address,
        ));
        if let Some(elsewhere) = plan.cast.elsewhere(cluster) {
            wanted.push((Stream::OtherCluster, plan.control, elsewhere.address));
        }
        let mut clocks: BTreeMap<AgentId, ClockReading> = BTreeMap::new();
        for agent in [plan.client, plan.control] {
            let clock = environment.clock(&agent.id).await.map_err(unknown)?;
            clocks.insert(agent.id.clone(), clock);
        }
        let mut recording = Self {
            context: plan.context,
            running: Vec::new(),
            seen: Observed::default(),
        };
        let lasting = plan.cast.lasting_name(cluster);
        let specs = wanted.iter().map(|(stream, agent, to)| {
            let name = match stream {
                Stream::OtherName => &lasting,
                _ => &plan.service.name,
            };
            let spec = stream.spec(*to, name, spacing);
            async move { (*stream, *agent, environment.start_stream(&agent.id, spec).await) }
        });
        let mut failure = None;
        for (stream, agent, started) in join_all(specs).await {
            match (started, clocks.get(&agent.id)) {
                (Ok(id), Some(clock)) => {
                    recording.running.push(Running {
                        agent: agent.id.clone(),
                        id,
                    });
                    recording.seen.tracks.push(Track {
                        stream,
                        clock: *clock,
                        series: Series::default(),
                    });
                }
                (Err(error), _) => failure = Some(error),
                (Ok(_), None) => {}
            }
        }
        match failure {
            None => Ok(recording),
            Some(error) => {
                recording.stop().await?;
                Err(unknown(error))
            }
        }
    }

    /// Takes in what became known.
    pub async fn collect(&mut self) -> Result<(), Verdict> {
        let environment = &self.context.environment;
        let reports = join_all(
            self.running
                .iter()
                .map(|one| environment.collect_stream(&one.agent, one.id)),
        )
        .await;
        for (track, report) in self.seen.tracks.iter_mut().zip(reports) {
            track.series.add(report.map_err(unknown)?);
        }
        Ok(())
    }

    /// Collects until it is so; false if the time is up before.
    pub async fn until(&mut self, within: Duration, is_so: impl Fn(&Observed) -> bool) -> Result<bool, Verdict> {
        let begun = now();
        loop {
            self.collect().await?;
            if is_so(&self.seen) {
                return Ok(true);
            }
            if now() - begun > within {
                return Ok(false);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Ends all streams; all that they have seen.
    pub async fn stop(mut self) -> Result<Observed, Verdict> {
        let environment = &self.context.environment;
        let reports = join_all(
            self.running
                .iter()
                .map(|one| environment.stop_stream(&one.agent, one.id)),
        )
        .await;
        for (track, report) in self.seen.tracks.iter_mut().zip(reports) {
            track.series.add(report.map_err(unknown)?);
        }
        Ok(self.seen)
    }
}

/// An error of the environment says nothing about the mesh.
pub fn unknown(error: EnvironmentError) -> Verdict {
    Verdict::inconclusive(error.to_string())
}
