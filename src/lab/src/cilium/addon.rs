//! Cilium as a part of the lab: its objects, images, and background work.

use super::{command, ghost, install, mesh_command, operator, pods::CiliumPods};
use crate::{
    mesh::{self},
    state::{ClusterState, LabState},
    system::{Addon, SystemContainer, SystemImage},
};
use async_trait::async_trait;
use meshproof_apiserver::{Exec, ExitStatus};
use serde_json::Value;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Cilium and the cluster mesh in every cluster.
#[derive(Clone, Default)]
pub struct CiliumAddon(CiliumPods);

#[async_trait]
impl Addon for CiliumAddon {
    fn name(&self) -> &'static str {
        "cilium"
    }

    fn manager(&self) -> &'static str {
        "helm"
    }

    fn manifests(&self, lab: &LabState, cluster: &ClusterState) -> Vec<Value> {
        install::objects(&lab.topology, &cluster.spec)
    }

    fn images(&self) -> Vec<Arc<dyn SystemImage>> {
        let image = |kind| -> Arc<dyn SystemImage> {
            Arc::new(Image {
                kind,
                pods: self.0.clone(),
            })
        };
        vec![
            image(ImageKind::Agent),
            image(ImageKind::Operator),
            image(ImageKind::MeshApiserver),
            image(ImageKind::Relay),
            Arc::new(Idle),
        ]
    }

    async fn run(&self, lab: Arc<LabState>, stop: CancellationToken) {
        let follow = lab.clusters.iter().map(|cluster| {
            mesh::agents::follow(Arc::clone(&lab), Arc::clone(cluster), self.0.mesh.clone(), stop.clone())
        });
        futures::join!(
            futures::future::join_all(follow),
            ghost::follow(Arc::clone(&lab), stop.clone())
        );
    }
}

/// Programs of which nothing in the lab depends but that they run: Envoy, Hubble UI, SPIRE.
struct Idle;

#[async_trait]
impl SystemImage for Idle {
    fn matches(&self, image: &str) -> bool {
        install::IDLE.iter().any(|beginning| image.starts_with(beginning))
    }

    async fn run(&self, container: SystemContainer) -> i32 {
        container.stop.cancelled().await;
        0
    }
}

#[derive(Clone, Copy)]
enum ImageKind {
    Agent,
    Operator,
    MeshApiserver,
    Relay,
}

struct Image {
    kind: ImageKind,
    pods: CiliumPods,
}

impl Image {
    fn repository(&self) -> &'static str {
        match self.kind {
            ImageKind::Agent => "cilium",
            ImageKind::Operator => "operator-generic",
            ImageKind::MeshApiserver => "clustermesh-apiserver",
            ImageKind::Relay => "hubble-relay",
        }
    }
}

#[async_trait]
impl SystemImage for Image {
    fn matches(&self, image: &str) -> bool {
        image.starts_with(&install::image(self.repository(), ""))
    }

    async fn run(&self, container: SystemContainer) -> i32 {
        match (self.kind, container.name.as_str()) {
            (ImageKind::Agent, _) => self.pods.agents.run(&container).await,
            (ImageKind::Operator, _) => operator::run(&container).await,
            (ImageKind::MeshApiserver, "etcd") => self.pods.mesh.run_etcd(&container).await,
            (ImageKind::MeshApiserver, "kvstoremesh") => self.pods.mesh.run_kvstoremesh(&container).await,
            (ImageKind::MeshApiserver, _) => self.pods.mesh.run_apiserver(&container).await,
            (ImageKind::Relay, _) => {
                container.stop.cancelled().await;
                0
            }
        }
    }

    async fn exec(&self, container: SystemContainer, exec: Exec) -> ExitStatus {
        let answer = match self.kind {
            ImageKind::Agent => command::answer(&self.pods, &container, &exec.argv).await,
            ImageKind::MeshApiserver => mesh_command::answer(&self.pods, &container, &exec.argv).await,
            ImageKind::Operator | ImageKind::Relay => None,
        };
        match answer {
            Some(answer) => answer.deliver(exec).await,
            None => crate::system::not_found(exec).await,
        }
    }
}
