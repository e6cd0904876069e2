//! The clusters as checks see them.

use super::{
    super::super::now,
    World,
    pods::{Pod, Span},
};
use async_trait::async_trait;
use meshproof_contract::{
    AgentFacts, AgentId, CiliumAnswer, CiliumQuery, ClockReading, ClusterName, Disruption, Environment,
    EnvironmentError, Facts, ObjectRef, Outcome, Probe, Readiness, StreamId, StreamReport, StreamSpec,
};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tokio::time::sleep;

#[async_trait]
impl Environment for World {
    fn facts(&self) -> Arc<Facts> {
        Arc::new(self.facts.clone())
    }

    async fn probe(&self, agent: &AgentId, batch: Vec<Probe>) -> Result<Vec<Outcome>, EnvironmentError> {
        Ok(self.outcomes(&agent.cluster, &batch))
    }

    async fn cilium(&self, cluster: &ClusterName, query: CiliumQuery) -> Result<Vec<CiliumAnswer>, EnvironmentError> {
        let output = match query {
            CiliumQuery::KvstoreMesh => self.remotes(cluster)?,
            CiliumQuery::Endpoints => {
                let ready = self.has_passed_since_restoration(self.regenerates);
                json!([{"status": {"state": if ready { "ready" } else { "regenerating" }}}])
            }
            _ => return refused(cluster),
        };
        let answer = |n| CiliumAnswer {
            pod: format!("pod-{n}"),
            node: format!("{cluster}-{n}").as_str().into(),
            output: Ok(output.clone()),
        };
        Ok((1..=3).map(answer).collect())
    }

    async fn get(&self, cluster: &ClusterName, object: &ObjectRef) -> Result<Option<Value>, EnvironmentError> {
        match object.kind.as_str() {
            "Service" => Ok(Some(json!({"spec": {"selector": {"a": "b"}}}))),
            _ => refused(cluster),
        }
    }

    async fn list(
        &self,
        cluster: &ClusterName,
        _: &str,
        kind: &str,
        _: Option<&str>,
    ) -> Result<Vec<Value>, EnvironmentError> {
        if kind == "Node" {
            let ready = json!([{"type": "Ready", "status": "True"}]);
            let node = |n| json!({"metadata": {"name": format!("{cluster}-{n}")}, "status": {"conditions": ready}});
            return Ok((2..=3).map(node).collect());
        }
        let state = self.state.lock().expect("no panic");
        let (at, shown) = (self.micros(), self.shown.as_micros() as u64);
        let pods = state
            .pods
            .iter()
            .filter(|pod| &pod.agent.id.cluster == cluster && pod.agent.workload == "backend");
        let pods = pods.filter(|pod| pod.from <= at && at < pod.until.saturating_add(shown));
        let endpoint = |pod: &Pod| {
            let ready = pod.is_known(at, shown);
            json!({"targetRef": {"name": pod.agent.id.pod}, "conditions": {"ready": ready}})
        };
        Ok(vec![json!({
            "metadata": {"labels": {"kubernetes.io/service-name": "failover-local"}},
            "endpoints": pods.map(endpoint).collect::<Vec<_>>(),
        })])
    }

    async fn apply(&self, _: &ClusterName, object: Value) -> Result<Value, EnvironmentError> {
        self.state.lock().expect("no panic").applied += 1;
        Ok(object)
    }

    /// Scales the backends.
    async fn patch(&self, cluster: &ClusterName, object: &ObjectRef, change: Value) -> Result<Value, EnvironmentError> {
        let mut state = self.state.lock().expect("no panic");
        let (at, replicas) = (self.micros(), change["spec"]["replicas"].as_u64().unwrap_or(0));
        let is_backend =
            |pod: &Pod| object.name == format!("failover-{}", pod.agent.workload) && &pod.agent.id.cluster == cluster;
        if replicas == 0 {
            state.disrupted.get_or_insert(at);
            let pods = state.pods.iter_mut();
            let pods = pods.filter(|pod| is_backend(pod) && pod.until > at);
            pods.for_each(|pod| pod.until = at);
        } else if let Some(after) = self.replaces {
            let like = state.pods.iter().find(|pod| is_backend(pod));
            let like = like.expect("a backend").agent.clone();
            for _ in 0..replicas {
                self.start_pod(&mut state, &like, at + after.as_micros() as u64);
            }
        }
        Ok(Value::Null)
    }

    async fn delete(&self, cluster: &ClusterName, object: &ObjectRef) -> Result<(), EnvironmentError> {
        let mut state = self.state.lock().expect("no panic");
        if object.kind == "Service" {
            state.applied -= 1;
            return Ok(());
        }
        self.end(&mut state, |agent| {
            &agent.id.cluster == cluster && agent.id.pod == object.name
        });
        Ok(())
    }

    async fn agents(
        &self,
        cluster: &ClusterName,
        _: &str,
        workload: &str,
    ) -> Result<Vec<AgentFacts>, EnvironmentError> {
        let (state, at) = (self.state.lock().expect("no panic"), self.micros());
        let agents = state.pods.iter().filter(|pod| pod.answers(at)).map(|pod| &pod.agent);
        let agents = agents.filter(|a| &a.id.cluster == cluster && a.workload == workload);
        Ok(agents.cloned().collect())
    }

    async fn set_ready(&self, agent: &AgentId, readiness: Readiness) -> Result<(), EnvironmentError> {
        let mut state = self.state.lock().expect("no panic");
        let at = self.micros();
        state.disrupted.get_or_insert(at);
        let pod = state.pods.iter_mut().find(|pod| &pod.agent.id == agent);
        let unready = &mut pod.expect("a pod").unready;
        match (readiness, unready) {
            (Readiness::Unready, unready) => *unready = Some(Span::since(at)),
            (Readiness::Ready, Some(unready)) => unready.until = at,
            (Readiness::Ready, None) => {}
        }
        Ok(())
    }

    async fn clock(&self, _: &AgentId) -> Result<ClockReading, EnvironmentError> {
        Ok(ClockReading {
            at: now(),
            micros: self.micros(),
            error: Duration::ZERO,
        })
    }

    async fn start_stream(&self, agent: &AgentId, spec: StreamSpec) -> Result<StreamId, EnvironmentError> {
        Ok(self.start(&agent.cluster, spec))
    }

    async fn collect_stream(&self, _: &AgentId, id: StreamId) -> Result<StreamReport, EnvironmentError> {
        Ok(self.collect(id))
    }

    async fn stop_stream(&self, _: &AgentId, id: StreamId) -> Result<StreamReport, EnvironmentError> {
        Ok(self.collect(id))
    }

    async fn disrupt(&self, cluster: &ClusterName, disruption: &Disruption) -> Result<(), EnvironmentError> {
        let mut state = self.state.lock().expect("no panic");
        let at = self.micros();
        state.disrupted.get_or_insert(at);
        match disruption {
            Disruption::NodeLost { .. } | Disruption::ClusterLost { .. } if !self.power => {
                return Err(EnvironmentError::NoMeans {
                    cluster: cluster.clone(),
                    what: disruption.to_string(),
                });
            }
            Disruption::NodeLost { node } | Disruption::NodeDrained { node, .. } => {
                state.cordoned = Some(node.clone());
                self.end(&mut state, |agent| &agent.id.cluster == cluster && &agent.node == node);
            }
            Disruption::ClusterLost { nodes } => {
                let pods = state.pods.iter_mut();
                let pods = pods.filter(|pod| &pod.agent.id.cluster == cluster && nodes.contains(&pod.agent.node));
                pods.for_each(|pod| pod.cut = Some(Span::since(at)));
            }
            Disruption::AgentRestart { .. } | Disruption::Rollout { .. } | Disruption::MeshApiServerDown => {}
        }
        Ok(())
    }

    async fn restore(&self, cluster: &ClusterName, _: &Disruption) -> Result<(), EnvironmentError> {
        sleep(self.restores.unwrap_or_default()).await;
        let mut state = self.state.lock().expect("no panic");
        let at = self.micros();
        (state.cordoned, state.restored) = (None, Some(at));
        if self.restores.is_none() {
            return refused(cluster);
        }
        let cut = state.pods.iter_mut().filter_map(|pod| pod.cut.as_mut());
        cut.for_each(|cut| cut.until = cut.until.min(at));
        Ok(())
    }
}

impl World {
    /// What KVStoreMesh reports of the other cluster: a new Service is counted once the clusters are in sync.
    fn remotes(&self, cluster: &ClusterName) -> Result<Value, EnvironmentError> {
        let Some(joins) = self.joins else {
            return refused(cluster);
        };
        let in_sync = self.has_passed_since_restoration(joins);
        let applied = self.state.lock().expect("no panic").applied;
        let count = 2 + applied * usize::from(in_sync);
        let remotes = ["infra", "apps"].into_iter().filter(|name| *name != cluster.as_str());
        let remotes = remotes.map(|name| json!({"name": name, "num-shared-services": count}));
        Ok(remotes.collect())
    }

    /// Whether so much time has passed since a disruption was undone, or none was.
    fn has_passed_since_restoration(&self, time: Duration) -> bool {
        let restored = self.state.lock().expect("no panic").restored;
        restored.is_none_or(|at| self.micros() >= at + time.as_micros() as u64)
    }
}

fn refused<T>(cluster: &ClusterName) -> Result<T, EnvironmentError> {
    Err(EnvironmentError::Api {
        cluster: cluster.clone(),
        operation: "do this".to_owned(),
        reason: "this world refuses it".to_owned(),
    })
}
