//! Two clusters in memory whose pods come and go by the clock, for the tests of the checks: what each stream meets follows from
//! which backends the data path knows at that moment, and which of them still answer.

use super::cast::SCENARIO;
use super::now;
use crate::testing::{Fake, timeout};
use async_trait::async_trait;
use meshproof_contract::facts::PodNetwork;
use meshproof_contract::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Every answer's latency, in microseconds.
const LATENCY: u32 = 300;
/// Whether a stream to a service (its name) loses the probe that is due so long after the first disturbance.
type Loses = Arc<dyn Fn(&str, Duration) -> bool + Send + Sync>;

/// A pod, by microseconds since the stage was set.
#[derive(Clone)]
struct Pod {
    agent: AgentFacts,
    from: u64,
    until: u64,
}

impl Pod {
    fn is_there(&self, at: u64) -> bool {
        self.from <= at && at < self.until
    }
}

struct Running {
    client: ClusterName,
    to: String,
    interval: u64,
    start: u64,
    next: u64,
    servers: Vec<Identity>,
    /// Whether its probes share a connection, and who has the other end of that.
    shared: bool,
    held: Option<String>,
}

#[derive(Default)]
struct State {
    pods: Vec<Pod>,
    streams: Vec<Running>,
    disturbed: Option<u64>,
    restored: Option<u64>,
    cordoned: Option<NodeName>,
    applied: usize,
}

/// The stage; healthy until told otherwise.
pub struct Stage {
    facts: Facts,
    began: Instant,
    state: Mutex<State>,
    /// From the end of a pod until its endpoint is shown as gone.
    pub shown: Duration,
    /// From then until the data path forgets it.
    pub forgets: Duration,
    /// From the end of a pod until its successor answers; none: it never does.
    pub replaces: Option<Duration>,
    /// How long a restoration takes; none: it fails.
    pub restores: Option<Duration>,
    /// From the restoration until the other cluster's news arrive; none: nobody counts them.
    pub joins: Option<Duration>,
    /// From the restoration until the endpoints are ready again.
    pub regenerates: Duration,
    pub loses: Loses,
    /// Restores without nodes being spread: successors go where the others are.
    pub crowds: bool,
}

impl Stage {
    /// Backends and clients on the nodes 2 and 3 of each cluster, neighbours on all.
    pub fn set() -> Self {
        let mut facts = Fake::healthy().facts;
        facts.agents.clear();
        facts.services.clear();
        facts.consent = Consent::Given;
        let mut pods = Vec::new();
        for (cluster, block) in [("infra", 96), ("apps", 97)] {
            for (number, service) in ["failover-local", "failover-global", "failover-remote"]
                .into_iter()
                .enumerate()
            {
                facts.services.push(ServiceFacts {
                    cluster: cluster.into(),
                    scenario: SCENARIO.to_owned(),
                    namespace: "meshproof".to_owned(),
                    name: service.to_owned(),
                    address: Some(format!("10.{block}.1.{number}").parse().expect("an address")),
                    ports: BTreeMap::new(),
                    workload: "backend".to_owned(),
                });
            }
            let placed = [("backend", 2..=3), ("client", 2..=3), ("neighbour", 1..=3)];
            for (workload, nodes) in placed {
                for node in nodes {
                    pods.push(Pod {
                        agent: agent(cluster, workload, &format!("{cluster}-{node}"), pods.len()),
                        from: 0,
                        until: u64::MAX,
                    });
                }
            }
        }
        Self {
            facts,
            began: now(),
            state: Mutex::new(State {
                pods,
                ..State::default()
            }),
            shown: Duration::from_millis(50),
            forgets: Duration::from_millis(200),
            replaces: Some(Duration::from_secs(1)),
            restores: Some(Duration::from_millis(500)),
            joins: Some(Duration::ZERO),
            regenerates: Duration::from_millis(300),
            loses: Arc::new(|_, _| false),
            crowds: false,
        }
    }

    /// With a change of what it is like.
    pub fn with(change: impl FnOnce(&mut Self)) -> Self {
        let mut stage = Self::set();
        change(&mut stage);
        stage
    }

    /// Puts all pods of a workload on one node.
    pub fn crowded(self, cluster: &str, workload: &str, node: &str) -> Self {
        for pod in &mut self.state.lock().expect("no panic").pods {
            if pod.agent.id.cluster == cluster.into() && pod.agent.workload == workload {
                pod.agent.node = node.into();
            }
        }
        self
    }

    pub fn losing(mut self, loses: impl Fn(&str, Duration) -> bool + Send + Sync + 'static) -> Self {
        self.loses = Arc::new(loses);
        self
    }

    /// Runs the check; returns its verdict's word and everything that it said.
    pub async fn expect(self, check: &dyn Check, instance: Instance, word: &str) -> String {
        let id = check.id();
        let context = CheckContext::new(Arc::new(self), instance);
        let verdict = check.run(&context).await;
        let text = format!("{verdict:?}\n{:?}", context.take_notes());
        assert_eq!(verdict.word(), word, "{id}: {text}");
        text
    }

    fn micros(&self) -> u64 {
        (now() - self.began).as_micros() as u64
    }

    /// Ends these pods, and begins their successors on the nodes that are left.
    fn end(&self, state: &mut State, ends: impl Fn(&AgentFacts) -> bool) {
        let at = self.micros();
        state.disturbed.get_or_insert(at);
        let gone: Vec<AgentFacts> = state
            .pods
            .iter_mut()
            .filter(|pod| pod.until > at && ends(&pod.agent))
            .map(|pod| {
                pod.until = at;
                pod.agent.clone()
            })
            .collect();
        if let Some(after) = self.replaces {
            for old in gone {
                self.begin(state, &old, at + after.as_micros() as u64);
            }
        }
    }

    fn begin(&self, state: &mut State, like: &AgentFacts, from: u64) {
        let cluster = like.id.cluster.as_str();
        let on = |node: &str| {
            let same = state.pods.iter().filter(|pod| {
                pod.until > from && pod.agent.workload == like.workload && pod.agent.id.cluster == like.id.cluster
            });
            same.filter(|pod| pod.agent.node.as_str() == node).count()
        };
        let nodes = (2..=3).map(|n| format!("{cluster}-{n}"));
        let fit = nodes.filter(|node| state.cordoned.as_ref().is_none_or(|cordoned| cordoned.as_str() != node));
        let node = match self.crowds {
            true => fit.max_by_key(|node| on(node)),
            false => fit.min_by_key(|node| on(node)),
        };
        let node = match like.workload.as_str() {
            "neighbour" => like.node.to_string(),
            _ => node.expect("a node"),
        };
        let agent = agent(cluster, &like.workload, &node, state.pods.len());
        state.pods.push(Pod {
            agent,
            from,
            until: u64::MAX,
        });
    }

    /// Who answers a probe of a stream; an error where nobody does.
    fn server(&self, state: &State, stream: &Running, number: u64, due: u64) -> Result<Option<Identity>, ()> {
        let service = self.facts.services.iter().find(|s| {
            s.address.is_some_and(|a| a.to_string() == stream.to) || stream.to.starts_with(&format!("{}.", s.name))
        });
        let Some(service) = service else {
            let mut pods = state
                .pods
                .iter()
                .filter(|pod| pod.agent.address.to_string() == stream.to);
            return match pods.next() {
                Some(pod) => pod.is_there(due).then(|| Some(identity(&pod.agent))).ok_or(()),
                // A name that nothing happens to.
                None => Ok(None),
            };
        };
        let since = due.saturating_sub(state.disturbed.unwrap_or(due));
        if (self.loses)(&service.name, Duration::from_micros(since)) && state.disturbed.is_some_and(|at| at <= due) {
            return Err(());
        }
        if stream.to.contains("svc") {
            return Ok(None);
        }
        let lag = (self.shown + self.forgets).as_micros() as u64;
        let known = |own: bool| {
            let pods = state.pods.iter().filter(move |pod| pod.agent.workload == "backend");
            let pods = pods.filter(move |pod| (pod.agent.id.cluster == stream.client) == own);
            let pods = pods.filter(|pod| pod.from <= due && due < pod.until.saturating_add(lag));
            pods.collect::<Vec<_>>()
        };
        let mut backends = known(service.name != "failover-remote");
        if backends.is_empty() && service.name != "failover-local" {
            backends = known(service.name == "failover-remote");
        }
        let held = stream.held.as_ref().filter(|_| stream.shared);
        let held = backends.iter().find(|pod| held == Some(&pod.agent.id.pod));
        let any = backends.get(number as usize % backends.len().max(1));
        let backend = held.or(any).ok_or(())?;
        backend.is_there(due).then(|| Some(identity(&backend.agent))).ok_or(())
    }
}

fn agent(cluster: &str, workload: &str, node: &str, number: usize) -> AgentFacts {
    AgentFacts {
        id: AgentId {
            cluster: cluster.into(),
            pod: format!("{workload}-{number}"),
        },
        scenario: SCENARIO.to_owned(),
        workload: workload.to_owned(),
        namespace: "meshproof".to_owned(),
        node: node.into(),
        address: format!("10.244.9.{number}").parse().expect("an address"),
        network: PodNetwork::Pod,
    }
}

fn identity(agent: &AgentFacts) -> Identity {
    Identity {
        cluster: agent.id.cluster.to_string(),
        node: agent.node.to_string(),
        namespace: agent.namespace.clone(),
        pod: agent.id.pod.clone(),
    }
}

fn failed<T>(cluster: &ClusterName) -> Result<T, EnvironmentError> {
    Err(EnvironmentError::Api {
        cluster: cluster.clone(),
        operation: "do this".to_owned(),
        reason: "the stage was set so".to_owned(),
    })
}

#[async_trait]
impl Environment for Stage {
    fn facts(&self) -> Arc<Facts> {
        Arc::new(self.facts.clone())
    }
    async fn probe(&self, agent: &AgentId, _: Vec<Probe>) -> Result<Vec<Outcome>, EnvironmentError> {
        failed(&agent.cluster)
    }
    async fn cilium(&self, cluster: &ClusterName, query: CiliumQuery) -> Result<Vec<CiliumAnswer>, EnvironmentError> {
        let state = self.state.lock().expect("no panic");
        let output = match query {
            CiliumQuery::KvstoreMesh => {
                let Some(after) = self.joins else {
                    return failed(cluster);
                };
                let joined = state.restored.map(|at| at + after.as_micros() as u64);
                let news = joined.is_none_or(|at| self.micros() >= at);
                let count = 2 + state.applied * usize::from(news);
                let remotes = ["infra", "apps"].into_iter().filter(|name| *name != cluster.as_str());
                remotes
                    .map(|name| json!({"name": name, "num-shared-services": count}))
                    .collect()
            }
            CiliumQuery::Endpoints => {
                let regenerated = state.restored.map(|at| at + self.regenerates.as_micros() as u64);
                let ready = regenerated.is_none_or(|at| self.micros() >= at);
                json!([{"status": {"state": if ready { "ready" } else { "regenerating" }}}])
            }
            _ => return failed(cluster),
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
            "Node" => {
                let cordoned = &self.state.lock().expect("no panic").cordoned;
                let cordoned = cordoned.as_ref().is_some_and(|node| node.as_str() == object.name);
                Ok(Some(json!({"spec": {"unschedulable": cordoned}})))
            }
            _ => failed(cluster),
        }
    }
    async fn list(
        &self,
        cluster: &ClusterName,
        _: &str,
        kind: &str,
        _: Option<&str>,
    ) -> Result<Vec<Value>, EnvironmentError> {
        let state = self.state.lock().expect("no panic");
        if kind == "Node" {
            let ready = json!([{"type": "Ready", "status": "True"}]);
            let node = |n| json!({"metadata": {"name": format!("{cluster}-{n}")}, "status": {"conditions": ready}});
            return Ok((2..=3).map(node).collect());
        }
        let (at, shown) = (self.micros(), self.shown.as_micros() as u64);
        let pods = state
            .pods
            .iter()
            .filter(|pod| &pod.agent.id.cluster == cluster && pod.agent.workload == "backend");
        let pods = pods.filter(|pod| pod.from <= at && at < pod.until.saturating_add(shown));
        let endpoint = |pod: &Pod| json!({"targetRef": {"name": pod.agent.id.pod}, "conditions": {"ready": true}});
        Ok(vec![json!({
            "metadata": {"labels": {"kubernetes.io/service-name": "failover-local"}},
            "endpoints": pods.map(endpoint).collect::<Vec<_>>(),
        })])
    }
    async fn apply(&self, _: &ClusterName, object: Value) -> Result<Value, EnvironmentError> {
        self.state.lock().expect("no panic").applied += 1;
        Ok(object)
    }
    async fn patch(&self, cluster: &ClusterName, _: &ObjectRef, change: Value) -> Result<Value, EnvironmentError> {
        let mut state = self.state.lock().expect("no panic");
        let (at, wanted) = (self.micros(), change["spec"]["replicas"].as_u64().unwrap_or(0));
        let is_backend = |agent: &AgentFacts| agent.workload == "backend" && &agent.id.cluster == cluster;
        if wanted == 0 {
            state.disturbed.get_or_insert(at);
            let pods = state
                .pods
                .iter_mut()
                .filter(|pod| is_backend(&pod.agent) && pod.until > at);
            pods.for_each(|pod| pod.until = at);
        } else if let Some(after) = self.replaces {
            let like = state
                .pods
                .iter()
                .find(|pod| is_backend(&pod.agent))
                .map(|pod| pod.agent.clone());
            for _ in 0..wanted {
                self.begin(
                    &mut state,
                    like.as_ref().expect("a backend"),
                    at + after.as_micros() as u64,
                );
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
        let pods = state.pods.iter().filter(|pod| pod.is_there(at));
        let agents = pods
            .map(|pod| &pod.agent)
            .filter(|a| &a.id.cluster == cluster && a.workload == workload);
        Ok(agents.cloned().collect())
    }
    async fn set_ready(&self, agent: &AgentId, _: Readiness) -> Result<(), EnvironmentError> {
        failed(&agent.cluster)
    }
    async fn clock(&self, _: &AgentId) -> Result<ClockReading, EnvironmentError> {
        Ok(ClockReading {
            at: now(),
            micros: self.micros(),
            error: Duration::ZERO,
        })
    }
    async fn start_stream(&self, agent: &AgentId, spec: StreamSpec) -> Result<StreamId, EnvironmentError> {
        let (to, shared) = match spec.kind {
            StreamKind::LongTcp { to, .. } => (to.host, true),
            StreamKind::Each { action } => match action {
                Action::TcpEcho { to, .. } | Action::UdpEcho { to, .. } => (to.host, false),
                Action::Http { to, .. } => (to.host, true),
                Action::Dns { name, .. } => (name, false),
                other => panic!("not sent by this suite: {other:?}"),
            },
        };
        let mut state = self.state.lock().expect("no panic");
        state.streams.push(Running {
            client: agent.cluster.clone(),
            to,
            interval: spec.interval.as_micros() as u64,
            start: self.micros(),
            next: 0,
            servers: Vec::new(),
            shared,
            held: None,
        });
        Ok(StreamId(state.streams.len() as u64 - 1))
    }
    async fn collect_stream(&self, _: &AgentId, id: StreamId) -> Result<StreamReport, EnvironmentError> {
        let mut state = self.state.lock().expect("no panic");
        let mut samples = Vec::new();
        let at = self.micros();
        loop {
            let stream = &state.streams[id.0 as usize];
            let (number, due) = (stream.next, stream.start + stream.next * stream.interval);
            if due + u64::from(LATENCY) > at {
                break;
            }
            let answer = self.server(&state, stream, number, due);
            let stream = &mut state.streams[id.0 as usize];
            stream.held = answer.as_ref().ok().and_then(|who| Some(who.as_ref()?.pod.clone()));
            let result = match answer {
                Err(()) => StreamResult::Bad { outcome: timeout() },
                Ok(who) => {
                    let server = who.map(|who| match stream.servers.iter().position(|s| *s == who) {
                        Some(known) => known as u32,
                        None => {
                            stream.servers.push(who);
                            stream.servers.len() as u32 - 1
                        }
                    });
                    StreamResult::Good {
                        server,
                        latency: LATENCY,
                    }
                }
            };
            samples.push(StreamSample { number, result });
            stream.next += 1;
        }
        let stream = &state.streams[id.0 as usize];
        Ok(StreamReport {
            start: stream.start,
            interval: stream.interval,
            samples,
            servers: stream.servers.clone(),
            ..StreamReport::default()
        })
    }
    async fn stop_stream(&self, agent: &AgentId, id: StreamId) -> Result<StreamReport, EnvironmentError> {
        self.collect_stream(agent, id).await
    }
    async fn start_capture(&self, agent: &AgentId, _: CaptureSpec) -> Result<CaptureId, EnvironmentError> {
        failed(&agent.cluster)
    }
    async fn collect_capture(&self, agent: &AgentId, _: CaptureId) -> Result<CaptureReport, EnvironmentError> {
        failed(&agent.cluster)
    }
    async fn stop_capture(&self, agent: &AgentId, _: CaptureId) -> Result<CaptureReport, EnvironmentError> {
        failed(&agent.cluster)
    }
    async fn disrupt(&self, cluster: &ClusterName, disruption: &Disruption) -> Result<(), EnvironmentError> {
        let mut state = self.state.lock().expect("no panic");
        let at = self.micros();
        state.disturbed.get_or_insert(at);
        if let Disruption::NodeLost { node } = disruption {
            state.cordoned = Some(node.clone());
            self.end(&mut state, |agent| &agent.id.cluster == cluster && &agent.node == node);
        }
        Ok(())
    }
    async fn restore(&self, cluster: &ClusterName, _: &Disruption) -> Result<(), EnvironmentError> {
        tokio::time::sleep(self.restores.unwrap_or_default()).await;
        let mut state = self.state.lock().expect("no panic");
        (state.cordoned, state.restored) = (None, Some(self.micros()));
        match self.restores {
            Some(_) => Ok(()),
            None => failed(cluster),
        }
    }
}
