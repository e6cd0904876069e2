//! The test world, healthy unless a test breaks something in it.

use super::{
    captures::{self, Captures},
    course::Course,
    kube::{self, Objects},
    network::Ask,
    topology::{self, MISSION, Shape},
};
use meshproof_contract::{AgentId, CiliumQuery, Facts, Outcome, facts::MissingAgent};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, atomic::AtomicUsize},
    time::Duration,
};

pub(super) type Rule = Arc<dyn Fn(&Ask<'_>) -> Option<Outcome> + Send + Sync>;
/// What the agent on a node reports of its policies and endpoints.
pub(super) type Policies = Arc<dyn Fn(&str, CiliumQuery) -> Value + Send + Sync>;
pub(super) type Tamper = Arc<dyn Fn(&str, &str, &mut Value) + Send + Sync>;

/// When a follower of the API learns of a new object, and forgets a deleted one; none is never.
#[derive(Clone, Copy)]
pub(super) struct Follows {
    pub(super) learns: Option<Duration>,
    pub(super) forgets: Option<Duration>,
}

pub(super) const AT_ONCE: Follows = Follows {
    learns: Some(Duration::ZERO),
    forgets: Some(Duration::ZERO),
};

/// Tries after which series repeat themselves in worlds of other shapes than the mission's: a multiple of the numbers
/// of backends there, so that shares are right.
const PERIOD: u32 = 20;

/// The clusters.
#[derive(Clone)]
pub struct Fake {
    pub facts: Facts,
    pub(super) shape: Shape,
    /// After so many tries a series repeats itself.
    pub(super) period: u32,
    pub(super) rules: Vec<Rule>,
    pub(super) latency: u32,
    pub(super) mesh_latency: u32,
    pub(super) lag: u64,
    pub(super) starved: Option<u64>,
    pub(super) replicas: BTreeMap<String, Follows>,
    pub(super) mesh: Follows,
    pub(super) status: Vec<Tamper>,
    pub(super) kvstoremesh: Vec<Tamper>,
    pub(super) troubleshoot: Vec<Tamper>,
    pub(super) nodes: Vec<Tamper>,
    pub(super) policies: Option<Policies>,
    pub(super) cilium: Cilium,
    pub(super) refused_kinds: BTreeSet<&'static str>,
    pub(super) refused_objects: BTreeSet<&'static str>,
    pub(super) api_latency: Duration,
    pub(super) apply_refused: bool,
    pub(super) objects: Objects,
    pub(super) course: Course,
    pub(super) captures: captures::Running,
    /// How often the agents of a cluster were asked something on chosen nodes.
    pub asked: Arc<AtomicUsize>,
    /// Batches that each agent was sent in this run of a check.
    pub(super) batches: Arc<Mutex<BTreeMap<AgentId, u32>>>,
}

#[derive(Clone, PartialEq, Eq)]
pub(super) enum Cilium {
    Answers,
    Refused,
    Silent,
    ErrorOn(&'static str),
    HangsOn(&'static str),
    NotOn(&'static str),
}

impl Fake {
    pub fn healthy() -> Self {
        Self::of(MISSION)
    }

    /// Healthy clusters of that shape.
    pub fn of(shape: Shape) -> Self {
        let facts = topology::facts(shape);
        let objects = Objects::of(&facts);
        Self {
            facts,
            shape,
            period: if shape == MISSION { u32::MAX } else { PERIOD },
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
            refused_objects: BTreeSet::new(),
            api_latency: Duration::ZERO,
            apply_refused: false,
            objects,
            course: Course::default(),
            captures: captures::Running::default(),
            asked: Arc::default(),
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
    /// Tampers with what `troubleshoot` prints on a node.
    pub fn troubleshoot(mut self, tamper: impl Fn(&str, String) -> String + Send + Sync + 'static) -> Self {
        self.troubleshoot.push(Arc::new(move |_, node, value| {
            *value = tamper(node, value.as_str().unwrap_or_default().to_owned()).into();
        }));
        self
    }
    /// Tampers with `kvstoremesh-dbg status` of a cluster.
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
    /// What the agents report of their policies and endpoints; nothing by default.
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
    /// A single object of that kind may not be read.
    pub fn get_refused(mut self, kind: &'static str) -> Self {
        self.refused_objects.insert(kind);
        self
    }
    /// The API servers take so long to read one object.
    pub fn api_latency(mut self, latency: Duration) -> Self {
        self.api_latency = latency;
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
    /// An object is changed by a merge patch.
    pub fn patched(self, cluster: &str, kind: &str, name: &str, change: &Value) -> Self {
        let patched = self.objects.patch(&cluster.into(), kind, name, change);
        assert!(patched.is_some(), "{cluster} has no {kind} {name}");
        self
    }
    /// The same some seconds after the beginning.
    pub fn patched_later(mut self, cluster: &str, kind: &'static str, name: &'static str, change: &Value) -> Self {
        self.course.patch_later(cluster, kind, name, change);
        self
    }
    /// Somebody renews that Lease all the time.
    pub fn renewing(mut self, cluster: &str, lease: &'static str) -> Self {
        self.course.renew(cluster, lease);
        self
    }
    /// A kubelet renews the Lease of that node by a clock that is so many seconds ahead.
    pub fn beating(mut self, cluster: &str, node: &str, ahead: i64) -> Self {
        self.course.beat(cluster, node, ahead);
        let meta = json!({"namespace": "kube-node-lease", "name": node});
        let spec = json!({"holderIdentity": node, "leaseDurationSeconds": 40, "renewTime": "2026-11-21T09:14:24Z"});
        self.without_object(cluster, "Lease", node)
            .object(cluster, json!({"kind": "Lease", "metadata": meta, "spec": spec}))
    }
    /// Its kubelet does so no more.
    pub fn kubelet_stopped(mut self, node: &str) -> Self {
        self.course.stop_beating(node);
        self
    }
    /// Nobody renews any Lease.
    pub fn frozen(mut self) -> Self {
        self.course = Course::default();
        self
    }
    pub fn without_object(self, cluster: &str, kind: &str, name: &str) -> Self {
        self.objects.remove(&cluster.into(), kind, name);
        self
    }
}
