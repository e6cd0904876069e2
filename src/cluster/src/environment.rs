//! [`Environment`] over the Kubernetes API: what checks may do, each with its deadline and its bound.

mod agents;
pub(crate) mod disturbance;
mod query;

use crate::{
    agent::AgentLink,
    api::Operation,
    member::{Member, dynamic_name},
    name::{NAMESPACES, run_labels},
    run::apply,
};
use agents::Agents;
use async_trait::async_trait;
use disturbance::{Disruptive, Disturbances};
use kube::{
    api::{DeleteParams, GroupVersionKind, ListParams, Patch, PatchParams},
    discovery::Scope,
};
use meshproof_contract::{
    AgentFacts, AgentId, CaptureId, CaptureReport, CaptureSpec, CiliumAnswer, CiliumQuery, ClockReading, ClusterName,
    Disruption, Environment, EnvironmentError, Facts, ObjectRef, Outcome, Probe, Readiness, RunId, StreamId,
    StreamReport, StreamSpec,
};
use meshproof_wire::Command;
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc};
use tokio::sync::Semaphore;

/// How many commands run in Cilium's pods at once: each is a connection through API server and kubelet, and a process.
const EXEC_BOUND: usize = 12;

/// The one cluster-wide kind that checks may make.
const CLUSTER_POLICY: &str = "CiliumClusterwideNetworkPolicy";

/// The clusters of a run with connected agents.
pub struct ClusterEnvironment {
    run: RunId,
    facts: Arc<Facts>,
    members: BTreeMap<ClusterName, Member>,
    agents: Agents,
    cilium_namespaces: BTreeMap<ClusterName, String>,
    execs: Semaphore,
    disturbances: Disturbances,
}

impl ClusterEnvironment {
    pub(crate) fn new(
        run: RunId,
        members: &[Member],
        agents: BTreeMap<AgentId, Arc<AgentLink>>,
        cilium_namespaces: BTreeMap<ClusterName, String>,
        disruptive: Disruptive,
    ) -> Self {
        Self {
            run,
            facts: Arc::default(),
            members: members.iter().map(|m| (m.name().clone(), m.clone())).collect(),
            agents: Agents::new(agents),
            cilium_namespaces,
            execs: Semaphore::new(EXEC_BOUND),
            disturbances: Disturbances::new(disruptive),
        }
    }

    pub(crate) fn with_facts(mut self, facts: Facts) -> Self {
        self.facts = Arc::new(facts);
        self
    }

    /// Asks the agents for Cilium's version where the image's tag did not tell it.
    pub(crate) async fn complete_versions(&self, facts: &mut Facts) {
        for cluster in &mut facts.clusters {
            let Some(cilium) = cluster.cilium.as_mut().filter(|c| c.version.is_empty()) else {
                continue;
            };
            let Ok(answers) = self.cilium(&cluster.name, CiliumQuery::Status).await else {
                continue;
            };
            let told = answers.iter().find_map(|a| query::version(a.output.as_ref().ok()?));
            cilium.version = told.unwrap_or_default();
        }
    }

    /// Undoes every disturbance that a check did not come to undo; what could not be undone, in words.
    pub async fn restore_all(&self) -> Vec<EnvironmentError> {
        let mut failures = Vec::new();
        for (cluster, disruption) in self.disturbances.in_force() {
            failures.extend(self.restore(&cluster, &disruption).await.err());
        }
        failures
    }

    fn member(&self, cluster: &ClusterName) -> Result<&Member, EnvironmentError> {
        self.members.get(cluster).ok_or_else(|| EnvironmentError::Api {
            cluster: cluster.clone(),
            operation: "find the cluster".to_owned(),
            reason: "it is not in this run".to_owned(),
        })
    }
}

#[async_trait]
impl Environment for ClusterEnvironment {
    fn facts(&self) -> Arc<Facts> {
        self.facts.clone()
    }

    async fn probe(&self, agent: &AgentId, batch: Vec<Probe>) -> Result<Vec<Outcome>, EnvironmentError> {
        self.agents.link(agent)?.batch(batch).await
    }

    async fn cilium(&self, cluster: &ClusterName, query: CiliumQuery) -> Result<Vec<CiliumAnswer>, EnvironmentError> {
        let member = self.member(cluster)?;
        let namespace = self
            .cilium_namespaces
            .get(cluster)
            .ok_or_else(|| EnvironmentError::Api {
                cluster: cluster.clone(),
                operation: "ask Cilium".to_owned(),
                reason: "no ConfigMap cilium-config was found, so Cilium seems not to be installed".to_owned(),
            })?;
        query::ask(member, namespace, query, &self.execs).await
    }

    async fn get(&self, cluster: &ClusterName, object: &ObjectRef) -> Result<Option<Value>, EnvironmentError> {
        let member = self.member(cluster)?;
        let (api, resource, _) = member
            .dynamic(&kind(&object.api_version, &object.kind), object.namespace.as_deref())
            .await?;
        let operation = Operation {
            namespace: object.namespace.clone(),
            ..Operation::on("get", dynamic_name(&resource.plural, &resource.group)).named(&object.name)
        };
        let found = member.call_again(operation, || api.get_opt(&object.name)).await?;
        Ok(found.map(|o| with_kind(json!(o), &object.api_version, &object.kind)))
    }

    async fn list(
        &self,
        cluster: &ClusterName,
        api_version: &str,
        kind_name: &str,
        namespace: Option<&str>,
    ) -> Result<Vec<Value>, EnvironmentError> {
        let member = self.member(cluster)?;
        let (api, resource, _) = member.dynamic(&kind(api_version, kind_name), namespace).await?;
        let operation = Operation {
            namespace: namespace.map(str::to_owned),
            ..Operation::on("list", dynamic_name(&resource.plural, &resource.group))
        };
        let params = ListParams::default();
        let found = member.call_again(operation, || api.list(&params)).await?;
        // Items of a list leave out what the list says.
        let objects = found
            .items
            .into_iter()
            .map(|o| with_kind(json!(o), api_version, kind_name));
        Ok(objects.collect())
    }

    async fn apply(&self, cluster: &ClusterName, mut object: Value) -> Result<Value, EnvironmentError> {
        let member = self.member(cluster)?;
        let target = ObjectRef {
            api_version: object["apiVersion"].as_str().unwrap_or_default().to_owned(),
            kind: object["kind"].as_str().unwrap_or_default().to_owned(),
            namespace: object["metadata"]["namespace"].as_str().map(str::to_owned),
            name: object["metadata"]["name"].as_str().unwrap_or_default().to_owned(),
        };
        self.require_ours(member, &target).await?;
        for (key, value) in run_labels(&self.run) {
            object["metadata"]["labels"][key] = json!(value);
        }
        let applied = apply(member, object).await?;
        Ok(with_kind(json!(applied), &target.api_version, &target.kind))
    }

    async fn delete(&self, cluster: &ClusterName, object: &ObjectRef) -> Result<(), EnvironmentError> {
        let member = self.member(cluster)?;
        self.require_ours(member, object).await?;
        let (api, resource, _) = member
            .dynamic(&kind(&object.api_version, &object.kind), object.namespace.as_deref())
            .await?;
        let operation = Operation {
            namespace: object.namespace.clone(),
            ..Operation::on("delete", dynamic_name(&resource.plural, &resource.group)).named(&object.name)
        };
        match member
            .call(operation, api.delete(&object.name, &DeleteParams::background()))
            .await
        {
            Err(error) if !error.is_not_found() => Err(error.into()),
            _ => Ok(()),
        }
    }

    async fn patch(&self, cluster: &ClusterName, object: &ObjectRef, change: Value) -> Result<Value, EnvironmentError> {
        let member = self.member(cluster)?;
        self.require_ours(member, object).await?;
        let (api, resource, _) = member
            .dynamic(&kind(&object.api_version, &object.kind), object.namespace.as_deref())
            .await?;
        let operation = Operation {
            namespace: object.namespace.clone(),
            ..Operation::on("patch", dynamic_name(&resource.plural, &resource.group)).named(&object.name)
        };
        let (params, change) = (PatchParams::default(), Patch::Merge(&change));
        let patched = member
            .call(operation, api.patch(&object.name, &params, &change))
            .await?;
        Ok(with_kind(json!(patched), &object.api_version, &object.kind))
    }

    async fn agents(
        &self,
        cluster: &ClusterName,
        scenario: &str,
        workload: &str,
    ) -> Result<Vec<AgentFacts>, EnvironmentError> {
        let member = self.member(cluster)?;
        self.agents.ready_now(member, &self.run, scenario, workload).await
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
        let (member, cilium) = (self.member(cluster)?, self.cilium_namespaces.get(cluster));
        let cilium = cilium.map(String::as_str);
        self.disturbances.disrupt(member, &self.run, cilium, disruption).await
    }

    async fn restore(&self, cluster: &ClusterName, disruption: &Disruption) -> Result<(), EnvironmentError> {
        let (member, cilium) = (self.member(cluster)?, self.cilium_namespaces.get(cluster));
        let cilium = cilium.map(String::as_str);
        self.disturbances.restore(member, cilium, disruption).await
    }
}

impl ClusterEnvironment {
    /// Runs one probe through an exec of its own. Slow, and no check uses it: the benchmark compares batches with it.
    ///
    /// # Errors
    /// An agent that is not there, and whatever keeps the exec from answering.
    pub async fn probe_by_exec(&self, agent: &AgentId, probe: Probe) -> Result<Vec<Outcome>, EnvironmentError> {
        self.agents.link(agent)?.once_by_exec(probe).await
    }
}

impl ClusterEnvironment {
    /// Checks change things in the run's namespaces only, and never the Lease that guards them; outside of them only cluster-wide
    /// policies whose names begin with `meshproof-`, which a policy's text must keep to the run's own pods.
    async fn require_ours(&self, member: &Member, object: &ObjectRef) -> Result<(), EnvironmentError> {
        let refused = || EnvironmentError::NotOurs {
            cluster: member.name().clone(),
            object: match &object.namespace {
                Some(ns) => format!("{} {ns}/{}", object.kind, object.name),
                None => format!("{} {}", object.kind, object.name),
            },
        };
        if object.kind == CLUSTER_POLICY && object.namespace.is_none() && object.name.starts_with("meshproof-") {
            return Ok(());
        }
        let within = object.namespace.as_deref().is_some_and(|ns| NAMESPACES.contains(&ns));
        if !within || object.kind == "Lease" || object.name.is_empty() {
            return Err(refused());
        }
        let (_, _, scope) = member
            .dynamic(&kind(&object.api_version, &object.kind), object.namespace.as_deref())
            .await?;
        // A namespace in the reference to a cluster-wide object means nothing.
        match scope {
            Scope::Namespaced => Ok(()),
            Scope::Cluster => Err(refused()),
        }
    }
}

fn kind(api_version: &str, kind: &str) -> GroupVersionKind {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    GroupVersionKind::gvk(group, version, kind)
}

fn with_kind(mut object: Value, api_version: &str, kind: &str) -> Value {
    object["apiVersion"] = json!(api_version);
    object["kind"] = json!(kind);
    object
}
