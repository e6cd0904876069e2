//! What runs in a pod without being a process: Cilium's agent and operator, the clustermesh-apiserver, cluster DNS. An
//! [`Addon`] brings objects, images and background work; kubelets run its images in process, with
//! sockets in the pod's network namespace. Nothing here knows what an addon does.

use crate::{
    container_log::LogWriter,
    state::{ClusterState, LabState, NodeState},
};
use async_trait::async_trait;
use meshproof_apiserver::{Exec, ExitStatus, Object};
use meshproof_datapath::netns::Namespace;
use serde_json::Value;
use std::{net::Ipv4Addr, sync::Arc};
use tokio::io::AsyncWriteExt;
use tokio_util::sync::CancellationToken;

/// An image that the kubelets run inside this process.
#[async_trait]
pub trait SystemImage: Send + Sync + 'static {
    /// Whether a container with this image reference is this one's.
    fn matches(&self, image: &str) -> bool;

    /// Runs the container until `container.stop` is cancelled (its pod is stopped) or it ends by itself; returns the
    /// exit code. A return before the stop is a crash or a completion, and the kubelet acts as `restartPolicy` says.
    async fn run(&self, container: SystemContainer) -> i32;

    /// Runs a command in the running container. The default knows no command: exit code 127, as in an image without
    /// that executable.
    async fn exec(&self, container: SystemContainer, exec: Exec) -> ExitStatus {
        let _ = container;
        not_found(exec).await
    }
}

/// A container of a system pod, as its code sees the world. Cheap to clone.
#[derive(Clone)]
pub struct SystemContainer {
    /// The whole lab.
    pub lab: Arc<LabState>,
    /// The pod's cluster; its `store` is the cluster's API.
    pub cluster: Arc<ClusterState>,
    /// The pod's node.
    pub node: Arc<NodeState>,
    /// The pod as it was when the container started.
    pub pod: Object,
    /// The container's name.
    pub name: String,
    /// The network namespace: make sockets with [`Namespace::within`] and hand them to tokio.
    pub namespace: Namespace,
    /// The pod's address; for a host-network pod the node's.
    pub address: Ipv4Addr,
    /// What it writes here is its log.
    pub log: LogWriter,
    /// Cancelled when the container must end.
    pub stop: CancellationToken,
}

/// A part of the lab that lives on top of kubelets and controllers.
#[async_trait]
pub trait Addon: Send + Sync + 'static {
    /// For logs.
    fn name(&self) -> &'static str;

    /// The field manager of its objects: who installed it.
    fn manager(&self) -> &'static str {
        self.name()
    }

    /// Complete objects that the cluster starts with, created in this order: definitions, ConfigMaps, Secrets,
    /// ServiceAccounts, Services, DaemonSets, Deployments. Called once a cluster, before any node is registered.
    fn manifests(&self, lab: &LabState, cluster: &ClusterState) -> Vec<Value> {
        let _ = (lab, cluster);
        Vec::new()
    }

    /// The images that it runs.
    fn images(&self) -> Vec<Arc<dyn SystemImage>> {
        Vec::new()
    }

    /// Background work for the whole lab, from the end of the boot until `stop`.
    async fn run(&self, lab: Arc<LabState>, stop: CancellationToken) {
        let _ = lab;
        stop.cancelled().await;
    }
}

/// What a container without that executable answers: a message on stderr and exit code 127, as a shell would.
pub(crate) async fn not_found(exec: Exec) -> ExitStatus {
    let command = exec.argv.first().map_or("", String::as_str);
    let message = format!(
        "OCI runtime exec failed: exec failed: unable to start container process: exec: \"{command}\": executable \
         file not found in $PATH: unknown\n"
    );
    if let Some(mut stderr) = exec.stderr.or(exec.stdout) {
        // The client may have gone; the exit code is reported all the same.
        let _ = stderr.write_all(message.as_bytes()).await;
        let _ = stderr.shutdown().await;
    }
    ExitStatus::Code(127)
}
