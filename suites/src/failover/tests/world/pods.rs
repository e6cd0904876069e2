//! Pods that end and are replaced.

use super::{super::super::SCENARIO, State, World};
use meshproof_contract::{AgentFacts, AgentId, Identity, facts::PodNetwork};

/// A time, in microseconds since the world's beginning.
#[derive(Clone, Copy)]
pub struct Span {
    pub from: u64,
    pub until: u64,
}

impl Span {
    pub fn since(from: u64) -> Self {
        Self { from, until: u64::MAX }
    }

    pub fn contains(self, at: u64) -> bool {
        (self.from..self.until).contains(&at)
    }
}

/// A pod.
#[derive(Clone)]
pub struct Pod {
    pub agent: AgentFacts,
    pub from: u64,
    pub until: u64,
    /// When its readiness probe failed, last.
    pub unready: Option<Span>,
    /// When its node was cut off, last.
    pub cut: Option<Span>,
}

impl Pod {
    pub fn from_now_on(agent: AgentFacts, from: u64) -> Self {
        Self {
            agent,
            from,
            until: u64::MAX,
            unready: None,
            cut: None,
        }
    }

    /// Whether it answers.
    pub fn answers(&self, at: u64) -> bool {
        let is_cut = self.cut.is_some_and(|cut| cut.contains(at));
        self.from <= at && at < self.until && !is_cut
    }

    /// Whether those who learn of changes this late have it as a ready backend.
    pub fn is_known(&self, at: u64, lag: u64) -> bool {
        let is_unready = self
            .unready
            .is_some_and(|unready| unready.contains(at.saturating_sub(lag)));
        self.from <= at && at < self.until.saturating_add(lag) && !is_unready
    }
}

impl World {
    /// Ends these pods, and starts their successors on the nodes that are left.
    pub(super) fn end(&self, state: &mut State, ends: impl Fn(&AgentFacts) -> bool) {
        let at = self.micros();
        state.disrupted.get_or_insert(at);
        let ending = state.pods.iter_mut().filter(|pod| pod.until > at && ends(&pod.agent));
        let ended: Vec<AgentFacts> = ending
            .map(|pod| {
                pod.until = at;
                pod.agent.clone()
            })
            .collect();
        if let Some(after) = self.replaces {
            for old in ended {
                self.start_pod(state, &old, at + after.as_micros() as u64);
            }
        }
    }

    /// Starts a pod like this one.
    pub(super) fn start_pod(&self, state: &mut State, like: &AgentFacts, from: u64) {
        let cluster = like.id.cluster.as_str();
        let on = |node: &str| {
            let same = state.pods.iter().filter(|pod| {
                pod.until > from && pod.agent.workload == like.workload && pod.agent.id.cluster == like.id.cluster
            });
            same.filter(|pod| pod.agent.node.as_str() == node).count()
        };
        let nodes = (2..=3).map(|n| format!("{cluster}-{n}"));
        let is_free = |node: &String| state.cordoned.as_ref().is_none_or(|cordoned| cordoned.as_str() != node);
        let free = nodes.filter(is_free);
        let node = if self.crowds {
            free.max_by_key(|node| on(node))
        } else {
            free.min_by_key(|node| on(node))
        };
        let node = match like.workload.as_str() {
            "neighbour" => like.node.to_string(),
            _ => node.expect("a node"),
        };
        let agent = agent(cluster, &like.workload, &node, state.pods.len());
        state.pods.push(Pod::from_now_on(agent, from));
    }
}

/// A pod's agent.
pub fn agent(cluster: &str, workload: &str, node: &str, number: usize) -> AgentFacts {
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

/// What an agent answers about itself.
pub fn identity(agent: &AgentFacts) -> Identity {
    Identity {
        cluster: agent.id.cluster.to_string(),
        node: agent.node.to_string(),
        namespace: agent.namespace.clone(),
        pod: agent.id.pod.clone(),
    }
}
