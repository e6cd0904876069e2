//! Two clusters in memory, for the checks' own tests: a network, cluster DNS, an API and Cilium's words, each of which can be broken.

pub mod blind;
mod captures;
mod cilium;
mod kube;
mod network;
mod resolver;
mod topology;

pub use captures::Captures;
pub use kube::{NODE_PORT, mesh_pod};
pub use network::{Ask, dns_answer, dns_code, dns_records, identity_of, local_error, timeout};

use async_trait::async_trait;
use kube::Objects;
use meshproof_contract::facts::MissingAgent;
use meshproof_contract::{
    AgentFacts, AgentId, CaptureId, CaptureReport, CaptureSpec, Check, CheckContext, CiliumAnswer, CiliumQuery, ClusterName,
    Environment, EnvironmentError, Facts, Instance, ObjectRef, Outcome, Probe, Readiness, Scope, Verdict,
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

type Rule = Arc<dyn Fn(&Ask<'_>) -> Option<Outcome> + Send + Sync>;
/// What the agent on a node says of its policies and endpoints.
type Policies = Arc<dyn Fn(&str, CiliumQuery) -> Value + Send + Sync>;
type Tamper = Arc<dyn Fn(&str, &str, &mut Value) + Send + Sync>;

/// When a follower of the API learns of a new object, and forgets a deleted one; none is never.
#[derive(Clone, Copy)]
struct Follows {
    learns: Option<Duration>,
    forgets: Option<Duration>,
}

const AT_ONCE: Follows = Follows {
    learns: Some(Duration::ZERO),
    forgets: Some(Duration::ZERO),
};

/// The two clusters, healthy until told otherwise.
#[derive(Clone)]
pub struct Fake {
    pub facts: Facts,
    rules: Vec<Rule>,
    latency: u32,
    mesh_latency: u32,
    lag: u64,
    starved: Option<u64>,
    replicas: BTreeMap<String, Follows>,
    mesh: Follows,
    status: Vec<Tamper>,
    kvstoremesh: Vec<Tamper>,
    troubleshoot: Vec<Tamper>,
    nodes: Vec<Tamper>,
    policies: Option<Policies>,
    cilium: Cilium,
    refused_kinds: BTreeSet<&'static str>,
    apply_refused: bool,
    objects: Objects,
    captures: captures::Running,
    /// Batches that each agent was sent in this run of a check.
    batches: Arc<Mutex<BTreeMap<AgentId, u32>>>,
}

#[derive(Clone, PartialEq, Eq)]
enum Cilium {
    Answers,
    Refused,
    Silent,
    ErrorOn(&'static str),
    HangsOn(&'static str),
    NotOn(&'static str),
}

/// The instance on cluster infra.
pub fn infra() -> Instance {
    Instance::Cluster("infra".into())
}
/// The instance from infra to apps.
pub fn infra_to_apps() -> Instance {
    Instance::Direction {
        from: "infra".into(),
        to: "apps".into(),
    }
}

/// An instance of the check's scope.
pub fn instance_of(check: &dyn Check) -> Instance {
    match check.scope() {
        Scope::Cluster => infra(),
        Scope::Direction => infra_to_apps(),
    }
}

impl Fake {
    pub fn healthy() -> Self {
        let facts = topology::facts();
        let objects = Objects::of(&facts);
        Self {
            facts,
            rules: Vec::new(),
            latency: 400,
            mesh_latency: 2400,
            lag: 50,
            starved: Some(0),
            replicas: BTreeMap::new(),
            mesh: AT_ONCE,
            status: Vec::new(),
            kvstoremesh: Vec::new(),
            troubleshoot: Vec::new(),
            nodes: Vec::new(),
            policies: None,
            cilium: Cilium::Answers,
            refused_kinds: BTreeSet::new(),
            apply_refused: false,
            objects,
            captures: captures::Running::default(),
            batches: Arc::default(),
        }
    }

    /// The first rule with an answer decides the outcome of a probe.
    pub fn rule(mut self, rule: impl Fn(&Ask<'_>) -> Option<Outcome> + Send + Sync + 'static) -> Self {
        self.rules.push(Arc::new(rule));
        self
    }
    pub fn facts(mut self, change: impl FnOnce(&mut Facts)) -> Self {
        change(&mut self.facts);
        self
    }
    /// The workload's agent on the node does not run.
    pub fn missing(self, workload: &str, node: &str) -> Self {
        self.facts(|f| {
            f.agents.retain(|a| a.workload != workload || a.node.as_str() != node);
            f.missing_agents.push(MissingAgent {
                cluster: node.split('-').next().unwrap_or_default().into(),
                node: Some(node.into()),
                workload: workload.to_owned(),
                state: "Pending: 0/3 nodes are available".to_owned(),
            });
        })
    }
    /// Microseconds of every round trip.
    pub fn latency(mut self, micros: u64) -> Self {
        (self.latency, self.mesh_latency) = (micros as u32, micros as u32);
        self
    }
    /// Microseconds of a round trip between the clusters.
    pub fn mesh_latency(mut self, micros: u64) -> Self {
        self.mesh_latency = micros as u32;
        self
    }
    /// For how many microseconds of a series the agents' machines are short of CPU.
    pub fn starved(mut self, micros: u64) -> Self {
        self.starved = Some(micros);
        self
    }
    /// Microseconds that the agents are behind their own schedule.
    pub fn lag(mut self, micros: u64) -> Self {
        self.lag = micros;
        self
    }
    pub fn replica_follows(mut self, pod: &str, learns: Option<Duration>, forgets: Option<Duration>) -> Self {
        self.replicas.insert(pod.to_owned(), Follows { learns, forgets });
        self
    }
    pub fn propagation(mut self, learns: Option<Duration>, forgets: Option<Duration>) -> Self {
        self.mesh = Follows { learns, forgets };
        self
    }
    /// Tampers with `cilium-dbg status` of (cluster, node).
    pub fn status(mut self, tamper: impl Fn(&str, &str, &mut Value) + Send + Sync + 'static) -> Self {
        self.status.push(Arc::new(tamper));
        self
    }
    /// Tampers with `kvstoremesh-dbg status` of a cluster.
    /// Tampers with what `troubleshoot` prints on a node.
    pub fn troubleshoot(mut self, tamper: impl Fn(&str, String) -> String + Send + Sync + 'static) -> Self {
        self.troubleshoot.push(Arc::new(move |_, node, value| {
            *value = tamper(node, value.as_str().unwrap_or_default().to_owned()).into();
        }));
        self
    }
    pub fn kvstoremesh(mut self, tamper: impl Fn(&str, &mut Value) + Send + Sync + 'static) -> Self {
        self.kvstoremesh
            .push(Arc::new(move |cluster, _, value| tamper(cluster, value)));
        self
    }
    /// Tampers with `cilium-dbg node list` of (cluster, node).
    pub fn nodes(mut self, tamper: impl Fn(&str, &str, &mut Value) + Send + Sync + 'static) -> Self {
        self.nodes.push(Arc::new(tamper));
        self
    }
    /// What the agents say of their policies and endpoints; nothing unless told.
    pub fn policies(mut self, say: impl Fn(&str, CiliumQuery) -> Value + Send + Sync + 'static) -> Self {
        self.policies = Some(Arc::new(say));
        self
    }
    pub fn cilium_refused(mut self) -> Self {
        self.cilium = Cilium::Refused;
        self
    }
    pub fn cilium_silent(mut self) -> Self {
        self.cilium = Cilium::Silent;
        self
    }
    pub fn cilium_error_on(mut self, node: &'static str) -> Self {
        self.cilium = Cilium::ErrorOn(node);
        self
    }
    pub fn without_agent_pod(mut self, node: &'static str) -> Self {
        self.cilium = Cilium::NotOn(node);
        let cluster = node.split('-').next().unwrap_or_default();
        self.without_object(cluster, "Pod", &format!("cilium-{node}"))
    }
    /// The agent's command on the node never comes back.
    pub fn cilium_hangs_on(mut self, node: &'static str) -> Self {
        self.cilium = Cilium::HangsOn(node);
        self
    }
    pub fn agent_unready(self, node: &'static str) -> Self {
        let cluster = node.split('-').next().unwrap_or_default();
        let message = "containers with unready status: [cilium-agent]";
        let pod = kube::agent_pod(node, &json!({"type": "Ready", "status": "False", "message": message}));
        self.without_object(cluster, "Pod", &format!("cilium-{node}"))
            .object(cluster, pod)
    }
    pub fn list_refused(mut self, kind: &'static str) -> Self {
        self.refused_kinds.insert(kind);
        self
    }
    pub fn apply_refused(mut self) -> Self {
        self.apply_refused = true;
        self
    }
    /// Agents can capture on this network.
    pub fn captures(mut self, network: Arc<dyn Captures>) -> Self {
        self.captures = captures::Running::on(network);
        self
    }
    pub fn object(self, cluster: &str, object: Value) -> Self {
        self.objects.put(&cluster.into(), object);
        self
    }
    pub fn without_object(self, cluster: &str, kind: &str, name: &str) -> Self {
        self.objects.remove(&cluster.into(), kind, name);
        self
    }

    /// Runs the check, panics unless it concludes `word`, and returns everything that it said.
    pub async fn expect(self, check: &dyn Check, instance: Instance, word: &str) -> String {
        let (id, trial) = (check.id(), instance.to_string());
        let (text, _) = self.run(check, instance).await;
        assert!(
            text.starts_with(&format!("{word}\n")),
            "{id} on {trial}: expected {word}, got {text}"
        );
        text
    }

    /// Runs the check; returns everything that it said, and what it created and left behind.
    pub async fn run(self, check: &dyn Check, instance: Instance) -> (String, Vec<String>) {
        let world = Arc::new(Self {
            batches: Arc::default(),
            objects: self.objects.fork(),
            ..self
        });
        let context = CheckContext::new(world.clone(), instance);
        let verdict = check.run(&context).await;
        let notes = context.take_notes();
        let mut said = vec![verdict.word().to_owned()];
        match verdict {
            Verdict::Pass { witnesses } => said.extend(witnesses.into_iter().map(|w| format!("witness: {}", w.what))),
            Verdict::Fail { findings } => said.extend(findings.into_iter().map(|f| {
                format!(
                    "finding: {} | expected {} | observed {}",
                    f.subject, f.expected, f.observed
                )
            })),
            Verdict::Inconclusive { why } | Verdict::Skipped { why } => said.push(why),
        }
        said.extend(notes.measurements.iter().map(|m| match &m.distribution {
            Some(latencies) => {
                let (p50, p99) = (latencies.p50, latencies.p99);
                format!("measured: {} {}: p50 {p50}, p99 {p99}", m.name, m.subject)
            }
            None => format!("measured: {} {}: {}", m.name, m.subject, m.value),
        }));
        said.extend(notes.evidence.iter().map(|line| format!("evidence: {line}")));
        (said.join("\n"), world.objects.created())
    }
}

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
}
