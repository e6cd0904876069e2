//! Starts the nodes and the clusters of a lab.

use super::StartError;
use crate::{
    admission::{Limits, Pods, Quotas, Services, create_api_service},
    controller,
    fault::Fault,
    kubelet::{Kubelet, KubeletStreams},
    node_grace::NodeGrace,
    service,
    state::{ClusterState, LabState, NodeState},
    system::Addon,
    topology::{ClusterSpec, KUBERNETES_VERSION, NODE_PORTS, NODE_PREFIX_LEN, Topology},
};
use meshproof_apiserver::{ApiError, Pace, Resource, Server, ServerOptions, Store};
use meshproof_datapath::{Fabric, Node, NodeConfig, NodeError};
use serde_json::Value;
use std::{
    net::{Ipv4Addr, TcpListener},
    sync::Arc,
    time::Duration,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// An empty cluster.
pub(super) fn cluster(spec: &ClusterSpec) -> ClusterState {
    let store = Store::builder()
        .admission(Services::new(spec.service_cidr))
        .admission(Limits)
        .admission(Pods)
        .admission(Quotas)
        .history(1000)
        .build();
    ClusterState::new(spec.clone(), store)
}

/// Starts the nodes of a cluster.
pub(super) async fn start_nodes(topology: &Topology, cluster: &ClusterState, fabric: &Fabric) -> Result<(), NodeError> {
    let starting = cluster.spec.nodes.iter().map(|spec| async move {
        let mut config = NodeConfig::new(spec.name.as_str(), cluster.name(), spec.address, spec.pod_cidr);
        config.prefix_len = NODE_PREFIX_LEN;
        config.cluster_pod_cidrs = topology.pod_ranges();
        config.service_cidrs = vec![cluster.spec.service_cidr, cluster.spec.pool()];
        config.node_ports = NODE_PORTS;
        config.routing = topology.datapath_routing();
        config.encryption = topology.datapath_encryption();
        config.node_encryption = topology.settings().node_encryption;
        config.socket_balancing = topology.settings().socket_lb;
        config.dispatch = topology.settings().dispatch;
        config.node_ports_elsewhere = topology.settings().kube_proxy_replacement;
        config.strict_encryption = topology.strict_range(&cluster.spec);
        let handle = Node::start(config, fabric).await?;
        Ok::<_, NodeError>(Arc::new(NodeState::new(spec.clone(), handle)))
    });
    cluster.set_nodes(futures::future::try_join_all(starting).await?);
    Ok(())
}

/// Makes every node know every other one, across clusters.
pub(super) fn introduce_nodes(lab: &LabState) {
    let peers: Vec<_> = lab.nodes().map(|(_, node)| node.handle.as_peer()).collect();
    for (_, node) in lab.nodes() {
        let others = peers.iter().filter(|peer| peer.node != *node.handle.name());
        node.handle.set_peers(others.cloned().collect());
    }
}

/// Starts the API server, the kubelets and the controllers of a cluster.
pub(super) fn start_cluster(
    lab: &Arc<LabState>,
    cluster: &Arc<ClusterState>,
    addons: &[Arc<dyn Addon>],
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
    create_api_service(&cluster.store, cluster.spec.api_address(), cluster.spec.api_server())
        .map_err(|error| refused("Service kubernetes", error))?;
    for addon in addons {
        let store = cluster.store.writing_as(addon.manager());
        for manifest in addon.manifests(lab, cluster) {
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
        pace: pace(lab, &name),
    };
    let server =
        Server::start(listener, cluster.store.clone(), Arc::new(streams.clone()), options).map_err(|source| {
            StartError::Server {
                cluster: name.clone(),
                source,
            }
        })?;
    let images: Arc<[_]> = addons.iter().flat_map(|addon| addon.images()).collect();
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

/// How slow the API server of a cluster is.
fn pace(lab: &Arc<LabState>, cluster: &str) -> Pace {
    let (lab, cluster) = (Arc::downgrade(lab), cluster.to_owned());
    Pace::new(move || match lab.upgrade() {
        Some(lab) if lab.acts_in(Fault::ApiServerSlow, &cluster) => lab.faults.time(Fault::ApiServerSlow),
        _ => Duration::ZERO,
    })
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
