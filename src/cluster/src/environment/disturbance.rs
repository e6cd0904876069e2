//! Disturbing what is not the run's own: where the operators allow it, one thing at a time, and undone whatever happens.
//!
//! What is changed carries its former state as an annotation, so that a run that was killed can be mended by the next one.

use crate::{
    ApiError,
    api::Operation,
    discover::cilium::AGENT_LABEL,
    member::Member,
    name::{NAMESPACES, of_run},
};
use async_trait::async_trait;
use futures::future::{join_all, try_join_all};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Node, Pod},
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use meshproof_contract::{ClusterName, Consent, Disruption, EnvironmentError, NodeName, RunId};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Name of the Deployment.
const MESH_APISERVER: &str = "clustermesh-apiserver";
/// On a Deployment that a run scaled to zero: its replicas before.
pub(crate) const REPLICAS: &str = "meshproof.dev/replicas";
/// On a node that a run cordoned: the run.
pub(crate) const CORDONED: &str = "meshproof.dev/cordoned-by";
/// How long an agent, or the clustermesh-apiserver, may take to be ready again.
const READY_WITHIN: Duration = Duration::from_secs(120);
/// How often is looked.
const LOOK: Duration = Duration::from_millis(100);

/// What a run may disturb, and with what.
#[derive(Clone, Default)]
pub struct Disruptive {
    /// Whether the operators allow it.
    pub consent: Consent,
    /// How to cut a node off, where the operators have a way.
    pub power: Option<Arc<dyn NodePower>>,
    /// Milliseconds between two probes of the streams that watch it.
    pub stream_spacing_ms: Option<u32>,
}

/// The operators' way of cutting a node off and of bringing it back: a command of theirs.
#[async_trait]
pub trait NodePower: Send + Sync {
    /// Cuts the node off; it is gone when this returns. The error is for people.
    async fn cut(&self, cluster: &ClusterName, node: &NodeName) -> Result<(), String>;
    /// Brings it back.
    async fn restore(&self, cluster: &ClusterName, node: &NodeName) -> Result<(), String>;
}

impl fmt::Debug for Disruptive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let power = self.power.as_ref().map(|_| "a command");
        f.debug_struct("Disruptive")
            .field("consent", &self.consent)
            .field("power", &power)
            .finish()
    }
}

#[derive(Clone, Copy)]
enum Switch {
    Off,
    On,
}

/// The disturbances of a run.
pub(super) struct Disturbances {
    with: Disruptive,
    in_force: Mutex<BTreeSet<(ClusterName, Disruption)>>,
}

impl Disturbances {
    pub(super) fn new(with: Disruptive) -> Self {
        Self {
            with,
            in_force: Mutex::default(),
        }
    }

    /// What has not been undone.
    pub(super) fn in_force(&self) -> Vec<(ClusterName, Disruption)> {
        self.lock().iter().cloned().collect()
    }

    pub(super) async fn disrupt(
        &self,
        member: &Member,
        run: &RunId,
        cilium: Option<&str>,
        disruption: &Disruption,
    ) -> Result<(), EnvironmentError> {
        if self.with.consent == Consent::Withheld {
            return Err(EnvironmentError::NotDisruptive {
                cluster: member.name().clone(),
                what: disruption.to_string(),
            });
        }
        if matches!(disruption, Disruption::ClusterLost { .. }) && self.with.power.is_none() {
            return Err(EnvironmentError::NoMeans {
                cluster: member.name().clone(),
                what: disruption.to_string(),
            });
        }
        // First of all: what fails halfway has to be undone as well.
        self.lock().insert((member.name().clone(), disruption.clone()));
        match disruption {
            Disruption::NodeLost { node } => match &self.with.power {
                Some(power) => {
                    let cut = power.cut(member.name(), node).await;
                    cut.map_err(|reason| failed(member, disruption, reason))
                }
                None => {
                    cordon(member, node, run).await?;
                    Ok(delete_own_pods(member, node, run).await?)
                }
            },
            Disruption::ClusterLost { nodes } => {
                let cuts = nodes.iter().map(|node| self.switch(member, node, Switch::Off));
                let cut = try_join_all(cuts).await;
                cut.map(drop).map_err(|reason| failed(member, disruption, reason))
            }
            Disruption::AgentRestart { node } => {
                let namespace = known(cilium, member, disruption)?;
                let agent = agent(member, namespace, node).await?;
                let pod = agent.ok_or_else(|| failed(member, disruption, format!("no agent runs on {node}")))?;
                Ok(delete_pod(member, &pod, &DeleteParams::default()).await?)
            }
            Disruption::MeshApiServerDown => {
                let namespace = known(cilium, member, disruption)?;
                scale_to_zero(member, namespace).await?;
                wait(member, disruption, || async {
                    let pods = mesh_pods(member, namespace).await?;
                    let names: Vec<_> = pods.iter().map(ResourceExt::name_any).collect();
                    Ok((!names.is_empty()).then(|| format!("still there: {}", names.join(", "))))
                })
                .await
            }
        }
    }

    pub(super) async fn restore(
        &self,
        member: &Member,
        cilium: Option<&str>,
        disruption: &Disruption,
    ) -> Result<(), EnvironmentError> {
        let key = (member.name().clone(), disruption.clone());
        if !self.lock().contains(&key) {
            return Ok(());
        }
        match disruption {
            Disruption::NodeLost { node } => {
                match &self.with.power {
                    Some(power) => power
                        .restore(member.name(), node)
                        .await
                        .map_err(|reason| failed(member, disruption, reason))?,
                    None => uncordon(member, node).await?,
                }
                self.lock().remove(&key);
                member.kubelets().forget(node);
                wait(member, disruption, || node_ready(member, node)).await
            }
            Disruption::ClusterLost { nodes } => {
                // All of them, even if one does not come back.
                let switched = join_all(nodes.iter().map(|node| self.switch(member, node, Switch::On))).await;
                let restored: Result<Vec<()>, String> = switched.into_iter().collect();
                restored.map_err(|reason| failed(member, disruption, reason))?;
                self.lock().remove(&key);
                for node in nodes {
                    member.kubelets().forget(node);
                    wait(member, disruption, || node_ready(member, node)).await?;
                }
                Ok(())
            }
            Disruption::AgentRestart { node } => {
                let namespace = known(cilium, member, disruption)?;
                self.lock().remove(&key);
                wait(member, disruption, || async {
                    let agent = agent(member, namespace, node).await?;
                    Ok(match agent {
                        Some(pod) if is_ready(&pod) => None,
                        Some(pod) => Some(format!("{} is not ready", pod.name_any())),
                        None => Some("no agent's pod".to_owned()),
                    })
                })
                .await
            }
            Disruption::MeshApiServerDown => {
                let namespace = known(cilium, member, disruption)?;
                mend_replicas(member, namespace).await?;
                self.lock().remove(&key);
                wait(member, disruption, || async {
                    let pods = mesh_pods(member, namespace).await?;
                    let ready = pods.iter().filter(|pod| is_ready(pod)).count();
                    Ok((ready == 0).then(|| format!("{ready} of {} pods are ready", pods.len())))
                })
                .await
            }
        }
    }

    /// The operators' command for one node, where they gave one.
    async fn switch(&self, member: &Member, node: &NodeName, to: Switch) -> Result<(), String> {
        let Some(power) = &self.with.power else { return Ok(()) };
        match to {
            Switch::Off => power.cut(member.name(), node).await,
            Switch::On => power.restore(member.name(), node).await,
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeSet<(ClusterName, Disruption)>> {
        self.in_force.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Undoes what a run that did not end properly left disturbed; what was mended, in words. What may not be read was not disturbed.
pub(crate) async fn mend(member: &Member) -> Result<Vec<String>, ApiError> {
    let mut mended = Vec::new();
    let nodes = member.list_global::<Node>(&ListParams::default()).await;
    for node in allowed(nodes)?.unwrap_or_default() {
        if node.annotations().contains_key(CORDONED) {
            uncordon(member, &NodeName::new(node.name_any())).await?;
            mended.push(format!("uncordoned Node {}", node.name_any()));
        }
    }
    let labelled = ListParams::default().labels(crate::discover::cilium::MESH_LABEL);
    let deployments = member.list::<Deployment>(None, &labelled).await;
    for deployment in allowed(deployments)?.unwrap_or_default() {
        let namespace = deployment.namespace().unwrap_or_default();
        if deployment.annotations().contains_key(REPLICAS) && mend_replicas(member, &namespace).await? {
            mended.push(format!("scaled Deployment {namespace}/{MESH_APISERVER} up again"));
        }
    }
    Ok(mended)
}

fn allowed<T>(result: Result<T, ApiError>) -> Result<Option<T>, ApiError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_forbidden() => Ok(None),
        Err(error) => Err(error),
    }
}

async fn cordon(member: &Member, node: &NodeName, run: &RunId) -> Result<(), ApiError> {
    let api = Api::<Node>::all(member.client());
    let get = Operation::on("get", "nodes").named(node.as_str());
    let present = member.call(get, api.get(node.as_str())).await?;
    if present.spec.and_then(|spec| spec.unschedulable) == Some(true) {
        // The operators cordoned it: it stays so.
        return Ok(());
    }
    let change = json!({
        "metadata": {"annotations": {CORDONED: run.as_str()}}, "spec": {"unschedulable": true},
    });
    patch_node(member, node, change).await
}

async fn uncordon(member: &Member, node: &NodeName) -> Result<(), ApiError> {
    let api = Api::<Node>::all(member.client());
    let get = Operation::on("get", "nodes").named(node.as_str());
    let present = member.call(get, api.get(node.as_str())).await?;
    if !present.annotations().contains_key(CORDONED) {
        return Ok(());
    }
    let change = json!({
        "metadata": {"annotations": {CORDONED: null}}, "spec": {"unschedulable": null},
    });
    patch_node(member, node, change).await
}

async fn patch_node(member: &Member, node: &NodeName, change: Value) -> Result<(), ApiError> {
    let api = Api::<Node>::all(member.client());
    let operation = Operation::on("patch", "nodes").named(node.as_str());
    let (params, change) = (PatchParams::default(), Patch::Merge(change));
    member
        .call(operation, api.patch(node.as_str(), &params, &change))
        .await
        .map(|_| ())
}

async fn delete_own_pods(member: &Member, node: &NodeName, run: &RunId) -> Result<(), ApiError> {
    let params = ListParams::default().labels(&of_run(run));
    let at_once = DeleteParams::default().grace_period(0);
    for namespace in NAMESPACES {
        for pod in member.list::<Pod>(Some(namespace), &params).await? {
            if node_of(&pod) == Some(node.as_str()) {
                delete_pod(member, &pod, &at_once).await?;
            }
        }
    }
    Ok(())
}

async fn delete_pod(member: &Member, pod: &Pod, params: &DeleteParams) -> Result<(), ApiError> {
    let (namespace, name) = (pod.namespace().unwrap_or_default(), pod.name_any());
    let operation = Operation::on("delete", "pods").within(&namespace).named(&name);
    let deleting = member.within::<Pod>(&namespace);
    match member.call(operation, deleting.delete(&name, params)).await {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
}

async fn agent(member: &Member, namespace: &str, node: &NodeName) -> Result<Option<Pod>, ApiError> {
    let params = ListParams::default().labels(AGENT_LABEL);
    let pods = member.list::<Pod>(Some(namespace), &params).await?;
    let here = pods
        .into_iter()
        .filter(|pod| node_of(pod) == Some(node.as_str()) && pod.metadata.deletion_timestamp.is_none());
    Ok(here.into_iter().next())
}

async fn mesh_pods(member: &Member, namespace: &str) -> Result<Vec<Pod>, ApiError> {
    let params = ListParams::default().labels(crate::discover::cilium::MESH_LABEL);
    member.list::<Pod>(Some(namespace), &params).await
}

async fn scale_to_zero(member: &Member, namespace: &str) -> Result<(), ApiError> {
    let Some(deployment) = member.get::<Deployment>(namespace, MESH_APISERVER).await? else {
        return Ok(());
    };
    let replicas = deployment.spec.and_then(|spec| spec.replicas).unwrap_or(1);
    if replicas == 0 {
        return Ok(());
    }
    let change = json!({
        "metadata": {"annotations": {REPLICAS: replicas.to_string()}}, "spec": {"replicas": 0},
    });
    patch_mesh(member, namespace, change).await
}

/// Gives the Deployment the replicas that it had; true if it had lost them.
async fn mend_replicas(member: &Member, namespace: &str) -> Result<bool, ApiError> {
    let found = member.get::<Deployment>(namespace, MESH_APISERVER).await;
    let Some(deployment) = allowed(found)?.flatten() else {
        return Ok(false);
    };
    let before = deployment.annotations().get(REPLICAS);
    let Some(replicas) = before.and_then(|replicas| replicas.parse::<u32>().ok()) else {
        return Ok(false);
    };
    let change = json!({
        "metadata": {"annotations": {REPLICAS: null}}, "spec": {"replicas": replicas},
    });
    patch_mesh(member, namespace, change).await.map(|()| true)
}

async fn patch_mesh(member: &Member, namespace: &str, change: Value) -> Result<(), ApiError> {
    let api = member.within::<Deployment>(namespace);
    let operation = Operation::on("patch", "deployments.apps")
        .within(namespace)
        .named(MESH_APISERVER);
    let (params, change) = (PatchParams::default(), Patch::Merge(change));
    member
        .call(operation, api.patch(MESH_APISERVER, &params, &change))
        .await
        .map(|_| ())
}

async fn node_ready(member: &Member, node: &NodeName) -> Result<Option<String>, ApiError> {
    let api = Api::<Node>::all(member.client());
    let operation = Operation::on("get", "nodes").named(node.as_str());
    let node = member.call(operation, api.get(node.as_str())).await?;
    let conditions = node.status.and_then(|status| status.conditions).unwrap_or_default();
    let ready = conditions.into_iter().find(|condition| condition.type_ == "Ready");
    Ok(match ready {
        Some(ready) if ready.status == "True" => None,
        Some(ready) => Some(format!("condition Ready is {}", ready.status)),
        None => Some("no condition Ready".to_owned()),
    })
}

/// Looks until there is nothing more to wait for.
async fn wait<F>(member: &Member, disruption: &Disruption, mut look: impl FnMut() -> F) -> Result<(), EnvironmentError>
where
    F: Future<Output = Result<Option<String>, ApiError>>,
{
    let begun = Instant::now();
    loop {
        let last = match look().await {
            Ok(None) => return Ok(()),
            Ok(Some(last)) => last,
            Err(error) if error.is_forbidden() => return Err(error.into()),
            // The API itself may have been on what was taken away.
            Err(error) => error.to_string(),
        };
        if begun.elapsed() > READY_WITHIN {
            return Err(EnvironmentError::Deadline {
                cluster: member.name().clone(),
                operation: disruption.to_string(),
                seconds: READY_WITHIN.as_secs(),
                last,
            });
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn known<'a>(cilium: Option<&'a str>, member: &Member, disruption: &Disruption) -> Result<&'a str, EnvironmentError> {
    cilium.ok_or_else(|| failed(member, disruption, "Cilium seems not to be installed".to_owned()))
}

fn failed(member: &Member, disruption: &Disruption, reason: String) -> EnvironmentError {
    EnvironmentError::Api {
        cluster: member.name().clone(),
        operation: disruption.to_string(),
        reason,
    }
}

fn node_of(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref()
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    let ready = conditions
        .into_iter()
        .flatten()
        .any(|c| c.type_ == "Ready" && c.status == "True");
    ready && pod.metadata.deletion_timestamp.is_none()
}
