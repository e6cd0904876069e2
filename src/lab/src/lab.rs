//! A running lab inside its own process: brings everything up in order, and down again.

use crate::{
    addons, external_hosts,
    fault::PlaceSeed,
    injection::FaultInjector,
    ipcache,
    node_grace::NodeGrace,
    power::Power,
    state::{ClusterState, LabState},
    topology::Topology,
};
use meshproof_apiserver::{KubeContext, Server, User, kubeconfig};
use meshproof_datapath::{Fabric, FabricConfig, HostNet, LinkProfile};
use serde::{Deserialize, Serialize};
use std::{sync::Arc, time::Duration};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

mod boot;
mod error;
mod readiness;

pub use error::StartError;
pub(crate) use readiness::pod_state;

/// How long system pods may take to become ready.
const BOOT_DEADLINE: Duration = Duration::from_secs(30);
/// How long a shutdown waits for what does not end by itself: everything left dies with the process.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);

/// What to start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LabConfig {
    /// The shape of the lab.
    pub topology: Topology,
    /// How long a silent node counts as alive.
    pub node_grace: NodeGrace,
    /// Where faults act.
    #[serde(default)]
    pub places: PlaceSeed,
}

/// Two clusters, running. Dropping it stops it without waiting; [`Lab::shutdown`] waits.
pub struct Lab {
    state: Arc<LabState>,
    faults: Arc<FaultInjector>,
    power: Power,
    servers: Vec<Server>,
    _external: Vec<HostNet>,
    kubeconfig: String,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Lab {
    /// Starts everything and waits until every node and every system pod is ready. Call it in a process that
    /// [`meshproof_datapath::netns::enter`] has set apart.
    pub async fn start(config: LabConfig) -> Result<Self, StartError> {
        let topology = config.topology;
        let fabric = Fabric::new(FabricConfig {
            within_cluster: LinkProfile {
                latency: topology.within_cluster,
            },
            between_clusters: LinkProfile {
                latency: topology.between_clusters,
            },
            mtu: topology.mtu,
            ..FabricConfig::default()
        })?;
        let clusters: Vec<_> = topology
            .clusters
            .iter()
            .map(|spec| Arc::new(boot::cluster(spec)))
            .collect();
        let starting = clusters
            .iter()
            .map(|cluster| boot::start_nodes(&topology, cluster, &fabric));
        futures::future::try_join_all(starting).await?;
        let state = Arc::new(LabState::new(topology, fabric, clusters, config.places));
        boot::introduce_nodes(&state);

        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let external = external_hosts::start(&state.fabric, &stop).await?;
        let addons = addons::all();
        let mut servers = Vec::new();
        for cluster in &state.clusters {
            servers.push(boot::start_cluster(
                &state,
                cluster,
                &addons,
                config.node_grace,
                &tasks,
                &stop,
            )?);
        }
        tasks.spawn(ipcache::run(Arc::clone(&state), stop.clone()));
        for addon in &addons {
            let (addon, lab, stop) = (Arc::clone(addon), Arc::clone(&state), stop.clone());
            tasks.spawn(async move { addon.run(lab, stop).await });
        }
        let contexts: Vec<_> = state
            .clusters
            .iter()
            .zip(&servers)
            .map(|(cluster, server)| context(cluster, server))
            .collect();
        let faults = Arc::new(FaultInjector::new(Arc::clone(&state)));
        let (follower, cancelled) = (Arc::clone(&faults), stop.clone());
        tasks.spawn(async move { cancelled.run_until_cancelled(follower.follow()).await });
        let lab = Self {
            faults,
            power: Power::new(Arc::clone(&state)),
            kubeconfig: kubeconfig(&contexts),
            state,
            servers,
            _external: external,
            stop,
            tasks,
        };
        lab.ready(BOOT_DEADLINE).await?;
        Ok(lab)
    }

    /// What is true in it.
    pub fn state(&self) -> &Arc<LabState> {
        &self.state
    }

    /// Its faults.
    pub fn faults(&self) -> &FaultInjector {
        &self.faults
    }

    /// The switches of its nodes.
    pub(crate) fn power(&self) -> &Power {
        &self.power
    }

    /// A kubeconfig for both clusters; holds secrets.
    pub fn kubeconfig(&self) -> &str {
        &self.kubeconfig
    }

    /// The API servers' URLs, in the order of the clusters.
    pub(crate) fn server_urls(&self) -> Vec<String> {
        self.servers.iter().map(Server::url).collect()
    }

    /// Stops everything. What does not end in time dies with the process.
    pub async fn shutdown(&self) {
        self.stop.cancel();
        self.tasks.close();
        let ends = async {
            self.tasks.wait().await;
            futures::future::join_all(self.state.nodes().map(|(_, node)| node.handle.shutdown())).await;
        };
        if tokio::time::timeout(SHUTDOWN_TIMEOUT, ends).await.is_err() {
            tracing::warn!("the lab did not end by itself within {} s", SHUTDOWN_TIMEOUT.as_secs());
        }
    }

    /// Waits until nodes and system pods are ready.
    async fn ready(&self, within: Duration) -> Result<(), StartError> {
        let mut pods = self.state.pods_changed();
        let all = async {
            while !readiness::missing(&self.state).is_empty() {
                // Readiness is in the API, not in the sandboxes: look often while the boot lasts.
                let _ = tokio::time::timeout(Duration::from_millis(20), pods.changed()).await;
            }
        };
        match tokio::time::timeout(within, all).await {
            Ok(()) => Ok(()),
            Err(_) => Err(StartError::NotReady {
                after: within,
                waiting: readiness::missing(&self.state),
            }),
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn context(cluster: &ClusterState, server: &Server) -> KubeContext {
    KubeContext {
        name: cluster.name().to_owned(),
        server: server.url(),
        ca_pem: server.ca_pem().to_owned(),
        token: server.tokens().issue(User::admin("kubernetes-admin"), None),
        namespace: None,
    }
}
