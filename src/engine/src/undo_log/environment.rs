//! The environment as a trial uses it: every operation is passed on; changes are recorded first, and afterwards what
//! did not answer.

use super::{Patched, UndoLog};
use async_trait::async_trait;
use meshproof_contract::{
    AgentFacts, AgentId, CaptureId, CaptureReport, CaptureSpec, CiliumAnswer, CiliumQuery, ClockReading, ClusterName,
    Disruption, Environment, EnvironmentError, Exchange, Facts, Heard, NodeName, ObjectRef, Outcome, Probe, Readiness,
    StreamId, StreamReport, StreamSpec,
};
use serde_json::Value;
use std::sync::Arc;

// An operation that is not passed on would answer Unsupported.
#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Environment for UndoLog {
    fn facts(&self) -> Arc<Facts> {
        self.environment.facts()
    }
    async fn probe(&self, agent: &AgentId, batch: Vec<Probe>) -> Result<Vec<Outcome>, EnvironmentError> {
        self.heard(self.environment.probe(agent, batch).await)
    }
    async fn exchange(&self, agent: &AgentId, exchange: Exchange) -> Result<Heard, EnvironmentError> {
        self.heard(self.environment.exchange(agent, exchange).await)
    }
    async fn cilium(&self, cluster: &ClusterName, query: CiliumQuery) -> Result<Vec<CiliumAnswer>, EnvironmentError> {
        let answers = self.heard(self.environment.cilium(cluster, query).await)?;
        self.silence.heard_of_cilium(&answers);
        Ok(answers)
    }
    async fn cilium_on(
        &self,
        cluster: &ClusterName,
        query: CiliumQuery,
        nodes: &[NodeName],
    ) -> Result<Vec<CiliumAnswer>, EnvironmentError> {
        let answers = self.heard(self.environment.cilium_on(cluster, query, nodes).await)?;
        self.silence.heard_of_cilium(&answers);
        Ok(answers)
    }
    async fn get(&self, cluster: &ClusterName, object: &ObjectRef) -> Result<Option<Value>, EnvironmentError> {
        self.heard(self.environment.get(cluster, object).await)
    }
    async fn list(
        &self,
        cluster: &ClusterName,
        api_version: &str,
        kind: &str,
        namespace: Option<&str>,
    ) -> Result<Vec<Value>, EnvironmentError> {
        self.heard(self.environment.list(cluster, api_version, kind, namespace).await)
    }
    async fn list_metadata(
        &self,
        cluster: &ClusterName,
        api_version: &str,
        kind: &str,
        namespace: &str,
        labels: &str,
    ) -> Result<Vec<Value>, EnvironmentError> {
        let listed = self
            .environment
            .list_metadata(cluster, api_version, kind, namespace, labels);
        self.heard(listed.await)
    }
    async fn apply(&self, cluster: &ClusterName, object: Value) -> Result<Value, EnvironmentError> {
        let target = ObjectRef::of(&object);
        // Recorded first: a call that times out may have acted.
        if self.is_untouched(cluster, &target) {
            self.left().applied.push((cluster.clone(), target));
        }
        self.heard(self.environment.apply(cluster, object).await)
    }
    async fn patch(&self, cluster: &ClusterName, object: &ObjectRef, change: Value) -> Result<Value, EnvironmentError> {
        if self.is_untouched(cluster, object)
            && let Some(before) = self.environment.get(cluster, object).await?
        {
            self.left().patched.push(Patched {
                cluster: cluster.clone(),
                object: object.clone(),
                before,
                change: Value::Null,
            });
        }
        self.record_change(cluster, object, &change);
        self.heard(self.environment.patch(cluster, object, change).await)
    }
    async fn delete(&self, cluster: &ClusterName, object: &ObjectRef) -> Result<(), EnvironmentError> {
        self.heard(self.environment.delete(cluster, object).await)?;
        self.forget(cluster, object);
        Ok(())
    }
    async fn discard(&self, cluster: &ClusterName, object: &ObjectRef) -> Result<(), EnvironmentError> {
        self.heard(self.environment.discard(cluster, object).await)?;
        self.forget(cluster, object);
        Ok(())
    }
    async fn agents(
        &self,
        cluster: &ClusterName,
        scenario: &str,
        workload: &str,
    ) -> Result<Vec<AgentFacts>, EnvironmentError> {
        self.heard(self.environment.agents(cluster, scenario, workload).await)
    }
    async fn set_ready(&self, agent: &AgentId, readiness: Readiness) -> Result<(), EnvironmentError> {
        if readiness == Readiness::Unready {
            self.left().unready.insert(agent.clone());
        }
        self.heard(self.environment.set_ready(agent, readiness).await)?;
        if readiness == Readiness::Ready {
            self.left().unready.remove(agent);
        }
        Ok(())
    }
    async fn clock(&self, agent: &AgentId) -> Result<ClockReading, EnvironmentError> {
        self.heard(self.environment.clock(agent).await)
    }
    async fn start_stream(&self, agent: &AgentId, spec: StreamSpec) -> Result<StreamId, EnvironmentError> {
        self.heard(self.environment.start_stream(agent, spec).await)
    }
    async fn collect_stream(&self, agent: &AgentId, stream: StreamId) -> Result<StreamReport, EnvironmentError> {
        self.heard(self.environment.collect_stream(agent, stream).await)
    }
    async fn stop_stream(&self, agent: &AgentId, stream: StreamId) -> Result<StreamReport, EnvironmentError> {
        self.heard(self.environment.stop_stream(agent, stream).await)
    }
    async fn start_capture(&self, agent: &AgentId, spec: CaptureSpec) -> Result<CaptureId, EnvironmentError> {
        self.heard(self.environment.start_capture(agent, spec).await)
    }
    async fn collect_capture(&self, agent: &AgentId, capture: CaptureId) -> Result<CaptureReport, EnvironmentError> {
        self.heard(self.environment.collect_capture(agent, capture).await)
    }
    async fn stop_capture(&self, agent: &AgentId, capture: CaptureId) -> Result<CaptureReport, EnvironmentError> {
        self.heard(self.environment.stop_capture(agent, capture).await)
    }
    async fn disrupt(&self, cluster: &ClusterName, disruption: &Disruption) -> Result<(), EnvironmentError> {
        let key = (cluster.clone(), disruption.clone());
        self.left().disruptions.insert(key);
        self.environment.disrupt(cluster, disruption).await
    }
    async fn restore(&self, cluster: &ClusterName, disruption: &Disruption) -> Result<(), EnvironmentError> {
        self.environment.restore(cluster, disruption).await?;
        self.left().disruptions.remove(&(cluster.clone(), disruption.clone()));
        Ok(())
    }
}
