//! The agents of a run, connected; new ones are added as pods become ready.

use super::mirror::Mirrors;
use crate::{
    agent::AgentLink,
    client::ClusterClient,
    manifest::CAPTURE_CAPABILITY,
    name::{MANAGED_BY, MANAGED_BY_VALUE, NAMESPACES, RUN, SCENARIO, WORKLOAD, label_value},
    readiness::{ReadyPod, restarts},
    ready::is_pod_ready,
};
use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use kube::{ResourceExt, api::DynamicObject};
use meshproof_contract::{
    AgentFacts, AgentId, CaptureId, CaptureReport, CaptureSpec, ClockReading, EnvironmentError, Readiness, RunId,
    StreamId, StreamReport, StreamSpec, facts::PodNetwork,
};
use meshproof_wire::{Answer, Command};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

/// How often a clock is read; the quickest reading is taken.
const CLOCK_READINGS: usize = 5;

/// Links by agent, and the numbers of what runs on them.
pub(super) struct Agents {
    links: RwLock<BTreeMap<AgentId, Arc<AgentLink>>>,
    next: AtomicU64,
}

impl Agents {
    pub(super) fn new(links: BTreeMap<AgentId, Arc<AgentLink>>) -> Self {
        Self {
            links: RwLock::new(links),
            next: AtomicU64::new(1),
        }
    }

    pub(super) fn link(&self, agent: &AgentId) -> Result<Arc<AgentLink>, EnvironmentError> {
        let links = self.links.read().unwrap_or_else(PoisonError::into_inner);
        links.get(agent).cloned().ok_or_else(|| EnvironmentError::AgentGone {
            agent: agent.clone(),
            reason: "it was not ready when the run started".to_owned(),
        })
    }

    /// The agents of a workload that are ready; new ones are connected. One that cannot be connected is left out: no
    /// check could use it.
    pub(super) async fn ready_now(
        &self,
        (client, mirrors): (&ClusterClient, &Mirrors),
        run: &RunId,
        scenario: &str,
        workload: &str,
    ) -> Result<Vec<AgentFacts>, EnvironmentError> {
        let labels = [(RUN, run.as_str()), (SCENARIO, scenario), (WORKLOAD, workload)];
        let labels = labels.map(|(key, value)| (key, label_value(value)));
        let is_of_workload = |pod: &DynamicObject| {
            let is = |(key, value): &(&str, String)| pod.labels().get(*key) == Some(value);
            labels.iter().all(is) && pod.labels().get(MANAGED_BY).is_some_and(|by| by == MANAGED_BY_VALUE)
        };
        let mut ready = Vec::new();
        for namespace in self.namespaces_of(client, scenario, workload) {
            let pods = mirrors.list(client, ("v1", "Pod", Some(&namespace))).await?;
            let pods = pods.into_iter().filter(is_of_workload);
            let pods = pods.filter_map(|pod| pod.try_parse::<Pod>().ok());
            let pods = pods.filter(is_pod_ready);
            ready.extend(pods.filter_map(|pod| ready_pod(&pod, scenario, workload)));
        }
        let connected = join_all(ready.into_iter().map(|pod| self.connected(client, pod))).await;
        let mut agents: Vec<_> = connected.into_iter().flatten().collect();
        agents.sort_by(|a, b| (&a.node, &a.id.pod).cmp(&(&b.node, &b.id.pod)));
        Ok(agents)
    }

    /// Where a workload's pods are: where they were, or anywhere if there was none.
    fn namespaces_of(&self, client: &ClusterClient, scenario: &str, workload: &str) -> BTreeSet<String> {
        let links = self.links.read().unwrap_or_else(PoisonError::into_inner);
        let of_cluster = links.values().filter(|link| &link.id().cluster == client.name());
        let known: BTreeSet<String> = of_cluster
            .map(|link| link.pod())
            .filter(|pod| pod.scenario == scenario && pod.workload == workload)
            .map(|pod| pod.namespace.clone())
            .collect();
        if known.is_empty() {
            NAMESPACES.map(str::to_owned).into()
        } else {
            known
        }
    }

    async fn connected(&self, client: &ClusterClient, pod: ReadyPod) -> Option<AgentFacts> {
        let link = AgentLink::new(client.clone(), pod);
        let known = self
            .link(link.id())
            .ok()
            .filter(|known| known.pod().uid == link.pod().uid);
        let link = match known {
            Some(known) => known,
            None => {
                let link = Arc::new(link);
                if let Err(error) = link.greet().await {
                    tracing::debug!(%error, "failed to connect to a new agent");
                    return None;
                }
                let mut links = self.links.write().unwrap_or_else(PoisonError::into_inner);
                links.insert(link.id().clone(), link.clone());
                link
            }
        };
        Some(link.facts())
    }

    pub(super) async fn set_ready(&self, agent: &AgentId, readiness: Readiness) -> Result<(), EnvironmentError> {
        let ready = readiness == Readiness::Ready;
        self.done(agent, Command::SetReady { ready }).await
    }

    pub(super) async fn clock(&self, agent: &AgentId) -> Result<ClockReading, EnvironmentError> {
        let link = self.link(agent)?;
        let mut best: Option<ClockReading> = None;
        for _ in 0..CLOCK_READINGS {
            let sent = Instant::now();
            let taken = |answer| match answer {
                Answer::Clock { micros } => Ok(micros),
                other => Err(other),
            };
            let micros = link.command(Command::Clock, taken).await?;
            let error = sent.elapsed() / 2;
            if best.is_none_or(|best| error < best.error) {
                let at = sent + error;
                best = Some(ClockReading { at, micros, error });
            }
        }
        best.ok_or_else(|| EnvironmentError::AgentGone {
            agent: agent.clone(),
            reason: "failed to read its clock".to_owned(),
        })
    }

    pub(super) async fn start_stream(&self, agent: &AgentId, spec: StreamSpec) -> Result<StreamId, EnvironmentError> {
        let stream = self.next.fetch_add(1, Ordering::Relaxed);
        self.done(agent, Command::StartStream { stream, spec }).await?;
        Ok(StreamId(stream))
    }

    pub(super) async fn stream(&self, agent: &AgentId, command: Command) -> Result<StreamReport, EnvironmentError> {
        let taken = |answer| match answer {
            Answer::Stream { report } => Ok(report),
            other => Err(other),
        };
        self.link(agent)?.command(command, taken).await
    }

    pub(super) async fn start_capture(
        &self,
        agent: &AgentId,
        spec: CaptureSpec,
    ) -> Result<CaptureId, EnvironmentError> {
        let capture = self.next.fetch_add(1, Ordering::Relaxed);
        self.done(agent, Command::StartCapture { capture, spec }).await?;
        Ok(CaptureId(capture))
    }

    pub(super) async fn capture(&self, agent: &AgentId, command: Command) -> Result<CaptureReport, EnvironmentError> {
        let taken = |answer| match answer {
            Answer::Capture { report } => Ok(report),
            other => Err(other),
        };
        self.link(agent)?.command(command, taken).await
    }

    async fn done(&self, agent: &AgentId, command: Command) -> Result<(), EnvironmentError> {
        let taken = |answer| match answer {
            Answer::Done => Ok(()),
            other => Err(other),
        };
        self.link(agent)?.command(command, taken).await
    }
}

fn ready_pod(pod: &Pod, scenario: &str, workload: &str) -> Option<ReadyPod> {
    let (spec, status) = (pod.spec.as_ref()?, pod.status.as_ref()?);
    let captures = spec.containers.iter().any(|container| {
        let added = container
            .security_context
            .as_ref()
            .and_then(|context| context.capabilities.as_ref()?.add.as_ref());
        added.is_some_and(|added| added.iter().any(|name| name == CAPTURE_CAPABILITY))
    });
    let network = match (spec.host_network, captures) {
        (Some(true), true) => PodNetwork::HostCapture,
        (Some(true), false) => PodNetwork::Host,
        _ => PodNetwork::Pod,
    };
    Some(ReadyPod {
        scenario: scenario.to_owned(),
        workload: workload.to_owned(),
        network,
        namespace: pod.namespace()?,
        name: pod.name_any(),
        uid: pod.uid()?,
        restarts: restarts(pod),
        node: spec.node_name.clone()?.into(),
        address: status.pod_ip.as_ref()?.parse().ok()?,
    })
}
