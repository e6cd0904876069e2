//! Counting pods: who is expected, who is ready, and what keeps the others. Pure.

use super::limit::Step;
use crate::name::{SCENARIO, WORKLOAD};
use k8s_openapi::api::{
    apps::v1::DaemonSet,
    core::v1::{ContainerStatus, Pod},
};
use kube::{ResourceExt, runtime::watcher::Event};
use meshproof_contract::{ClusterName, NodeName, facts::PodNetwork};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

const DEAD: &str = "the node is not Ready";

/// Agents that should come.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    pub scenario: String,
    pub workload: String,
    pub network: PodNetwork,
    /// Where its pods live.
    pub namespace: &'static str,
    pub number: Number,
    /// Name of the DaemonSet or Deployment.
    pub owner: String,
}

/// How many.
#[derive(Clone, Debug)]
pub(crate) enum Number {
    /// One on each of these nodes (true: the node is ready).
    Nodes(BTreeMap<NodeName, bool>),
    /// One on every node, as many as the DaemonSet tells: nodes may not be listed.
    EveryNode,
    Replicas(u16),
}

/// A pod to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReadyPod {
    pub scenario: String,
    pub workload: String,
    pub network: PodNetwork,
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub restarts: i32,
    pub node: NodeName,
    pub address: IpAddr,
}

/// An agent to do without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Absent {
    pub scenario: String,
    pub workload: String,
    pub node: Option<NodeName>,
    pub namespace: String,
    /// The pod, if there is one.
    pub pod: Option<String>,
    /// Its controller.
    pub owner: String,
    pub state: State,
}

/// How far a pod is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Ready,
    /// On the way.
    Coming(String),
    /// Not likely to come.
    Stuck(String),
}

impl State {
    pub(crate) fn text(&self) -> &str {
        match self {
            State::Ready => "ready",
            State::Coming(text) | State::Stuck(text) => text,
        }
    }
    pub(crate) fn is_stuck(&self) -> bool {
        matches!(self, State::Stuck(_))
    }
}

pub(crate) struct Census {
    cluster: ClusterName,
    expected: Vec<Expected>,
    dead: BTreeSet<NodeName>,
    pods: BTreeMap<(String, String), Pod>,
    /// Namespaces whose first list is under way, with what it brought so far.
    listing: BTreeMap<String, BTreeSet<String>>,
    /// Namespaces whose first list is complete.
    listed: BTreeSet<String>,
    /// What a DaemonSet says it wants.
    desired: BTreeMap<(String, String), i32>,
}

impl Census {
    pub(crate) fn new(cluster: ClusterName, expected: Vec<Expected>) -> Self {
        Self {
            cluster,
            expected,
            dead: BTreeSet::new(),
            pods: BTreeMap::new(),
            listing: BTreeMap::new(),
            listed: BTreeSet::new(),
            desired: BTreeMap::new(),
        }
    }

    /// Those nodes are not Ready: what is bound to them does not come.
    pub(crate) fn without(self, dead: BTreeSet<NodeName>) -> Self {
        Self { dead, ..self }
    }

    /// Whether agents are expected in that namespace.
    pub(crate) fn uses(&self, namespace: &str) -> bool {
        self.expected.iter().any(|e| e.namespace == namespace)
    }

    pub(crate) fn pod(&mut self, namespace: &str, event: Event<Pod>) {
        match event {
            Event::Init => {
                self.listing.insert(namespace.to_owned(), BTreeSet::new());
            }
            Event::InitApply(pod) => {
                if let Some(seen) = self.listing.get_mut(namespace) {
                    seen.insert(pod.name_any());
                }
                self.pods.insert((namespace.to_owned(), pod.name_any()), pod);
            }
            Event::InitDone => {
                let seen = self.listing.remove(namespace).unwrap_or_default();
                self.pods.retain(|(ns, name), _| ns != namespace || seen.contains(name));
                self.listed.insert(namespace.to_owned());
            }
            Event::Apply(pod) => {
                self.pods.insert((namespace.to_owned(), pod.name_any()), pod);
            }
            Event::Delete(pod) => {
                self.pods.remove(&(namespace.to_owned(), pod.name_any()));
            }
        }
    }

    pub(crate) fn set(&mut self, namespace: &str, set: &DaemonSet) {
        let status = set.status.as_ref();
        if status.is_some_and(|s| s.observed_generation == set.metadata.generation) {
            let desired = status.map_or(0, |s| s.desired_number_scheduled);
            self.desired.insert((namespace.to_owned(), set.name_any()), desired);
        }
    }

    /// Whether enough has been seen to count at all.
    pub(crate) fn is_complete(&self) -> bool {
        self.expected.iter().all(|e| {
            let namespace = e.namespace;
            let counted = match e.number {
                Number::EveryNode => self.desired.contains_key(&(namespace.to_owned(), e.owner.clone())),
                _ => true,
            };
            counted && self.listed.contains(namespace)
        })
    }

    /// The agents that are not ready, in stable order.
    pub(crate) fn missing(&self) -> Vec<Absent> {
        self.expected.iter().flat_map(|e| self.missing_of(e)).collect()
    }

    /// Whether none of the missing is on the way.
    pub(crate) fn is_hopeless(&self) -> bool {
        self.missing().iter().all(|a| a.state.is_stuck())
    }

    pub(crate) fn ready(&self) -> Vec<ReadyPod> {
        let all = self.expected.iter().flat_map(|e| {
            let limit = match &e.number {
                Number::Replicas(n) => usize::from(*n),
                _ => usize::MAX,
            };
            let ready = self.pods_of(e).filter(|pod| state(pod) == State::Ready);
            ready.filter_map(|pod| ready_pod(e, pod)).take(limit)
        });
        all.collect()
    }

    /// What all pods have come to.
    pub(crate) fn steps(&self) -> impl Iterator<Item = Step> {
        self.pods.values().flat_map(|pod| {
            let uid = pod.uid().unwrap_or_default();
            let ready = (state(pod) == State::Ready).then(|| Step::Ready { uid: uid.clone() });
            ready.into_iter().chain(has_run(pod).then_some(Step::Started { uid }))
        })
    }

    /// `apps: 5 of 6 agents ready; node apps-2: ImagePullBackOff: …`.
    pub(crate) fn tell(&self) -> String {
        let (missing, ready) = (self.missing(), self.ready().len());
        let mut text = format!("{}: {ready} of {} agents ready", self.cluster, ready + missing.len());
        // What is stuck is worth more words than what is on its way.
        let stuck = missing.iter().find(|a| a.state.is_stuck());
        if let Some(absent) = stuck.or(missing.first()) {
            match &absent.node {
                Some(node) => text.push_str(&format!("; node {node}: {}", absent.state.text())),
                None => text.push_str(&format!("; {}: {}", absent.workload, absent.state.text())),
            }
        }
        text
    }

    fn state(&self, pod: &Pod) -> State {
        match state(pod) {
            State::Coming(_) if node_of(pod).is_some_and(|node| self.dead.contains(&node)) => {
                State::Stuck(DEAD.to_owned())
            }
            state => state,
        }
    }

    fn pods_of<'a>(&'a self, expected: &'a Expected) -> impl Iterator<Item = &'a Pod> {
        let namespace = expected.namespace;
        self.pods
            .iter()
            .filter(move |((ns, _), _)| ns == namespace)
            .map(|(_, pod)| pod)
            .filter(|pod| {
                pod.labels().get(SCENARIO) == Some(&expected.scenario)
                    && pod.labels().get(WORKLOAD) == Some(&expected.workload)
            })
    }

    fn missing_of(&self, expected: &Expected) -> Vec<Absent> {
        let absent = |node: Option<NodeName>, pod: Option<&Pod>, state: State| Absent {
            scenario: expected.scenario.clone(),
            workload: expected.workload.clone(),
            node,
            namespace: expected.namespace.to_owned(),
            pod: pod.map(ResourceExt::name_any),
            owner: expected.owner.clone(),
            state,
        };
        let mut by_node: BTreeMap<Option<NodeName>, Vec<&Pod>> = BTreeMap::new();
        for pod in self.pods_of(expected) {
            by_node.entry(node_of(pod)).or_default().push(pod);
        }
        match &expected.number {
            Number::Nodes(nodes) => nodes
                .iter()
                .filter_map(|(node, node_ready)| {
                    let pods = by_node.get(&Some(node.clone())).map_or(&[][..], Vec::as_slice);
                    let best = pods.iter().copied().min_by_key(|pod| rank(&state(pod)));
                    let state = match best.map(state) {
                        Some(State::Ready) => return None,
                        _ if !node_ready => State::Stuck(DEAD.to_owned()),
                        Some(state) => state,
                        None if self.listed.is_empty() => State::Coming("not seen yet".to_owned()),
                        None => State::Stuck("no pod was created for it".to_owned()),
                    };
                    Some(absent(Some(node.clone()), best, state))
                })
                .collect(),
            number => {
                let wanted = match number {
                    Number::Replicas(n) => usize::from(*n),
                    _ => {
                        let key = (expected.namespace.to_owned(), expected.owner.clone());
                        self.desired.get(&key).map_or(0, |n| usize::try_from(*n).unwrap_or(0))
                    }
                };
                let (ready, mut rest): (Vec<&Pod>, Vec<&Pod>) =
                    self.pods_of(expected).partition(|pod| state(pod) == State::Ready);
                rest.sort_by_key(|pod| rank(&self.state(pod)));
                let short = wanted.saturating_sub(ready.len());
                let mut missing: Vec<_> = rest
                    .into_iter()
                    .take(short)
                    .map(|pod| absent(node_of(pod), Some(pod), self.state(pod)))
                    .collect();
                while missing.len() < short {
                    missing.push(absent(None, None, State::Stuck("no pod was created for it".to_owned())));
                }
                missing
            }
        }
    }
}

fn rank(state: &State) -> u8 {
    match state {
        State::Ready => 0,
        State::Coming(_) => 1,
        State::Stuck(_) => 2,
    }
}

/// The node of a pod; one of a DaemonSet that waits for the scheduler names it in its affinity only.
fn node_of(pod: &Pod) -> Option<NodeName> {
    let spec = pod.spec.as_ref()?;
    let assigned = spec.node_name.as_deref().filter(|name| !name.is_empty());
    let meant = || {
        let required = spec
            .affinity
            .as_ref()?
            .node_affinity
            .as_ref()?
            .required_during_scheduling_ignored_during_execution
            .as_ref()?;
        // Replicas have one for each node that will do.
        let [term] = required.node_selector_terms.as_slice() else {
            return None;
        };
        let fields = term.match_fields.iter().flatten();
        fields
            .filter(|f| f.key == "metadata.name")
            .find_map(|f| f.values.as_ref()?.first().map(String::as_str))
    };
    assigned.or_else(meant).map(NodeName::from)
}

fn ready_pod(expected: &Expected, pod: &Pod) -> Option<ReadyPod> {
    let status = pod.status.as_ref()?;
    Some(ReadyPod {
        scenario: expected.scenario.clone(),
        workload: expected.workload.clone(),
        network: expected.network,
        namespace: expected.namespace.to_owned(),
        name: pod.name_any(),
        uid: pod.uid().unwrap_or_default(),
        restarts: restarts(pod),
        node: node_of(pod)?,
        address: status.pod_ip.as_ref()?.parse().ok()?,
    })
}

/// How often the agent's container was started again.
pub(crate) fn restarts(pod: &Pod) -> i32 {
    let statuses = pod.status.as_ref().and_then(|s| s.container_statuses.as_ref());
    statuses.into_iter().flatten().map(|c| c.restart_count).sum()
}

/// Whether its container has been started.
fn has_run(pod: &Pod) -> bool {
    let statuses = pod.status.as_ref().and_then(|s| s.container_statuses.as_ref());
    let runs = |c: &ContainerStatus| c.state.as_ref().is_some_and(|s| s.running.is_some());
    statuses.into_iter().flatten().any(|c| runs(c) || c.restart_count > 0)
}

/// How far a pod is, in the words of its status.
pub(crate) fn state(pod: &Pod) -> State {
    if pod.metadata.deletion_timestamp.is_some() {
        return State::Coming("terminating".to_owned());
    }
    let Some(status) = &pod.status else {
        return State::Coming("no status yet".to_owned());
    };
    let condition = |kind: &str| status.conditions.iter().flatten().find(|c| c.type_ == kind);
    if condition("Ready").is_some_and(|c| c.status == "True") {
        return State::Ready;
    }
    let phase = status.phase.as_deref().unwrap_or("Pending");
    let with = |reason: &str, message: Option<&str>| match message.map(crate::api::one_line) {
        Some(message) if !message.is_empty() => format!("{reason}: {message}"),
        _ => reason.to_owned(),
    };
    if phase == "Failed" {
        let reason = status.reason.as_deref().unwrap_or("Failed");
        return State::Stuck(with(reason, status.message.as_deref()));
    }
    if let Some(c) = condition("PodScheduled").filter(|c| c.status == "False") {
        return State::Stuck(with("Pending", c.message.as_deref().or(c.reason.as_deref())));
    }
    let containers = status.init_container_statuses.iter().chain(&status.container_statuses);
    containers
        .flatten()
        .find_map(container_state)
        .unwrap_or_else(|| match phase {
            "Running" => State::Coming("running, not ready yet".to_owned()),
            phase => State::Coming(phase.to_owned()),
        })
}

fn container_state(container: &ContainerStatus) -> Option<State> {
    let current = container.state.as_ref()?;
    if let Some(waiting) = &current.waiting {
        let reason = waiting.reason.as_deref().unwrap_or("waiting");
        let text = match waiting.message.as_deref() {
            Some(message) if !message.is_empty() => format!("{reason}: {}", crate::api::one_line(message)),
            _ => reason.to_owned(),
        };
        return Some(match reason {
            "ContainerCreating" | "PodInitializing" | "waiting" => State::Coming(text),
            _ => State::Stuck(text),
        });
    }
    let ended = current.terminated.as_ref()?;
    let reason = ended.reason.as_deref().unwrap_or("terminated");
    let message = ended.message.as_deref().map(|m| format!(": {m}")).unwrap_or_default();
    Some(State::Stuck(format!(
        "{reason}, exit code {}{message}",
        ended.exit_code
    )))
}

#[cfg(test)]
mod tests;
