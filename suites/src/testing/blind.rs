//! A world in which the harness cannot see, made of any healthy one. Nothing is wrong with its network, so whatever
//! checks conclude there must be inconclusive or skipped: not red, and not green unless they did not look.

use super::network::local_error;
use async_trait::async_trait;
use meshproof_contract::{
    AgentFacts, AgentId, CaptureId, CaptureReport, CaptureSpec, CiliumAnswer, CiliumQuery, ClockReading, ClusterName,
    Disruption, Environment, EnvironmentError, Exchange, Facts, Heard, Needs, NodeName, ObjectRef, Outcome, Probe,
    Readiness, StreamId, StreamReport, StreamSpec, facts::MissingAgent, stream::StreamResult,
};
use serde_json::Value;
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// What keeps the harness from seeing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    LocalErrors,
    AgentsGone,
    AgentsMissing,
    NothingReady,
    ApiRefuses,
}

impl Trouble {
    pub const ALL: [Trouble; 5] = [
        Trouble::LocalErrors,
        Trouble::AgentsGone,
        Trouble::AgentsMissing,
        Trouble::NothingReady,
        Trouble::ApiRefuses,
    ];

    /// Whether the facts lack the agents of the scenario that these needs name.
    pub fn takes_agents_of(self, needs: Needs) -> bool {
        matches!(self, Trouble::AgentsMissing | Trouble::NothingReady) && needs.scenario.is_some()
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Trouble::LocalErrors => "every probe fails on the agent itself",
            Trouble::AgentsGone => "every agent has gone",
            Trouble::AgentsMissing => "no agent could be started",
            Trouble::NothingReady => "no agent is ready",
            Trouble::ApiRefuses => "the API and Cilium refuse every request",
        })
    }
}

/// The world with the trouble in it.
pub struct Blind {
    world: Arc<dyn Environment>,
    trouble: Trouble,
    looked: AtomicBool,
}

impl Blind {
    pub fn new(world: Arc<dyn Environment>, trouble: Trouble) -> Self {
        let looked = AtomicBool::new(false);
        Self { world, trouble, looked }
    }

    /// Whether something was asked for that the trouble takes away.
    pub fn looked(&self) -> bool {
        self.looked.load(Ordering::Relaxed)
    }

    fn has(&self, troubles: &[Trouble]) -> bool {
        let has = troubles.contains(&self.trouble);
        self.looked.fetch_or(has, Ordering::Relaxed);
        has
    }

    /// Whether agents can be reached.
    fn agent(&self, agent: &AgentId) -> Result<(), EnvironmentError> {
        if self.has(&[Trouble::AgentsGone, Trouble::AgentsMissing, Trouble::NothingReady]) {
            return Err(EnvironmentError::AgentGone {
                agent: agent.clone(),
                reason: "the port-forward broke".to_owned(),
            });
        }
        Ok(())
    }

    /// Whether the API answers.
    fn api(&self, cluster: &ClusterName, verb: &str, object: &str) -> Result<(), EnvironmentError> {
        if self.has(&[Trouble::ApiRefuses]) {
            return Err(EnvironmentError::Forbidden {
                cluster: cluster.clone(),
                verb: verb.to_owned(),
                object: object.to_owned(),
                reason: "RBAC".to_owned(),
            });
        }
        Ok(())
    }

    fn tried(&self, mut report: StreamReport) -> StreamReport {
        if self.has(&[Trouble::LocalErrors]) {
            for sample in &mut report.samples {
                let outcome = local_error();
                sample.result = StreamResult::Bad { outcome };
            }
        }
        report
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Environment for Blind {
    fn facts(&self) -> Arc<Facts> {
        let facts = self.world.facts();
        if !matches!(self.trouble, Trouble::AgentsMissing | Trouble::NothingReady) {
            return facts;
        }
        let mut facts = Facts::clone(&facts);
        let agents = std::mem::take(&mut facts.agents);
        if self.trouble == Trouble::AgentsMissing {
            facts
                .missing_agents
                .extend(agents.into_iter().map(|agent| MissingAgent {
                    cluster: agent.id.cluster,
                    node: Some(agent.node),
                    workload: agent.workload,
                    state: "ImagePullBackOff".to_owned(),
                }));
        }
        Arc::new(facts)
    }

    async fn exchange(&self, agent: &AgentId, exchange: Exchange) -> Result<Heard, EnvironmentError> {
        self.agent(agent)?;
        if self.has(&[Trouble::LocalErrors]) {
            return Ok(Heard::unconnected(local_error()));
        }
        self.world.exchange(agent, exchange).await
    }

    async fn probe(&self, agent: &AgentId, batch: Vec<Probe>) -> Result<Vec<Outcome>, EnvironmentError> {
        self.agent(agent)?;
        if self.has(&[Trouble::LocalErrors]) {
            return Ok(batch.iter().map(|_| local_error()).collect());
        }
        self.world.probe(agent, batch).await
    }

    async fn cilium(&self, cluster: &ClusterName, query: CiliumQuery) -> Result<Vec<CiliumAnswer>, EnvironmentError> {
        self.api(cluster, "create", "pods/exec")?;
        self.world.cilium(cluster, query).await
    }

    async fn cilium_on(
        &self,
        cluster: &ClusterName,
        query: CiliumQuery,
        nodes: &[NodeName],
    ) -> Result<Vec<CiliumAnswer>, EnvironmentError> {
        self.api(cluster, "create", "pods/exec")?;
        self.world.cilium_on(cluster, query, nodes).await
    }

    async fn get(&self, cluster: &ClusterName, object: &ObjectRef) -> Result<Option<Value>, EnvironmentError> {
        self.api(cluster, "get", &object.kind)?;
        self.world.get(cluster, object).await
    }

    async fn list(
        &self,
        cluster: &ClusterName,
        api_version: &str,
        kind: &str,
        namespace: Option<&str>,
    ) -> Result<Vec<Value>, EnvironmentError> {
        self.api(cluster, "list", kind)?;
        self.world.list(cluster, api_version, kind, namespace).await
    }

    async fn list_metadata(
        &self,
        cluster: &ClusterName,
        api_version: &str,
        kind: &str,
        namespace: &str,
        labels: &str,
    ) -> Result<Vec<Value>, EnvironmentError> {
        self.api(cluster, "list", kind)?;
        self.world
            .list_metadata(cluster, api_version, kind, namespace, labels)
            .await
    }

    async fn apply(&self, cluster: &ClusterName, object: Value) -> Result<Value, EnvironmentError> {
        self.api(cluster, "patch", object["kind"].as_str().unwrap_or_default())?;
        self.world.apply(cluster, object).await
    }

    async fn patch(&self, cluster: &ClusterName, object: &ObjectRef, change: Value) -> Result<Value, EnvironmentError> {
        self.api(cluster, "patch", &object.kind)?;
        self.world.patch(cluster, object, change).await
    }

    async fn delete(&self, cluster: &ClusterName, object: &ObjectRef) -> Result<(), EnvironmentError> {
        self.api(cluster, "delete", &object.kind)?;
        self.world.delete(cluster, object).await
    }

    async fn discard(&self, cluster: &ClusterName, object: &ObjectRef) -> Result<(), EnvironmentError> {
        self.api(cluster, "delete", &object.kind)?;
        self.world.discard(cluster, object).await
    }

    async fn agents(
        &self,
        cluster: &ClusterName,
        scenario: &str,
        workload: &str,
    ) -> Result<Vec<AgentFacts>, EnvironmentError> {
        self.api(cluster, "list", "pods")?;
        if self.has(&[Trouble::AgentsMissing, Trouble::NothingReady]) {
            return Ok(Vec::new());
        }
        self.world.agents(cluster, scenario, workload).await
    }

    async fn set_ready(&self, agent: &AgentId, readiness: Readiness) -> Result<(), EnvironmentError> {
        self.agent(agent)?;
        self.world.set_ready(agent, readiness).await
    }

    async fn clock(&self, agent: &AgentId) -> Result<ClockReading, EnvironmentError> {
        self.agent(agent)?;
        self.world.clock(agent).await
    }

    async fn start_stream(&self, agent: &AgentId, spec: StreamSpec) -> Result<StreamId, EnvironmentError> {
        self.agent(agent)?;
        self.world.start_stream(agent, spec).await
    }

    async fn collect_stream(&self, agent: &AgentId, stream: StreamId) -> Result<StreamReport, EnvironmentError> {
        self.agent(agent)?;
        Ok(self.tried(self.world.collect_stream(agent, stream).await?))
    }

    async fn stop_stream(&self, agent: &AgentId, stream: StreamId) -> Result<StreamReport, EnvironmentError> {
        self.agent(agent)?;
        Ok(self.tried(self.world.stop_stream(agent, stream).await?))
    }

    async fn start_capture(&self, agent: &AgentId, spec: CaptureSpec) -> Result<CaptureId, EnvironmentError> {
        self.agent(agent)?;
        self.world.start_capture(agent, spec).await
    }

    async fn collect_capture(&self, agent: &AgentId, capture: CaptureId) -> Result<CaptureReport, EnvironmentError> {
        self.agent(agent)?;
        self.world.collect_capture(agent, capture).await
    }

    async fn stop_capture(&self, agent: &AgentId, capture: CaptureId) -> Result<CaptureReport, EnvironmentError> {
        self.agent(agent)?;
        self.world.stop_capture(agent, capture).await
    }

    async fn disrupt(&self, cluster: &ClusterName, disruption: &Disruption) -> Result<(), EnvironmentError> {
        self.api(cluster, "patch", "Node")?;
        self.world.disrupt(cluster, disruption).await
    }

    async fn restore(&self, cluster: &ClusterName, disruption: &Disruption) -> Result<(), EnvironmentError> {
        self.api(cluster, "patch", "Node")?;
        self.world.restore(cluster, disruption).await
    }
}
