//! The mesh as checks see it.

use super::{
    Agents, Applied, World,
    network::{PEER_SERVICE, dns_pod},
};
use async_trait::async_trait;
use meshproof_contract::{
    AgentId, CiliumAnswer, CiliumQuery, ClockReading, ClusterName, Environment, EnvironmentError, Facts, ObjectRef,
    Outcome, Probe, StreamId, StreamReport, StreamSpec,
};
use meshproof_oracle::parse;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, sleep};

/// Longer than any check waits.
const NEVER: Duration = Duration::from_secs(3600);

#[async_trait]
impl Environment for World {
    fn facts(&self) -> Arc<Facts> {
        Arc::new(self.facts.clone())
    }

    async fn probe(&self, agent: &AgentId, batch: Vec<Probe>) -> Result<Vec<Outcome>, EnvironmentError> {
        let from = self.facts.agents.iter().find(|a| &a.id == agent).expect("an agent");
        let one = |probe: &Probe| match probe.count {
            1 => self.outcome(from, probe),
            count => series((0..count).map(|_| self.outcome(from, probe))),
        };
        let outcomes: Vec<Outcome> = batch.iter().map(one).collect();
        let longest = batch.iter().zip(&outcomes).map(|(probe, outcome)| match outcome {
            Outcome::Timeout { .. } => probe.deadline,
            _ => Duration::from_micros(400),
        });
        sleep(longest.max().unwrap_or_default()).await;
        Ok(outcomes)
    }

    async fn cilium(&self, cluster: &ClusterName, query: CiliumQuery) -> Result<Vec<CiliumAnswer>, EnvironmentError> {
        match self.agents {
            Agents::Refuse => return refused(cluster),
            Agents::Hang(for_so_long) => {
                sleep(for_so_long).await;
                return refused(cluster);
            }
            Agents::ReportRealized => {}
        }
        let nodes = self
            .facts
            .cluster(cluster)
            .into_iter()
            .flat_map(|cluster| &cluster.nodes);
        let answers = nodes.map(|node| CiliumAnswer {
            pod: format!("cilium-{}", node.name),
            output: Ok(self.agent_output(cluster, node.name.as_str(), query)),
            node: node.name.clone(),
        });
        Ok(answers.collect())
    }

    async fn get(&self, _: &ClusterName, object: &ObjectRef) -> Result<Option<Value>, EnvironmentError> {
        Ok((object.kind == "Pod").then(dns_pod))
    }

    async fn list(
        &self,
        cluster: &ClusterName,
        _: &str,
        kind: &str,
        namespace: Option<&str>,
    ) -> Result<Vec<Value>, EnvironmentError> {
        if kind != "Pod" {
            let mut policies = self.policies(cluster);
            policies.retain(|object| object["kind"] == kind);
            return Ok(policies);
        }
        let pods = self
            .pods
            .iter()
            .filter(|(id, pod)| &id.cluster == cluster && pod["metadata"]["namespace"].as_str() == namespace);
        Ok(pods.map(|(_, pod)| pod.clone()).collect())
    }

    async fn apply(&self, cluster: &ClusterName, mut object: Value) -> Result<Value, EnvironmentError> {
        if self.apply_refused {
            return refused(cluster);
        }
        object["metadata"]["labels"]["meshproof.dev/run"] = json!("test");
        let name = object["metadata"]["name"].as_str().expect("a name").to_owned();
        if object["kind"] == "Service" {
            object["spec"]["clusterIP"] = json!(PEER_SERVICE);
            return Ok(object);
        }
        let applied = Applied {
            object: object.clone(),
            policies: parse(&object, cluster.as_str()).expect("a policy"),
            since: Instant::now() + self.lag,
            until: None,
        };
        let mut objects = self.objects.lock().expect("no panic");
        objects.insert((cluster.clone(), name), applied);
        Ok(object)
    }

    async fn delete(&self, cluster: &ClusterName, object: &ObjectRef) -> Result<(), EnvironmentError> {
        let mut objects = self.objects.lock().expect("no panic");
        if let Some(applied) = objects.get_mut(&(cluster.clone(), object.name.clone())) {
            applied.until = Some(Instant::now() + self.release.unwrap_or(NEVER));
        }
        Ok(())
    }

    async fn clock(&self, _: &AgentId) -> Result<ClockReading, EnvironmentError> {
        Ok(self.read_clock())
    }

    async fn start_stream(&self, agent: &AgentId, spec: StreamSpec) -> Result<StreamId, EnvironmentError> {
        Ok(self.start(agent, &spec))
    }

    async fn collect_stream(&self, _: &AgentId, id: StreamId) -> Result<StreamReport, EnvironmentError> {
        Ok(self.collect(id))
    }

    async fn stop_stream(&self, _: &AgentId, id: StreamId) -> Result<StreamReport, EnvironmentError> {
        Ok(self.collect(id))
    }
}

impl World {
    /// The policies that the API of a cluster has.
    fn policies(&self, cluster: &ClusterName) -> Vec<Value> {
        let objects = self.objects.lock().expect("no panic");
        let applied = objects
            .iter()
            .filter(|((of, _), applied)| of == cluster && applied.until.is_none());
        let foreign = self.foreign.iter().filter(|_| cluster.as_str() == "infra");
        let applied = applied.map(|(_, applied)| &applied.object);
        foreign.chain(applied).cloned().collect()
    }

    /// What the agent on a node prints: all its endpoints have realized all policies of the API.
    fn agent_output(&self, cluster: &ClusterName, node: &str, query: CiliumQuery) -> Value {
        match query {
            CiliumQuery::Status => return json!({"proxy": self.proxy}),
            CiliumQuery::Policy => {
                let rules: Value = self.policies(cluster).iter().map(rule).collect();
                return json!({"revision": 7, "policy": rules.to_string()});
            }
            _ => {}
        }
        let pods = self.pods.iter().filter(|(_, pod)| pod["spec"]["nodeName"] == node);
        let endpoints = pods.enumerate().map(|(number, (id, pod))| {
            let namespace = pod["metadata"]["namespace"].as_str().unwrap_or_default();
            json!({
                "id": number,
                "spec": {"options": {"PolicyAuditMode": "Disabled"}},
                "status": {
                    "external-identifiers": {"pod-name": format!("{namespace}/{}", id.pod)},
                    "policy": {"realized": {"policy-revision": 7}},
                    "state": "ready",
                },
            })
        });
        endpoints.collect()
    }
}

/// A policy as agents print it.
fn rule(object: &Value) -> Value {
    let label = |key: &str, value: &Value| {
        let key = format!("io.cilium.k8s.policy.{key}");
        json!({"key": key, "value": value, "source": "k8s"})
    };
    let metadata = &object["metadata"];
    json!({"labels": [
        label("derived-from", &object["kind"]),
        label("name", &metadata["name"]),
        label("namespace", &metadata["namespace"]),
    ]})
}

fn refused<T>(cluster: &ClusterName) -> Result<T, EnvironmentError> {
    Err(EnvironmentError::Api {
        cluster: cluster.clone(),
        operation: "do this".to_owned(),
        reason: "this world refuses it".to_owned(),
    })
}

/// The outcomes of a series' tries, as an agent reports them.
fn series(tries: impl Iterator<Item = Outcome>) -> Outcome {
    let (mut latencies, mut failures) = (Vec::new(), Vec::new());
    for (number, outcome) in (0..).zip(tries) {
        match outcome.is_success() {
            true => latencies.push(outcome.total().unwrap_or_default() as u32),
            false => failures.push((number, outcome)),
        }
    }
    Outcome::Series {
        latencies,
        failures,
        served_by: Vec::new(),
        lag: 0,
        starved: Some(0),
    }
}
