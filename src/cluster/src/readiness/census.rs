//! Counting pods: which are expected, which are ready, and what keeps the others from it. Pure.

use super::{
    limit::Step,
    pod_state::{PodState, has_run, node_of, restarts},
};
use crate::name::{SCENARIO, WORKLOAD};
use k8s_openapi::api::{apps::v1::DaemonSet, core::v1::Pod};
use kube::{ResourceExt, runtime::watcher::Event};
use meshproof_contract::{ClusterName, NodeName, facts::PodNetwork};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

const NODE_NOT_READY: &str = "the node is not Ready";
const NO_POD: &str = "no pod was created for it";

/// Agents that should become ready.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    pub scenario: String,
    pub workload: String,
    pub network: PodNetwork,
    /// Scenario and workload in its pods' labels: other ones where pods of another scenario play it.
    pub labels: (String, String),
    /// Where its pods live.
    pub namespace: String,
    pub number: Number,
    /// Name of the DaemonSet or Deployment.
    pub owner: String,
}

/// How many.
#[derive(Clone, Debug)]
pub(crate) enum Number {
    /// One on each of these nodes (true: the node is ready).
    Nodes(BTreeMap<NodeName, bool>),
    /// One on every node, as many as the DaemonSet's status says: nodes may not be listed.
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

/// An agent that is missing.
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
    pub state: PodState,
}

pub(crate) struct Census {
    cluster: ClusterName,
    expected: Vec<Expected>,
    not_ready: BTreeSet<NodeName>,
    pods: BTreeMap<(String, String), Pod>,
    /// Namespaces whose first list is being read, with the pods read so far.
    listing: BTreeMap<String, BTreeSet<String>>,
    /// Namespaces whose first list is complete.
    listed: BTreeSet<String>,
    /// How many pods a DaemonSet wants, by its status.
    desired: BTreeMap<(String, String), i32>,
}

impl Census {
    pub(crate) fn new(cluster: ClusterName, expected: Vec<Expected>) -> Self {
        Self {
            cluster,
            expected,
            not_ready: BTreeSet::new(),
            pods: BTreeMap::new(),
            listing: BTreeMap::new(),
            listed: BTreeSet::new(),
            desired: BTreeMap::new(),
        }
    }

    /// These nodes are not Ready: pods that are bound to them will not become ready.
    pub(crate) fn with_nodes_not_ready(self, not_ready: BTreeSet<NodeName>) -> Self {
        Self { not_ready, ..self }
    }

    /// The namespaces in which agents are expected, each once.
    pub(crate) fn namespaces(&self) -> Vec<String> {
        let all: BTreeSet<&String> = self.expected.iter().map(|e| &e.namespace).collect();
        all.into_iter().cloned().collect()
    }

    /// Whether the number of some agents is that in their DaemonSet's status.
    pub(crate) fn counts_sets(&self) -> bool {
        self.expected.iter().any(|e| matches!(e.number, Number::EveryNode))
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
            let namespace = e.namespace.as_str();
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

    /// Whether no missing agent is on its way to readiness.
    pub(crate) fn is_hopeless(&self) -> bool {
        self.missing().iter().all(|a| a.state.is_stuck())
    }

    pub(crate) fn ready(&self) -> Vec<ReadyPod> {
        let all = self.expected.iter().flat_map(|e| {
            let limit = match &e.number {
                Number::Replicas(n) => usize::from(*n),
                _ => usize::MAX,
            };
            let ready = self.pods_of(e).filter(|pod| PodState::of(pod) == PodState::Ready);
            ready.filter_map(|pod| ready_pod(e, pod)).take(limit)
        });
        all.collect()
    }

    /// How far all pods are.
    pub(crate) fn steps(&self) -> impl Iterator<Item = Step> {
        self.pods.values().flat_map(|pod| {
            let uid = pod.uid().unwrap_or_default();
            let ready = (PodState::of(pod) == PodState::Ready).then(|| Step::Ready { uid: uid.clone() });
            ready.into_iter().chain(has_run(pod).then_some(Step::Started { uid }))
        })
    }

    /// `apps: 5 of 6 agents ready; node apps-2: ImagePullBackOff: …`.
    pub(crate) fn summary(&self) -> String {
        let (missing, ready) = (self.missing(), self.ready().len());
        let mut text = format!("{}: {ready} of {} agents ready", self.cluster, ready + missing.len());
        // A stuck agent matters more than one that is starting.
        let stuck = missing.iter().find(|a| a.state.is_stuck());
        if let Some(absent) = stuck.or(missing.first()) {
            match &absent.node {
                Some(node) => text.push_str(&format!("; node {node}: {}", absent.state.text())),
                None => text.push_str(&format!("; {}: {}", absent.workload, absent.state.text())),
            }
        }
        text
    }

    fn state(&self, pod: &Pod) -> PodState {
        match PodState::of(pod) {
            PodState::Starting(_) if node_of(pod).is_some_and(|node| self.not_ready.contains(&node)) => {
                PodState::Stuck(NODE_NOT_READY.to_owned())
            }
            state => state,
        }
    }

    fn pods_of<'a>(&'a self, expected: &'a Expected) -> impl Iterator<Item = &'a Pod> {
        let namespace = expected.namespace.as_str();
        self.pods
            .iter()
            .filter(move |((ns, _), _)| ns == namespace)
            .map(|(_, pod)| pod)
            .filter(|pod| {
                pod.labels().get(SCENARIO) == Some(&expected.labels.0)
                    && pod.labels().get(WORKLOAD) == Some(&expected.labels.1)
            })
    }

    fn missing_of(&self, expected: &Expected) -> Vec<Absent> {
        match &expected.number {
            Number::Nodes(nodes) => self.missing_on(nodes, expected),
            Number::Replicas(wanted) => self.missing_replicas(usize::from(*wanted), expected),
            Number::EveryNode => {
                let key = (expected.namespace.to_owned(), expected.owner.clone());
                let desired = self.desired.get(&key).copied().unwrap_or_default();
                self.missing_replicas(usize::try_from(desired).unwrap_or_default(), expected)
            }
        }
    }

    /// One pod is expected on each node (true: the node is ready).
    fn missing_on(&self, nodes: &BTreeMap<NodeName, bool>, expected: &Expected) -> Vec<Absent> {
        let mut by_node: BTreeMap<Option<NodeName>, Vec<&Pod>> = BTreeMap::new();
        for pod in self.pods_of(expected) {
            by_node.entry(node_of(pod)).or_default().push(pod);
        }
        let missing = nodes.iter().filter_map(|(node, node_ready)| {
            let pods = by_node.get(&Some(node.clone())).map_or(&[][..], Vec::as_slice);
            let best = pods.iter().copied().min_by_key(|pod| PodState::of(pod).rank());
            let state = match best.map(PodState::of) {
                Some(PodState::Ready) => return None,
                _ if !node_ready => PodState::Stuck(NODE_NOT_READY.to_owned()),
                Some(state) => state,
                None if self.listed.is_empty() => PodState::Starting("pods are not listed yet".to_owned()),
                None => PodState::Stuck(NO_POD.to_owned()),
            };
            Some(expected.absent(Some(node.clone()), best, state))
        });
        missing.collect()
    }

    /// So many pods are expected, on whatever nodes.
    fn missing_replicas(&self, wanted: usize, expected: &Expected) -> Vec<Absent> {
        let is_ready = |pod: &&Pod| PodState::of(pod) == PodState::Ready;
        let (ready, mut rest): (Vec<&Pod>, Vec<&Pod>) = self.pods_of(expected).partition(is_ready);
        rest.sort_by_key(|pod| self.state(pod).rank());
        let short = wanted.saturating_sub(ready.len());
        let not_ready = rest.into_iter().take(short);
        let mut missing: Vec<_> = not_ready
            .map(|pod| expected.absent(node_of(pod), Some(pod), self.state(pod)))
            .collect();
        missing.resize_with(short, || {
            expected.absent(None, None, PodState::Stuck(NO_POD.to_owned()))
        });
        missing
    }
}

impl Expected {
    fn absent(&self, node: Option<NodeName>, pod: Option<&Pod>, state: PodState) -> Absent {
        Absent {
            scenario: self.scenario.clone(),
            workload: self.workload.clone(),
            node,
            namespace: self.namespace.to_owned(),
            pod: pod.map(ResourceExt::name_any),
            owner: self.owner.clone(),
            state,
        }
    }
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

#[cfg(test)]
mod tests;
