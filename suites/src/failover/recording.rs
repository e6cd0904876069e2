//! Running streams: started together, collected while something happens, stopped together.

use super::{
    event::Event,
    now,
    observed::{COARSEST, Observed, Track},
    participants::{Participants, Service},
    retry_when_busy::Unjudged,
    series::Series,
    stream::{Stream, TESTED},
    workload::unknown,
};
use crate::kit::{
    next_steps,
    spacing::{WIDEST, roomier},
};
use futures::future::join_all;
use meshproof_contract::{AgentFacts, AgentId, CheckContext, ClockReading, Identity, StreamId, Tally, Verdict};
use std::{collections::BTreeMap, net::IpAddr, time::Duration};
use tokio::time::sleep;

/// How long streams may take to be stable before the event.
const STABLE_WITHIN: Duration = Duration::from_secs(10);
/// How long the machine may take to be quiet enough to begin.
const QUIET_WITHIN: Duration = Duration::from_secs(15);
/// Between collections.
const INTERVAL: Duration = Duration::from_millis(60);

/// Which streams, from where to where.
pub struct Plan<'a> {
    pub context: &'a CheckContext,
    /// Carries the streams that are judged.
    pub client: &'a AgentFacts,
    /// Carries the controls.
    pub control: &'a AgentFacts,
    pub service: Service,
    pub participants: &'a Participants,
    /// The least spacing of probes.
    pub spacing: Duration,
}

impl<'a> Plan<'a> {
    /// Streams from a client to a service of its own cluster, with the controls on the client, too.
    pub fn of(
        context: &'a CheckContext,
        participants: &'a Participants,
        client: &'a AgentFacts,
        service: &str,
        spacing: Duration,
    ) -> Result<Self, Verdict> {
        Ok(Self {
            context,
            client,
            control: client,
            service: participants.service(&client.id.cluster, service)?,
            participants,
            spacing,
        })
    }

    /// Suggests commands if something was found: what the client's node and the API have for the service.
    pub fn suggest_commands(&self, tally: &Tally) {
        if !tally.has_findings() {
            return;
        }
        let facts = self.context.environment.facts();
        let cluster = &self.client.id.cluster;
        let in_agent = |command| next_steps::in_agent(&facts, cluster, Some(&self.client.node), command);
        let Service { name, namespace, .. } = &self.service;
        let slices = format!("-n {namespace} get endpointslices -l kubernetes.io/service-name={name} -o yaml");
        self.context.suggest(in_agent("cilium-dbg service list"));
        self.context.suggest(next_steps::kubectl(&facts, cluster, &slices));
        self.context.suggest(in_agent("hubble observe --last 500 --type drop"));
    }

    /// Every stream with the agent that carries it and its destination.
    fn streams(&self) -> Result<Vec<(Stream, &'a AgentFacts, IpAddr)>, Verdict> {
        let neighbour = self.participants.neighbour(self.control)?;
        let tested = TESTED.into_iter();
        let mut streams: Vec<_> = tested
            .map(|stream| (stream, self.client, self.service.address))
            .collect();
        streams.push((Stream::OtherName, self.control, self.service.address));
        streams.push((Stream::Neighbour, self.control, neighbour.address));
        let remote = self.participants.neighbour_in_other_cluster(&self.client.id.cluster);
        streams.extend(remote.map(|remote| (Stream::OtherCluster, self.control, remote.address)));
        Ok(streams)
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
    /// Starts all streams, and returns once all are stable, answered by servers that fit: the state before the event.
    pub async fn start(plan: &Plan<'a>, fits: impl Fn(Option<&Identity>) -> bool) -> Result<Self, Unjudged> {
        let begun = now();
        let (mut spacing, mut lag) = (plan.spacing, 0);
        // A burst of work on the machine passes, so this is repeated until the machine was quiet once.
        while now() - begun < QUIET_WITHIN {
            let mut recording = Self::begin(plan, spacing).await?;
            let is_stable = recording
                .until(STABLE_WITHIN, |seen| seen.all_stable(None, &fits))
                .await?;
            if !is_stable {
                let unstable = recording.seen.unstable(None, &fits);
                recording.stop().await?;
                // Requests that follow one another on a connection never catch up at a spacing below their own time.
                if spacing < WIDEST {
                    spacing = WIDEST;
                    continue;
                }
                return Err(Verdict::inconclusive(format!("before the event: {unstable}")).into());
            }
            lag = recording.seen.lag();
            // Half of the spacing, since more is to come. The widest is used even so: probes that are sent late make
            // times less well known, which is judged in the end.
            if u128::from(lag) * 2 <= spacing.as_micros() || (spacing >= WIDEST && lag * 2 <= COARSEST) {
                return Ok(recording);
            }
            recording.stop().await?;
            spacing = roomier(lag, spacing);
        }
        Err(Verdict::inconclusive(format!(
            "the agent's machine is too busy: the probe generator lags up to {} ms before the event",
            lag.div_ceil(1000)
        ))
        .into())
    }

    async fn begin(plan: &Plan<'a>, spacing: Duration) -> Result<Self, Verdict> {
        let environment = &plan.context.environment;
        let streams = plan.streams()?;
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
        let unaffected = plan.participants.unaffected_name(&plan.client.id.cluster);
        let starts = streams.iter().map(|(stream, agent, to)| {
            let name = match stream {
                Stream::OtherName => &unaffected,
                _ => &plan.service.dns_name,
            };
            let spec = stream.spec(*to, name, spacing);
            async move { (*stream, *agent, environment.start_stream(&agent.id, spec).await) }
        });
        let mut failure = None;
        for (stream, agent, started) in join_all(starts).await {
            match (started, clocks.get(&agent.id)) {
                (Ok(id), Some(clock)) => {
                    let agent = agent.id.clone();
                    recording.running.push(Running { agent, id });
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

    /// A backend that does not carry the long-lived connection.
    pub fn backend_without_long_tcp<'b>(
        &self,
        backends: &'b [AgentFacts],
        event: &Event,
    ) -> Result<&'b AgentFacts, Verdict> {
        let carrier = self.seen.server_before(Stream::LongTcp, event.called);
        let is_other = |backend: &&AgentFacts| carrier.is_some_and(|carrier| carrier.pod != backend.id.pod);
        backends.iter().find(is_other).ok_or_else(|| {
            Verdict::inconclusive("no backend can be chosen: it is unknown which pod carries the long-lived connection")
        })
    }

    /// Takes in what became known.
    pub async fn collect(&mut self) -> Result<(), Verdict> {
        let environment = &self.context.environment;
        let running = self.running.iter();
        let reports = running.map(|one| environment.collect_stream(&one.agent, one.id));
        for (track, report) in self.seen.tracks.iter_mut().zip(join_all(reports).await) {
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
            sleep(INTERVAL).await;
        }
    }

    /// Ends all streams, and returns all that they have seen.
    pub async fn stop(&mut self) -> Result<Observed, Verdict> {
        let environment = &self.context.environment;
        let running = std::mem::take(&mut self.running);
        let reports = running.iter().map(|one| environment.stop_stream(&one.agent, one.id));
        for (track, report) in self.seen.tracks.iter_mut().zip(join_all(reports).await) {
            track.series.add(report.map_err(unknown)?);
        }
        Ok(std::mem::take(&mut self.seen))
    }
}
