//! Disruptions of what is not the run's own: only where the operators allow them, one at a time, and always undone.
//!
//! What is changed carries its former state as an annotation, so that the next run can undo what a killed run left
//! disrupted.

mod abandoned;
mod cilium;
mod node;
mod rollout;

pub(crate) use abandoned::undo_abandoned;

use crate::{ApiError, client::ClusterClient, node_watch::TakenNodes, ready::is_pod_ready};
use async_trait::async_trait;
use futures::future::{join_all, try_join_all};
use kube::ResourceExt;
use meshproof_contract::{ClusterName, Consent, Disruption, EnvironmentError, NodeName, RunId};
use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// How long an agent, a node or the clustermesh-apiserver may take until it is ready again.
const READY_WITHIN: Duration = Duration::from_secs(120);
/// Pause between two readings of a state.
const POLL: Duration = Duration::from_millis(100);
/// The same for a rollout, which takes longer than the others by its nature.
const POLL_ROLLOUT: Duration = Duration::from_millis(500);

/// Which disruptions a run may cause, and by which means.
#[derive(Clone, Default)]
pub struct DisruptionOptions {
    /// Whether the operators allow any.
    pub consent: Consent,
    /// How to cut a node off, where the operators have a way.
    pub power: Option<Arc<dyn NodePower>>,
    /// Milliseconds between two probes of the streams that watch a disruption.
    pub stream_spacing_ms: Option<u32>,
    /// Seconds for which a clustermesh-apiserver is also taken down, if the operators ask for it.
    pub mesh_outage_seconds: Option<u32>,
}

/// The operators' way of cutting a node off and of bringing it back: a command of theirs.
#[async_trait]
pub trait NodePower: Send + Sync {
    /// Cuts the node off; it is gone when this returns. The error is for people.
    async fn cut(&self, cluster: &ClusterName, node: &NodeName) -> Result<(), String>;
    /// Brings it back.
    async fn restore(&self, cluster: &ClusterName, node: &NodeName) -> Result<(), String>;
}

impl fmt::Debug for DisruptionOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let power = self.power.as_ref().map(|_| "a command");
        f.debug_struct("DisruptionOptions")
            .field("consent", &self.consent)
            .field("power", &power)
            .field("stream_spacing_ms", &self.stream_spacing_ms)
            .field("mesh_outage_seconds", &self.mesh_outage_seconds)
            .finish()
    }
}

/// The nodes that a disruption takes away.
fn nodes_of(disruption: &Disruption) -> &[NodeName] {
    match disruption {
        Disruption::NodeLost { node } | Disruption::NodeDrained { node, .. } => std::slice::from_ref(node),
        Disruption::ClusterLost { nodes } => nodes,
        Disruption::AgentRestart { .. } | Disruption::Rollout { .. } | Disruption::MeshApiServerDown => &[],
    }
}

/// The disruptions of a run.
pub(super) struct Disruptions {
    options: DisruptionOptions,
    in_force: Mutex<BTreeSet<(ClusterName, Disruption)>>,
    taken: TakenNodes,
}

/// A cluster of the run, and where its Cilium is.
#[derive(Clone, Copy)]
pub(super) struct Site<'a> {
    pub(super) client: &'a ClusterClient,
    /// Namespace of Cilium's pods, if it was found.
    pub(super) cilium: Option<&'a str>,
}

impl Disruptions {
    pub(super) fn new(options: DisruptionOptions, taken: TakenNodes) -> Self {
        Self {
            options,
            in_force: Mutex::default(),
            taken,
        }
    }

    /// What has not been undone.
    pub(super) fn in_force(&self) -> Vec<(ClusterName, Disruption)> {
        self.lock().iter().cloned().collect()
    }

    pub(super) async fn disrupt(
        &self,
        site: Site<'_>,
        run: &RunId,
        disruption: &Disruption,
    ) -> Result<(), EnvironmentError> {
        let client = site.client;
        self.require_means(client, disruption)?;
        // First of all: what fails halfway has to be undone as well.
        self.lock().insert((client.name().clone(), disruption.clone()));
        nodes_of(disruption)
            .iter()
            .for_each(|node| self.taken.take(client.name(), node));
        match disruption {
            Disruption::NodeLost { .. } | Disruption::ClusterLost { .. } => {
                let nodes = nodes_of(disruption);
                // The record comes first: it tells who cut a node off if the run is killed now.
                try_join_all(nodes.iter().map(|node| node::record_cut(client, node, run))).await?;
                let power = self.options.power.iter();
                let cuts = power.flat_map(|power| nodes.iter().map(move |node| power.cut(client.name(), node)));
                let cut = try_join_all(cuts).await;
                cut.map(drop).map_err(|reason| failed(client, disruption, reason))
            }
            Disruption::NodeDrained { node, scenario } => {
                node::cordon(client, node, run).await?;
                Ok(node::delete_own_pods(client, node, run, scenario).await?)
            }
            Disruption::AgentRestart { node } => {
                let namespace = site.cilium_namespace(disruption)?;
                let agent = cilium::agent(client, namespace, node).await?;
                let absent = || failed(client, disruption, format!("no Cilium agent runs on node {node}"));
                Ok(cilium::delete_agent(client, &agent.ok_or_else(absent)?).await?)
            }
            Disruption::Rollout { component } => {
                let deployment = rollout::find(site, disruption, component).await?;
                Ok(rollout::restart(client, &deployment).await?)
            }
            Disruption::MeshApiServerDown => {
                let namespace = site.cilium_namespace(disruption)?;
                cilium::scale_to_zero(client, namespace).await?;
                wait(client, disruption, || async {
                    let pods = cilium::mesh_pods(client, namespace).await?;
                    let names: Vec<_> = pods.iter().map(ResourceExt::name_any).collect();
                    Ok((!names.is_empty()).then(|| format!("pods that still exist: {}", names.join(", "))))
                })
                .await
            }
        }
    }

    pub(super) async fn restore(&self, site: Site<'_>, disruption: &Disruption) -> Result<(), EnvironmentError> {
        let client = site.client;
        let key = (client.name().clone(), disruption.clone());
        if !self.lock().contains(&key) {
            return Ok(());
        }
        let restored = self.bring_back(site, disruption, key).await;
        // Whether or not it came back, it is no longer gone on purpose.
        nodes_of(disruption)
            .iter()
            .for_each(|node| self.taken.give_back(client.name(), node));
        restored
    }

    async fn bring_back(
        &self,
        site: Site<'_>,
        disruption: &Disruption,
        key: (ClusterName, Disruption),
    ) -> Result<(), EnvironmentError> {
        let client = site.client;
        match disruption {
            Disruption::NodeDrained { node, .. } => {
                node::uncordon(client, node).await?;
                self.lock().remove(&key);
                Ok(())
            }
            Disruption::NodeLost { .. } | Disruption::ClusterLost { .. } => {
                let nodes = nodes_of(disruption);
                // All of them, even if one does not come back.
                let power = self.options.power.iter();
                let restores = power.flat_map(|power| nodes.iter().map(move |node| power.restore(client.name(), node)));
                let restored: Result<Vec<()>, String> = join_all(restores).await.into_iter().collect();
                restored.map_err(|reason| failed(client, disruption, reason))?;
                self.lock().remove(&key);
                for node in nodes {
                    client.kubelets().forget(node);
                    wait(client, disruption, || node::not_ready(client, node)).await?;
                    node::erase_cut(client, node).await?;
                }
                Ok(())
            }
            Disruption::AgentRestart { node } => {
                let namespace = site.cilium_namespace(disruption)?;
                self.lock().remove(&key);
                wait(client, disruption, || async {
                    let agent = cilium::agent(client, namespace, node).await?;
                    Ok(match agent {
                        Some(pod) if is_pod_ready(&pod) => None,
                        Some(pod) => Some(format!("pod {} is not ready", pod.name_any())),
                        None => Some("no pod of the agent exists".to_owned()),
                    })
                })
                .await
            }
            Disruption::Rollout { component } => {
                let deployment = rollout::find(site, disruption, component).await?;
                self.lock().remove(&key);
                wait_every(POLL_ROLLOUT, client, disruption, || {
                    rollout::pending(client, &deployment)
                })
                .await
            }
            Disruption::MeshApiServerDown => {
                let namespace = site.cilium_namespace(disruption)?;
                cilium::scale_back(client, namespace).await?;
                self.lock().remove(&key);
                wait(client, disruption, || async {
                    let pods = cilium::mesh_pods(client, namespace).await?;
                    let ready = pods.iter().any(is_pod_ready);
                    Ok((!ready).then(|| format!("0 of {} pods are ready", pods.len())))
                })
                .await
            }
        }
    }

    /// Whether the operators allow it and gave what it takes.
    fn require_means(&self, client: &ClusterClient, disruption: &Disruption) -> Result<(), EnvironmentError> {
        let (cluster, what) = (client.name().clone(), disruption.to_string());
        if self.options.consent == Consent::Withheld {
            return Err(EnvironmentError::NotDisruptive { cluster, what });
        }
        let cuts = matches!(disruption, Disruption::NodeLost { .. } | Disruption::ClusterLost { .. });
        if cuts && self.options.power.is_none() {
            return Err(EnvironmentError::NoMeans { cluster, what });
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<(ClusterName, Disruption)>> {
        self.in_force.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'a> Site<'a> {
    fn cilium_namespace(self, disruption: &Disruption) -> Result<&'a str, EnvironmentError> {
        let absent = || "found no ConfigMap cilium-config, so Cilium is probably not installed".to_owned();
        self.cilium.ok_or_else(|| failed(self.client, disruption, absent()))
    }
}

/// Polls until there is nothing more to wait for; `pending` describes what is still missing.
async fn wait<F>(
    client: &ClusterClient,
    disruption: &Disruption,
    pending: impl FnMut() -> F,
) -> Result<(), EnvironmentError>
where
    F: Future<Output = Result<Option<String>, ApiError>>,
{
    wait_every(POLL, client, disruption, pending).await
}

/// The same with another pause between two readings.
async fn wait_every<F>(
    pause: Duration,
    client: &ClusterClient,
    disruption: &Disruption,
    mut pending: impl FnMut() -> F,
) -> Result<(), EnvironmentError>
where
    F: Future<Output = Result<Option<String>, ApiError>>,
{
    let begun = Instant::now();
    loop {
        let last = match pending().await {
            Ok(None) => return Ok(()),
            Ok(Some(last)) => last,
            Err(error) if error.is_forbidden() => return Err(error.into()),
            // The API server itself may run on what was taken away.
            Err(error) => error.to_string(),
        };
        if begun.elapsed() > READY_WITHIN {
            return Err(EnvironmentError::Deadline {
                cluster: client.name().clone(),
                operation: disruption.to_string(),
                seconds: READY_WITHIN.as_secs(),
                last,
            });
        }
        tokio::time::sleep(pause).await;
    }
}

fn failed(client: &ClusterClient, disruption: &Disruption, reason: String) -> EnvironmentError {
    EnvironmentError::Api {
        cluster: client.name().clone(),
        operation: disruption.to_string(),
        reason,
    }
}
