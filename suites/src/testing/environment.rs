//! The test world as checks see it.

use super::Fake;
use async_trait::async_trait;
use meshproof_contract::{
    AgentFacts, AgentId, CaptureId, CaptureReport, CaptureSpec, CiliumAnswer, CiliumQuery, ClusterName, Consent,
    Disruption, Environment, EnvironmentError, Facts, NodeName, ObjectRef, Outcome, Probe, Readiness,
};
use serde_json::{Value, json};
use std::sync::{Arc, atomic::Ordering};

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
        match from {
            Some(from) => Ok(batch.iter().map(|probe| self.outcome(from, probe, number)).collect()),
            None => Err(EnvironmentError::AgentGone {
                agent: agent.clone(),
                reason: "the port-forward broke".to_owned(),
            }),
        }
    }

    async fn cilium(&self, cluster: &ClusterName, query: CiliumQuery) -> Result<Vec<CiliumAnswer>, EnvironmentError> {
        self.ask_cilium(cluster, query)
    }

    async fn cilium_on(
        &self,
        cluster: &ClusterName,
        query: CiliumQuery,
        nodes: &[NodeName],
    ) -> Result<Vec<CiliumAnswer>, EnvironmentError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let mut answers = self.ask_cilium(cluster, query)?;
        answers.retain(|answer| nodes.contains(&answer.node));
        Ok(answers)
    }

    async fn get(&self, cluster: &ClusterName, object: &ObjectRef) -> Result<Option<Value>, EnvironmentError> {
        tokio::time::sleep(self.api_latency).await;
        if self.refused_objects.contains(object.kind.as_str()) {
            return Err(forbidden(cluster, "get", &object.kind));
        }
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
            return Err(forbidden(cluster, "list", kind));
        }
        self.course.proceed(&self.objects);
        Ok(self.objects.list(cluster, kind))
    }

    async fn list_metadata(
        &self,
        cluster: &ClusterName,
        api_version: &str,
        kind: &str,
        namespace: &str,
        labels: &str,
    ) -> Result<Vec<Value>, EnvironmentError> {
        let wanted: Vec<(&str, &str)> = labels.split(',').filter_map(|label| label.split_once('=')).collect();
        let mut found = self.list(cluster, api_version, kind, Some(namespace)).await?;
        found.retain(|object| {
            let own = &object["metadata"]["labels"];
            wanted.iter().all(|(name, value)| own[*name] == *value)
        });
        Ok(found)
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
    async fn patch(&self, cluster: &ClusterName, object: &ObjectRef, change: Value) -> Result<Value, EnvironmentError> {
        let patched = self.objects.patch(cluster, &object.kind, &object.name, &change);
        patched.ok_or_else(|| EnvironmentError::Api {
            cluster: cluster.clone(),
            operation: format!("patch {} {}", object.kind, object.name),
            reason: "not found".to_owned(),
        })
    }
    async fn agents(
        &self,
        cluster: &ClusterName,
        scenario: &str,
        workload: &str,
    ) -> Result<Vec<AgentFacts>, EnvironmentError> {
        let agents = self.facts.agents_of(cluster, workload).into_iter();
        Ok(agents.filter(|agent| agent.scenario == scenario).cloned().collect())
    }
    async fn set_ready(&self, agent: &AgentId, readiness: Readiness) -> Result<(), EnvironmentError> {
        let status = if readiness == Readiness::Ready { "True" } else { "False" };
        let change = json!({"status": {"conditions": [{"type": "Ready", "status": status}]}});
        if self.objects.patch(&agent.cluster, "Pod", &agent.pod, &change).is_none() {
            let pod = json!({"kind": "Pod", "metadata": {"name": agent.pod}, "status": change["status"]});
            self.objects.put(&agent.cluster, pod);
        }
        Ok(())
    }
    async fn start_capture(&self, _: &AgentId, spec: CaptureSpec) -> Result<CaptureId, EnvironmentError> {
        self.captures.start(spec)
    }
    async fn stop_capture(&self, agent: &AgentId, capture: CaptureId) -> Result<CaptureReport, EnvironmentError> {
        self.captures.stop(agent, capture)
    }
    async fn disrupt(&self, _: &ClusterName, _: &Disruption) -> Result<(), EnvironmentError> {
        match self.facts.consent {
            Consent::Given => Ok(()),
            Consent::Withheld => Err(EnvironmentError::Unsupported { operation: "disrupt" }),
        }
    }
    async fn restore(&self, _: &ClusterName, _: &Disruption) -> Result<(), EnvironmentError> {
        Ok(())
    }
}

fn forbidden(cluster: &ClusterName, verb: &str, kind: &str) -> EnvironmentError {
    EnvironmentError::Forbidden {
        cluster: cluster.clone(),
        verb: verb.to_owned(),
        object: kind.to_owned(),
        reason: "RBAC".to_owned(),
    }
}
