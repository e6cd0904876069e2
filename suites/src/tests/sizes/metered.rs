//! A world whose operations are counted and take as long as on real clusters.

use super::bed::{self, Meter};
use async_trait::async_trait;
use meshproof_contract::{
    Action, AgentFacts, AgentId, CaptureId, CaptureReport, CaptureSpec, CiliumAnswer, CiliumQuery, ClockReading,
    ClusterName, Disruption, Environment, EnvironmentError, Exchange, Facts, Heard, NodeName, ObjectRef, Outcome,
    Probe, Readiness, StreamId, StreamReport, StreamSpec,
};
use serde_json::Value;
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, sleep_until};

/// Bytes of one object.
const OBJECT: u64 = 2_000;

/// The world.
pub struct Metered {
    world: Arc<dyn Environment>,
    meter: Arc<Meter>,
}

impl Metered {
    pub fn new(world: Arc<dyn Environment>, meter: Arc<Meter>) -> Self {
        Self { world, meter }
    }

    /// Something is sent to an agent and takes so long there.
    async fn agent(&self, begun: Instant, takes: Duration) {
        self.meter.batch();
        // Worlds that take their own time are not slowed down twice.
        sleep_until(begun + bed::BATCH + takes).await;
    }
}

/// How long a probe takes.
fn time_of(probe: &Probe, outcome: &Outcome) -> Duration {
    let once = match (&probe.action, outcome) {
        (_, Outcome::Timeout { .. }) => probe.deadline,
        (Action::PathMtu { .. }, _) => bed::SEARCH,
        (_, outcome) => outcome
            .total()
            .map_or(Duration::from_micros(400), Duration::from_micros),
    };
    let spaced = probe.interval * probe.count.saturating_sub(1);
    if probe.interval.is_zero() {
        once * probe.count.max(1)
    } else {
        spaced + once
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Environment for Metered {
    fn facts(&self) -> Arc<Facts> {
        self.world.facts()
    }

    async fn exchange(&self, agent: &AgentId, exchange: Exchange) -> Result<Heard, EnvironmentError> {
        self.world.exchange(agent, exchange).await
    }

    async fn probe(&self, agent: &AgentId, batch: Vec<Probe>) -> Result<Vec<Outcome>, EnvironmentError> {
        let begun = Instant::now();
        let outcomes = self.world.probe(agent, batch.clone()).await?;
        let longest = batch
            .iter()
            .zip(&outcomes)
            .map(|(probe, outcome)| time_of(probe, outcome))
            .max();
        self.agent(begun, longest.unwrap_or_default()).await;
        Ok(outcomes)
    }

    async fn cilium(&self, cluster: &ClusterName, query: CiliumQuery) -> Result<Vec<CiliumAnswer>, EnvironmentError> {
        let answers = self.world.cilium(cluster, query).await?;
        self.meter.commands(cluster, query, answers.len() as u64).await;
        Ok(answers)
    }

    async fn cilium_on(
        &self,
        cluster: &ClusterName,
        query: CiliumQuery,
        nodes: &[NodeName],
    ) -> Result<Vec<CiliumAnswer>, EnvironmentError> {
        let answers = self.world.cilium_on(cluster, query, nodes).await?;
        self.meter.commands(cluster, query, answers.len() as u64).await;
        Ok(answers)
    }

    async fn get(&self, cluster: &ClusterName, object: &ObjectRef) -> Result<Option<Value>, EnvironmentError> {
        self.meter.request(OBJECT).await;
        self.world.get(cluster, object).await
    }

    async fn list(
        &self,
        cluster: &ClusterName,
        api_version: &str,
        kind: &str,
        namespace: Option<&str>,
    ) -> Result<Vec<Value>, EnvironmentError> {
        let objects = self.world.list(cluster, api_version, kind, namespace).await?;
        let bytes = bed::listed(kind, self.meter.shape, namespace.is_some(), objects.len());
        self.meter.request(bytes).await;
        Ok(objects)
    }

    async fn list_metadata(
        &self,
        cluster: &ClusterName,
        api_version: &str,
        kind: &str,
        namespace: &str,
        labels: &str,
    ) -> Result<Vec<Value>, EnvironmentError> {
        self.meter.request(OBJECT).await;
        self.world
            .list_metadata(cluster, api_version, kind, namespace, labels)
            .await
    }

    async fn apply(&self, cluster: &ClusterName, object: Value) -> Result<Value, EnvironmentError> {
        self.meter.request(OBJECT).await;
        self.world.apply(cluster, object).await
    }

    async fn patch(&self, cluster: &ClusterName, object: &ObjectRef, change: Value) -> Result<Value, EnvironmentError> {
        self.meter.request(OBJECT).await;
        self.world.patch(cluster, object, change).await
    }

    async fn delete(&self, cluster: &ClusterName, object: &ObjectRef) -> Result<(), EnvironmentError> {
        self.meter.request(OBJECT).await;
        self.world.delete(cluster, object).await
    }

    // It goes with the namespace, without a request.
    async fn discard(&self, cluster: &ClusterName, object: &ObjectRef) -> Result<(), EnvironmentError> {
        self.world.discard(cluster, object).await
    }

    async fn agents(
        &self,
        cluster: &ClusterName,
        scenario: &str,
        workload: &str,
    ) -> Result<Vec<AgentFacts>, EnvironmentError> {
        let agents = self.world.agents(cluster, scenario, workload).await?;
        let bytes = bed::listed("Pod", self.meter.shape, true, agents.len());
        self.meter.request(bytes).await;
        Ok(agents)
    }

    async fn set_ready(&self, agent: &AgentId, readiness: Readiness) -> Result<(), EnvironmentError> {
        self.agent(Instant::now(), Duration::ZERO).await;
        self.world.set_ready(agent, readiness).await
    }

    async fn clock(&self, agent: &AgentId) -> Result<ClockReading, EnvironmentError> {
        self.agent(Instant::now(), Duration::ZERO).await;
        self.world.clock(agent).await
    }

    async fn start_stream(&self, agent: &AgentId, spec: StreamSpec) -> Result<StreamId, EnvironmentError> {
        self.agent(Instant::now(), Duration::ZERO).await;
        self.world.start_stream(agent, spec).await
    }

    async fn collect_stream(&self, agent: &AgentId, stream: StreamId) -> Result<StreamReport, EnvironmentError> {
        self.agent(Instant::now(), Duration::ZERO).await;
        self.world.collect_stream(agent, stream).await
    }

    async fn stop_stream(&self, agent: &AgentId, stream: StreamId) -> Result<StreamReport, EnvironmentError> {
        self.agent(Instant::now(), Duration::ZERO).await;
        self.world.stop_stream(agent, stream).await
    }

    async fn start_capture(&self, agent: &AgentId, spec: CaptureSpec) -> Result<CaptureId, EnvironmentError> {
        self.agent(Instant::now(), Duration::ZERO).await;
        self.world.start_capture(agent, spec).await
    }

    async fn collect_capture(&self, agent: &AgentId, capture: CaptureId) -> Result<CaptureReport, EnvironmentError> {
        self.agent(Instant::now(), Duration::ZERO).await;
        self.world.collect_capture(agent, capture).await
    }

    async fn stop_capture(&self, agent: &AgentId, capture: CaptureId) -> Result<CaptureReport, EnvironmentError> {
        self.agent(Instant::now(), Duration::ZERO).await;
        self.world.stop_capture(agent, capture).await
    }

    async fn disrupt(&self, cluster: &ClusterName, disruption: &Disruption) -> Result<(), EnvironmentError> {
        self.meter.request(OBJECT).await;
        self.world.disrupt(cluster, disruption).await
    }

    async fn restore(&self, cluster: &ClusterName, disruption: &Disruption) -> Result<(), EnvironmentError> {
        self.meter.request(OBJECT).await;
        self.world.restore(cluster, disruption).await
    }
}
