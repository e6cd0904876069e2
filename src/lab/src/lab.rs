//! A running lab inside its own process: brings everything up in order, and down again.

use crate::{
    addons,
    admission::{Pods, Services, create_api_service},
    controller, external_hosts,
    injection::FaultInjector,
    ipcache,
    kubelet::{Kubelet, KubeletStreams},
    node_grace::NodeGrace,
    object,
    power::Power,
    service,
    state::{ClusterState, LabState, NodeState},
    system::SystemModule,
    topology::{ClusterSpec, KUBERNETES_VERSION, NODE_PORTS, NODE_PREFIX_LEN, Topology},
};
use meshproof_apiserver::{
    ApiError, KubeContext, Resource, Server, ServerOptions, Store, User, kubeconfig, resource::names::PODS,
};
use meshproof_datapath::{
    Fabric, FabricConfig, FabricError, HostNet, LinkProfile, Node, NodeConfig, NodeError, netns::NamespaceError,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    net::{Ipv4Addr, TcpListener},
    sync::Arc,
    time::Duration,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How long system pods may take to become ready.
const BOOT_DEADLINE: Duration = Duration::from_secs(30);
/// How long a shutdown waits for what does not end by itself: everything left dies with the process.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);

/// What to start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LabConfig {
    /// The shape of the lab.
    pub topology: Topology,
    /// How long a silent node is believed.
    pub node_grace: NodeGrace,
}

/// Why a lab could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The network between the nodes could not be made.
    #[error("failed to make the network between the nodes")]
    Fabric(#[from] FabricError),
    /// A node could not be started.
    #[error("failed to start a node")]
    Node(#[from] NodeError),
    /// A kubelet could not enter its node's namespace.
    #[error("failed to start a kubelet")]
    Kubelet(#[from] NamespaceError),
    /// No port for an API server.
    #[error("failed to listen on 127.0.0.1 for the API server of {cluster}")]
    Listen {
        /// Whose.
        cluster: String,
        /// Why.
        source: std::io::Error,
    },
    /// An API server could not start.
    #[error("failed to start the API server of {cluster}")]
    Server {
        /// Whose.
        cluster: String,
        /// Why.
        source: meshproof_apiserver::StartError,
    },
    /// A cluster refused one of the objects that it starts with.
    #[error("cluster {cluster} refused {object}: {source}")]
    Object {
        /// Which cluster.
        cluster: String,
        /// Kind and name.
        object: String,
        /// Why.
        source: ApiError,
    },
    /// System pods did not become ready.
    #[error("the lab was not ready after {} s: {}", .after.as_secs(), .waiting.join("; "))]
    NotReady {
        /// How long it was waited.
        after: Duration,
        /// What was still missing, as last seen.
        waiting: Vec<String>,
    },
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
        let clusters: Vec<_> = topology.clusters.iter().map(|spec| Arc::new(cluster(spec))).collect();
        let starting = clusters.iter().map(|cluster| start_nodes(&topology, cluster, &fabric));
        futures::future::try_join_all(starting).await?;
        let state = Arc::new(LabState::new(topology, fabric, clusters));
        introduce_nodes(&state);

        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let external = external_hosts::start(&state.fabric, &stop).await?;
        let modules = addons::all();
        let mut servers = Vec::new();
        for cluster in &state.clusters {
            servers.push(start_cluster(
                &state,
                cluster,
                &modules,
                config.node_grace,
                &tasks,
                &stop,
            )?);
        }
        tasks.spawn(ipcache::run(Arc::clone(&state), stop.clone()));
        for module in &modules {
            let (module, lab, stop) = (Arc::clone(module), Arc::clone(&state), stop.clone());
            tasks.spawn(async move { module.run(lab, stop).await });
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
            while !self.missing().is_empty() {
                // Readiness is in the API, not in the sandboxes: look often while the boot lasts.
                let _ = tokio::time::timeout(Duration::from_millis(20), pods.changed()).await;
            }
        };
        match tokio::time::timeout(within, all).await {
            Ok(()) => Ok(()),
            Err(_) => Err(StartError::NotReady {
                after: within,
                waiting: self.missing(),
            }),
        }
    }

    /// What is not ready yet, in words.
    fn missing(&self) -> Vec<String> {
        use meshproof_apiserver::resource::names::{DAEMON_SETS, DEPLOYMENTS, NODES};
        let mut missing = Vec::new();
        for cluster in &self.state.clusters {
            let (name, store) = (cluster.name(), &cluster.store);
            let nodes = store.all(&NODES, None);
            for node in &cluster.spec.nodes {
                let ready = nodes.iter().any(|n| n.name() == node.name && object::is_ready(n));
                if !ready {
                    missing.push(format!("{name}: node {} is not ready", node.name));
                }
            }
            for deployment in store.all(&DEPLOYMENTS, Some("kube-system")) {
                let wanted = deployment["spec"]["replicas"].as_i64().unwrap_or(1);
                if deployment["status"]["readyReplicas"].as_i64().unwrap_or_default() < wanted {
                    missing.push(format!("{name}: deployment {} is not ready", deployment.name()));
                }
            }
            for set in store.all(&DAEMON_SETS, Some("kube-system")) {
                let status = &set["status"];
                let wanted = status["desiredNumberScheduled"].as_i64().unwrap_or(1);
                if wanted == 0 || status["numberReady"].as_i64().unwrap_or_default() < wanted {
                    missing.push(format!("{name}: daemonset {} is not ready", set.name()));
                }
            }
            if !missing.is_empty() {
                let unready = store.all(&PODS, Some("kube-system"));
                let unready = unready.iter().filter(|pod| !object::is_ready(pod));
                missing.extend(unready.map(|pod| format!("{name}: pod {} is {}", pod.name(), pod_state(pod))));
            }
        }
        missing
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A pod's phase or, better, what its first waiting container waits for.
pub(crate) fn pod_state(pod: &Value) -> String {
    let statuses = pod["status"]["containerStatuses"].as_array().into_iter().flatten();
    let waiting = statuses
        .map(|status| &status["state"]["waiting"])
        .find(|waiting| !waiting.is_null());
    match waiting {
        Some(waiting) => {
            let part = |field: &str| waiting[field].as_str().unwrap_or_default().to_owned();
            format!("{} {}", part("reason"), part("message")).trim_end().to_owned()
        }
        None => pod["status"]["phase"].as_str().unwrap_or("Pending").to_owned(),
    }
}

fn cluster(spec: &ClusterSpec) -> ClusterState {
    let store = Store::builder()
        .admission(Services::new(spec.service_cidr))
        .admission(Pods)
        .history(1000)
        .build();
    ClusterState::new(spec.clone(), store)
}

async fn start_nodes(topology: &Topology, cluster: &ClusterState, fabric: &Fabric) -> Result<(), NodeError> {
    let starting = cluster.spec.nodes.iter().map(|spec| async move {
        let mut config = NodeConfig::new(spec.name.as_str(), cluster.name(), spec.address, spec.pod_cidr);
        config.prefix_len = NODE_PREFIX_LEN;
        config.cluster_pod_cidrs = topology.clusters.iter().map(|cluster| cluster.pod_cidr).collect();
        config.service_cidrs = vec![cluster.spec.service_cidr];
        config.node_ports = NODE_PORTS;
        config.routing = topology.datapath_routing();
        config.encryption = topology.datapath_encryption();
        config.strict_encryption = topology.strict_range(&cluster.spec);
        let handle = Node::start(config, fabric).await?;
        Ok::<_, NodeError>(Arc::new(NodeState::new(spec.clone(), handle)))
    });
    cluster.set_nodes(futures::future::try_join_all(starting).await?);
    Ok(())
}

/// Tells every node of every other one, across clusters.
fn introduce_nodes(lab: &LabState) {
    let peers: Vec<_> = lab.nodes().map(|(_, node)| node.handle.as_peer()).collect();
    for (_, node) in lab.nodes() {
        let others = peers.iter().filter(|peer| peer.node != *node.handle.name());
        node.handle.set_peers(others.cloned().collect());
    }
}

fn start_cluster(
    lab: &Arc<LabState>,
    cluster: &Arc<ClusterState>,
    modules: &[Arc<dyn SystemModule>],
    grace: NodeGrace,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> Result<Server, StartError> {
    let name = cluster.name().to_owned();
    let refused = |object: &str, source: ApiError| StartError::Object {
        cluster: name.clone(),
        object: object.to_owned(),
        source,
    };
    create_api_service(&cluster.store, cluster.spec.api_address())
        .map_err(|error| refused("Service kubernetes", error))?;
    for module in modules {
        let store = cluster.store.writing_as(module.name());
        for manifest in module.manifests(lab, cluster) {
            let label = format!("{} {}", text(&manifest["kind"]), text(&manifest["metadata"]["name"]));
            create(&store, manifest).map_err(|error| refused(&label, error))?;
        }
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let listener = listener.map_err(|source| StartError::Listen {
        cluster: name.clone(),
        source,
    })?;
    let streams = KubeletStreams::default();
    let options = ServerOptions {
        authority: format!("{name}-ca"),
        alternative_names: vec![cluster.spec.api_address().to_string()],
        git_version: KUBERNETES_VERSION.to_owned(),
    };
    let server =
        Server::start(listener, cluster.store.clone(), Arc::new(streams.clone()), options).map_err(|source| {
            StartError::Server {
                cluster: name.clone(),
                source,
            }
        })?;
    let images: Arc<[_]> = modules.iter().flat_map(|module| module.images()).collect();
    let mut kubelets = Vec::new();
    for node in cluster.nodes() {
        kubelets.push(Kubelet::start(
            lab,
            cluster,
            node,
            Arc::clone(&images),
            grace,
            tasks,
            stop,
        )?);
    }
    streams.serve(kubelets);
    // After the kubelets: a scheduler that sees only some of the nodes would crowd them.
    controller::start(&cluster.store, server.ca_pem(), grace, &lab.faults, tasks, stop);
    tasks.spawn(service::program::run(
        Arc::clone(lab),
        Arc::clone(cluster),
        stop.clone(),
    ));
    Ok(server)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Creates an object and, where it has one, its status.
fn create(store: &Store, manifest: Value) -> Result<(), ApiError> {
    let group = text(&manifest["apiVersion"])
        .rsplit_once('/')
        .map_or("", |(group, _)| group)
        .to_owned();
    let kind = text(&manifest["kind"]).to_owned();
    let known = store
        .definitions()
        .into_iter()
        .find(|def| def.group == group && def.kind == kind);
    let resource = known.map_or_else(
        || Resource::new(group, format!("{}s", kind.to_lowercase())),
        |def| def.resource(),
    );
    let status = manifest["status"].clone();
    let created = store.create(&resource, manifest)?;
    if !status.is_null() {
        store.modify_status(&resource, created.namespace(), created.name(), |object| {
            object["status"].clone_from(&status)
        })?;
    }
    Ok(())
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
