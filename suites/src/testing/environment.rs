//! The test world as checks see it.

use super::{Fake, fake::Agents, network::local_error};
use async_trait::async_trait;
use meshproof_contract::{
    AgentId, CaptureId, CaptureReport, CaptureSpec, CiliumAnswer, CiliumQuery, ClusterName, Environment,
    EnvironmentError, Facts, ObjectRef, Outcome, Probe,
};
use serde_json::Value;
use std::sync::Arc;

#[async_trait]
impl Environment for Fake {
    fn facts(&self) -> Arc<Facts> {
        Arc::new(self.facts.clone())
    }

    async fn probe(&self, agent: &AgentId, batch: Vec<Probe>) -> Result<Vec<Outcome>, EnvironmentError> {
        let number = {
            let mut batches = self.batches.lock().expect("no panic while counting");
            let next = batches.entry(agent.clone()).or_default();
            *next += 1;
            *next - 1
        };
        let from = self.facts.agents.iter().find(|a| &a.id == agent);
        match (self.agents, from) {
            (Agents::Work, Some(from)) => Ok(batch.iter().map(|probe| self.outcome(from, probe, number)).collect()),
            (Agents::LocalErrors, Some(_)) => Ok(batch.iter().map(|_| local_error()).collect()),
            (Agents::Gone, _) | (_, None) => Err(EnvironmentError::AgentGone {
                agent: agent.clone(),
                reason: "the port-forward broke".to_owned(),
            }),
        }
    }

    async fn cilium(&self, cluster: &ClusterName, query: CiliumQuery) -> Result<Vec<CiliumAnswer>, EnvironmentError> {
        self.ask_cilium(cluster, query)
    }

    async fn get(&self, cluster: &ClusterName, object: &ObjectRef) -> Result<Option<Value>, EnvironmentError> {
        Ok(self.objects.get(cluster, &object.kind, &object.name))
    }

    async fn list(
        &self,
        cluster: &ClusterName,
        _api_version: &str,
        kind: &str,
        _namespace: Option<&str>,
    ) -> Result<Vec<Value>, EnvironmentError> {
        if self.refused_kinds.contains(kind) {
            return Err(EnvironmentError::Forbidden {
                cluster: cluster.clone(),
                verb: "list".to_owned(),
                object: kind.to_owned(),
                reason: "RBAC".to_owned(),
            });
        }
        Ok(self.objects.list(cluster, kind))
    }

    async fn apply(&self, cluster: &ClusterName, object: Value) -> Result<Value, EnvironmentError> {
        if self.apply_refused {
            return Err(EnvironmentError::Forbidden {
                cluster: cluster.clone(),
                verb: "patch".to_owned(),
                object: "services".to_owned(),
                reason: "quota".to_owned(),
            });
        }
        Ok(self.objects.put(cluster, object))
    }

    async fn delete(&self, cluster: &ClusterName, object: &ObjectRef) -> Result<(), EnvironmentError> {
        self.objects.remove(cluster, &object.kind, &object.name);
        Ok(())
    }
    async fn start_capture(&self, _: &AgentId, spec: CaptureSpec) -> Result<CaptureId, EnvironmentError> {
        self.captures.start(spec)
    }
    async fn stop_capture(&self, agent: &AgentId, capture: CaptureId) -> Result<CaptureReport, EnvironmentError> {
        self.captures.stop(agent, capture)
    }
}
