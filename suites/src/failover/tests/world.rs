//! Two clusters in memory whose pods come and go by the clock: what each stream meets follows from which backends the
//! data path knows at that moment, and which of them still answer.

mod environment;
mod pods;
mod streams;

use super::super::{SCENARIO, now};
use crate::testing::Fake;
use meshproof_contract::{Check, CheckContext, Consent, Facts, Instance, NodeName, ServiceFacts};
use pods::{Pod, agent};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use streams::Running;

/// Whether a stream to a service (its name) loses the probe that is due so long after the first disruption.
type Loses = Arc<dyn Fn(&str, Duration) -> bool + Send + Sync>;

/// What changes.
#[derive(Default)]
struct State {
    pods: Vec<Pod>,
    streams: Vec<Running>,
    /// When the first disruption was injected, and the last one undone, in microseconds since the beginning.
    disrupted: Option<u64>,
    restored: Option<u64>,
    cordoned: Option<NodeName>,
    /// Objects that were applied and not deleted.
    applied: usize,
}

/// The clusters; healthy unless changed.
pub struct World {
    pub facts: Facts,
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
    /// From the restoration until the clusters are in sync again; none: nothing counts services.
    pub joins: Option<Duration>,
    /// From the restoration until the endpoints are ready again.
    pub regenerates: Duration,
    /// Which probes are lost.
    pub loses: Loses,
    /// Whether successors run where the other pods are.
    pub crowds: bool,
    /// Whether the operators have a command that cuts nodes off.
    pub power: bool,
}

impl World {
    /// Backends and clients on the nodes 2 and 3 of each cluster, neighbours on all.
    pub fn new() -> Self {
        let mut facts = Fake::healthy().facts;
        facts.agents.clear();
        facts.services.clear();
        facts.consent = Consent::Given;
        let mut pods = Vec::new();
        for (cluster, block) in [("infra", 96), ("apps", 97)] {
            let services = [
                ("failover-local", "backend"),
                ("failover-global", "global-backend"),
                ("failover-remote", "global-backend"),
            ];
            for (number, (service, workload)) in services.into_iter().enumerate() {
                facts.services.push(ServiceFacts {
                    cluster: cluster.into(),
                    scenario: SCENARIO.to_owned(),
                    namespace: "meshproof".to_owned(),
                    name: service.to_owned(),
                    address: Some(format!("10.{block}.1.{number}").parse().expect("an address")),
                    ports: BTreeMap::new(),
                    workload: workload.to_owned(),
                });
            }
            let placed = [
                ("backend", 2..=3),
                ("global-backend", 2..=3),
                ("client", 2..=3),
                ("neighbour", 1..=3),
            ];
            for (workload, nodes) in placed {
                for node in nodes {
                    let node = format!("{cluster}-{node}");
                    pods.push(Pod::from_now_on(agent(cluster, workload, &node, pods.len()), 0));
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
            power: true,
        }
    }

    /// With a change.
    pub fn with(change: impl FnOnce(&mut Self)) -> Self {
        let mut world = Self::new();
        change(&mut world);
        world
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

    /// Runs the check, panics unless it concludes `word`, and returns everything that it reported.
    pub async fn expect(self, check: &dyn Check, instance: Instance, word: &str) -> String {
        let id = check.id();
        let context = CheckContext::new(Arc::new(self), instance);
        let verdict = check.run(&context).await;
        let text = format!("{verdict:?}\n{:?}", context.take_notes());
        assert_eq!(verdict.word(), word, "{id}: {text}");
        text
    }

    /// Microseconds since the beginning.
    fn micros(&self) -> u64 {
        (now() - self.began).as_micros() as u64
    }
}
