//! [`Environment`] over the Kubernetes API: the operations of checks, each with its deadline and its bound.

mod agents;
mod discarded;
pub(crate) mod disruption;
mod mirror;
mod ownership;
pub(crate) mod query;

use crate::{
    agent::AgentLink,
    client::{ClusterClient, kind_of},
    discover::dns,
    name::run_labels,
    node_watch::TakenNodes,
};
use agents::Agents;
use async_trait::async_trait;
use discarded::Discarded;
use disruption::{DisruptionOptions, Disruptions, Site};
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use meshproof_contract::{
    AgentFacts, AgentId, CaptureId, CaptureReport, CaptureSpec, CiliumAnswer, CiliumQuery, ClockReading, ClusterName,
    Component, Disruption, Environment, EnvironmentError, Exchange, Facts, Heard, NodeName, ObjectRef, Outcome, Probe,
    Readiness, RunId, StreamId, StreamReport, StreamSpec,
};
use meshproof_wire::Command;
use mirror::{Mirrors, Written};
use ownership::require_own;
use query::CiliumPods;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};
use tokio_util::task::AbortOnDropHandle;

/// The clusters of a run with connected agents.
pub struct ClusterEnvironment {
    run: RunId,
    facts: RwLock<Arc<Facts>>,
    clients: BTreeMap<ClusterName, ClusterClient>,
    agents: Agents,
    /// Where Cilium was found.
    cilium: BTreeMap<ClusterName, Arc<CiliumPods>>,
    mirrors: BTreeMap<ClusterName, Mirrors>,
    disruptions: Disruptions,
    discarded: Discarded,
    /// One a cluster, which end with this.
    _node_watches: Vec<AbortOnDropHandle<()>>,
}

impl ClusterEnvironment {
    pub(crate) fn new(
        run: RunId,
        clients: &[ClusterClient],
        agents: BTreeMap<AgentId, Arc<AgentLink>>,
        cilium: BTreeMap<ClusterName, Arc<CiliumPods>>,
        disruption: DisruptionOptions,
        (taken, node_watches): (TakenNodes, Vec<AbortOnDropHandle<()>>),
    ) -> Self {
        Self {
            run,
            facts: RwLock::default(),
            clients: clients.iter().map(|c| (c.name().clone(), c.clone())).collect(),
            agents: Agents::new(agents),
            cilium,
            mirrors: clients.iter().map(|c| (c.name().clone(), Mirrors::default())).collect(),
            disruptions: Disruptions::new(disruption, taken),
            discarded: Discarded::default(),
            _node_watches: node_watches,
        }
    }

    pub(crate) fn with_facts(mut self, facts: Facts) -> Self {
        self.facts = RwLock::new(Arc::new(facts));
        self
    }

    /// Asks the agents for Cilium's version where the image's tag does not hold it.
    pub(crate) async fn complete_versions(&self, facts: &mut Facts) {
        for cluster in &mut facts.clusters {
            let Some(cilium) = cluster.cilium.as_mut().filter(|c| c.version.is_empty()) else {
                continue;
            };
            let Ok(answers) = self.cilium(&cluster.name, CiliumQuery::Status).await else {
                continue;
            };
            let version = answers.iter().find_map(|a| query::version(a.output.as_ref().ok()?));
            cilium.version = version.unwrap_or_default();
        }
    }

    /// Reads anew which replicas cluster DNS has, after they were replaced: checks ask each at its own address.
    async fn find_dns_replicas(&self, cluster: &ClusterName) -> Result<(), EnvironmentError> {
        let facts = self.facts();
        let Some(dns) = facts.cluster(cluster).and_then(|found| found.dns.as_ref()) else {
            return Ok(());
        };
        let replicas = dns::replicas_now(self.client(cluster)?, dns).await?;
        let mut facts = self.facts.write().unwrap_or_else(PoisonError::into_inner);
        let changed = Arc::make_mut(&mut facts)
            .clusters
            .iter_mut()
            .find(|one| one.name == *cluster);
        if let Some(dns) = changed.and_then(|one| one.dns.as_mut()) {
            dns.replicas = replicas;
        }
        Ok(())
    }

    /// Undoes every disruption that is still in force; the failures.
    pub async fn restore_all(&self) -> Vec<EnvironmentError> {
        let mut failures = Vec::new();
        for (cluster, disruption) in self.disruptions.in_force() {
            failures.extend(self.restore(&cluster, &disruption).await.err());
        }
        failures
    }

    /// Runs one probe through an exec of its own. Slow, and no check uses it: the benchmark compares batches with it.
    ///
    /// # Errors
    /// When the agent is unknown, or the exec gives no answer.
    pub async fn probe_by_exec(&self, agent: &AgentId, probe: Probe) -> Result<Vec<Outcome>, EnvironmentError> {
        self.agents.link(agent)?.once_by_exec(probe).await
    }

    fn client(&self, cluster: &ClusterName) -> Result<&ClusterClient, EnvironmentError> {
        self.clients.get(cluster).ok_or_else(|| EnvironmentError::Api {
            cluster: cluster.clone(),
            operation: "find the cluster".to_owned(),
            reason: "it is not part of this run".to_owned(),
        })
    }

    fn note_disruption(&self, cluster: &ClusterName) {
        if let Some(mirrors) = self.mirrors.get(cluster) {
            mirrors.note_write(Written::Disruption);
        }
    }

    /// Asks Cilium's pods on these nodes, or on all.
    async fn ask_cilium(
        &self,
        cluster: &ClusterName,
        query: CiliumQuery,
        nodes: Option<&[NodeName]>,
    ) -> Result<Vec<CiliumAnswer>, EnvironmentError> {
        let client = self.client(cluster)?;
        let pods = self.cilium.get(cluster).ok_or_else(|| EnvironmentError::Api {
            cluster: cluster.clone(),
            operation: "ask Cilium".to_owned(),
            reason: "found no ConfigMap cilium-config, so Cilium is probably not installed".to_owned(),
        })?;
        query::ask(client, query, pods, nodes).await
    }

    fn site(&self, cluster: &ClusterName) -> Result<Site<'_>, EnvironmentError> {
        Ok(Site {
            client: self.client(cluster)?,
            cilium: self.cilium.get(cluster).map(|pods| &*pods.namespace),
        })
    }
}

// An operation that is missing here would answer Unsupported.
#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Environment for ClusterEnvironment {
    fn facts(&self) -> Arc<Facts> {
        self.facts.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn probe(&self, agent: &AgentId, batch: Vec<Probe>) -> Result<Vec<Outcome>, EnvironmentError> {
        self.agents.link(agent)?.batch(batch).await
    }

    async fn exchange(&self, agent: &AgentId, exchange: Exchange) -> Result<Heard, EnvironmentError> {
        self.agents.link(agent)?.exchange(exchange).await
    }

    async fn cilium(&self, cluster: &ClusterName, query: CiliumQuery) -> Result<Vec<CiliumAnswer>, EnvironmentError> {
        self.ask_cilium(cluster, query, None).await
    }

    async fn cilium_on(
        &self,
        cluster: &ClusterName,
        query: CiliumQuery,
        nodes: &[NodeName],
    ) -> Result<Vec<CiliumAnswer>, EnvironmentError> {
        self.ask_cilium(cluster, query, Some(nodes)).await
    }

    async fn get(&self, cluster: &ClusterName, object: &ObjectRef) -> Result<Option<Value>, EnvironmentError> {
        let client = self.client(cluster)?;
        let kind = (&*object.api_version, &*object.kind, object.namespace.as_deref());
        let found = self.mirrors[cluster].get(client, kind, &object.name).await?;
        Ok(found.map(|found| with_kind(found, &object.api_version, &object.kind)))
    }

    async fn list(
        &self,
        cluster: &ClusterName,
        api_version: &str,
        kind: &str,
        namespace: Option<&str>,
    ) -> Result<Vec<Value>, EnvironmentError> {
        let client = self.client(cluster)?;
        let list = self.mirrors[cluster].list(client, (api_version, kind, namespace));
        // Items of a list leave out what the list says.
        let objects = list.await?.into_iter();
        Ok(objects.map(|object| with_kind(object, api_version, kind)).collect())
    }

    async fn list_metadata(
        &self,
        cluster: &ClusterName,
        api_version: &str,
        kind: &str,
        namespace: &str,
        labels: &str,
    ) -> Result<Vec<Value>, EnvironmentError> {
        let client = self.client(cluster)?;
        let found = client.dynamic(&kind_of(api_version, kind), Some(namespace)).await?;
        let params = ListParams::default().labels(labels);
        let listed = client.call_again(found.operation("list"), || found.api.list_metadata(&params));
        let metadata = listed.await?.items.into_iter();
        Ok(metadata.map(|object| json!({"metadata": object.metadata})).collect())
    }

    async fn apply(&self, cluster: &ClusterName, mut object: Value) -> Result<Value, EnvironmentError> {
        let client = self.client(cluster)?;
        let target = ObjectRef::of(&object);
        require_own(client, &target).await?;
        for (key, value) in run_labels(&self.run) {
            object["metadata"]["labels"][key] = json!(value);
        }
        let applied = client.apply(object).await?;
        self.mirrors[cluster].note_write(Written::Object(&target.kind));
        Ok(with_kind(applied, &target.api_version, &target.kind))
    }

    async fn delete(&self, cluster: &ClusterName, object: &ObjectRef) -> Result<(), EnvironmentError> {
        let client = self.client(cluster)?;
        require_own(client, object).await?;
        let kind = client.dynamic_of(object).await?;
        let (operation, params) = (kind.operation("delete").named(&object.name), DeleteParams::background());
        let deleted = client.call(operation, kind.api.delete(&object.name, &params)).await;
        self.mirrors[cluster].note_write(Written::Object(&object.kind));
        match deleted {
            Err(error) if !error.is_not_found() => Err(error.into()),
            _ => Ok(()),
        }
    }

    async fn discard(&self, cluster: &ClusterName, object: &ObjectRef) -> Result<(), EnvironmentError> {
        require_own(self.client(cluster)?, object).await?;
        for object in self.discarded.add(cluster, object.clone()) {
            self.delete(cluster, &object).await?;
        }
        Ok(())
    }

    async fn patch(&self, cluster: &ClusterName, object: &ObjectRef, change: Value) -> Result<Value, EnvironmentError> {
        let client = self.client(cluster)?;
        require_own(client, object).await?;
        let kind = client.dynamic_of(object).await?;
        let operation = kind.operation("patch").named(&object.name);
        let (params, change) = (PatchParams::default(), Patch::Merge(&change));
        let patch = kind.api.patch(&object.name, &params, &change);
        let patched = client.call(operation, patch).await?;
        self.mirrors[cluster].note_write(Written::Object(&object.kind));
        Ok(with_kind(patched, &object.api_version, &object.kind))
    }

    async fn agents(
        &self,
        cluster: &ClusterName,
        scenario: &str,
        workload: &str,
    ) -> Result<Vec<AgentFacts>, EnvironmentError> {
        let client = self.client(cluster)?;
        let mirrors = &self.mirrors[cluster];
        self.agents
            .ready_now((client, mirrors), &self.run, scenario, workload)
            .await
    }

    async fn set_ready(&self, agent: &AgentId, readiness: Readiness) -> Result<(), EnvironmentError> {
        self.agents.set_ready(agent, readiness).await
    }

    async fn clock(&self, agent: &AgentId) -> Result<ClockReading, EnvironmentError> {
        self.agents.clock(agent).await
    }

    async fn start_stream(&self, agent: &AgentId, spec: StreamSpec) -> Result<StreamId, EnvironmentError> {
        self.agents.start_stream(agent, spec).await
    }

    async fn collect_stream(&self, agent: &AgentId, stream: StreamId) -> Result<StreamReport, EnvironmentError> {
        let command = Command::CollectStream { stream: stream.0 };
        self.agents.stream(agent, command).await
    }

    async fn stop_stream(&self, agent: &AgentId, stream: StreamId) -> Result<StreamReport, EnvironmentError> {
        let command = Command::StopStream { stream: stream.0 };
        self.agents.stream(agent, command).await
    }

    async fn start_capture(&self, agent: &AgentId, spec: CaptureSpec) -> Result<CaptureId, EnvironmentError> {
        self.agents.start_capture(agent, spec).await
    }

    async fn collect_capture(&self, agent: &AgentId, capture: CaptureId) -> Result<CaptureReport, EnvironmentError> {
        let command = Command::CollectCapture { capture: capture.0 };
        self.agents.capture(agent, command).await
    }

    async fn stop_capture(&self, agent: &AgentId, capture: CaptureId) -> Result<CaptureReport, EnvironmentError> {
        let command = Command::StopCapture { capture: capture.0 };
        self.agents.capture(agent, command).await
    }

    async fn disrupt(&self, cluster: &ClusterName, disruption: &Disruption) -> Result<(), EnvironmentError> {
        let disrupted = self
            .disruptions
            .disrupt(self.site(cluster)?, &self.run, disruption)
            .await;
        self.note_disruption(cluster);
        disrupted
    }

    async fn restore(&self, cluster: &ClusterName, disruption: &Disruption) -> Result<(), EnvironmentError> {
        let restored = self.disruptions.restore(self.site(cluster)?, disruption).await;
        self.note_disruption(cluster);
        restored?;
        match disruption {
            Disruption::Rollout {
                component: Component::ClusterDns { .. },
            } => self.find_dns_replicas(cluster).await,
            _ => Ok(()),
        }
    }
}

fn with_kind(object: DynamicObject, api_version: &str, kind: &str) -> Value {
    let mut object = json!(object);
    object["apiVersion"] = json!(api_version);
    object["kind"] = json!(kind);
    object
}
