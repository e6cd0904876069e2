//! Workloads of others, as every cluster has some: a namespace `demo` with a global service and a local one. They are
//! there before anybody looks, and nobody of the lab needs them.

use crate::{
    fault::Fault,
    health::http_endpoint,
    state::{ClusterState, LabState},
    system::{Addon, SystemContainer, SystemImage},
};
use async_trait::async_trait;
use meshproof_apiserver::{Patch, resource::names::SERVICES};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Their namespace.
pub(crate) const NAMESPACE: &str = "demo";
/// A server that answers every request.
const IMAGE: &str = "registry.example/echo:1.4.2";
/// Where it listens.
const PORT: u16 = 8080;

/// The others.
pub struct OthersAddon;

#[async_trait]
impl Addon for OthersAddon {
    fn name(&self) -> &'static str {
        "others"
    }

    fn manifests(&self, _: &LabState, cluster: &ClusterState) -> Vec<Value> {
        objects(cluster.spec.nodes.len().min(2))
    }

    fn images(&self) -> Vec<Arc<dyn SystemImage>> {
        vec![Arc::new(Echo)]
    }

    async fn run(&self, lab: Arc<LabState>, stop: CancellationToken) {
        write_affinity(&lab, &stop).await;
    }
}

/// Somebody writes the affinity of the global service out while that fault is in force, as the documentation allows.
async fn write_affinity(lab: &LabState, stop: &CancellationToken) {
    let mut faults = lab.faults.subscribe();
    let mut written: Option<String> = None;
    loop {
        faults.mark_unchanged();
        let fault = Fault::GlobalAffinityWrittenNone;
        let place = lab.drawn.place(fault).filter(|_| lab.faults.is_active(fault));
        let wanted = place.map(|place| place.cluster);
        if wanted != written {
            for (cluster, value) in [(&written, Value::Null), (&wanted, json!("none"))] {
                if let Some(cluster) = cluster.as_ref().and_then(|name| lab.cluster(name)) {
                    annotate(cluster, &value);
                }
            }
            written = wanted;
        }
        tokio::select! {
            () = stop.cancelled() => return,
            changed = faults.changed() => if changed.is_err() { return },
        }
    }
}

fn annotate(cluster: &ClusterState, affinity: &Value) {
    let patch = Patch::Merge(json!({"metadata": {"annotations": {"service.cilium.io/affinity": affinity}}}));
    if let Err(error) = cluster.store.patch(&SERVICES, Some(NAMESPACE), "echo", patch) {
        tracing::warn!(%error, "the service of others cannot be annotated");
    }
}

fn objects(replicas: usize) -> Vec<Value> {
    let labels = json!({"app": "echo"});
    let meta = |name: &str| json!({"name": name, "namespace": NAMESPACE, "labels": labels});
    let service = |name: &str, annotations: Value| {
        let mut metadata = meta(name);
        metadata["annotations"] = annotations;
        let port = json!({"name": "http", "port": 80, "targetPort": PORT, "protocol": "TCP"});
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": metadata,
            "spec": {"selector": labels, "ports": [port]},
        })
    };
    let container = json!({
        "name": "echo",
        "image": IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "ports": [{"name": "http", "containerPort": PORT, "protocol": "TCP"}],
        "readinessProbe": {"httpGet": {"path": "/", "port": PORT, "scheme": "HTTP"}, "periodSeconds": 10},
    });
    let spread = json!({"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{
        "weight": 100,
        "podAffinityTerm": {
            "labelSelector": {"matchLabels": labels}, "topologyKey": "kubernetes.io/hostname",
        },
    }]}});
    vec![
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}),
        service("echo", json!({"service.cilium.io/global": "true"})),
        service("echo-local", json!({})),
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta("echo"),
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {"affinity": spread, "containers": [container]},
                },
            },
        }),
    ]
}

struct Echo;

#[async_trait]
impl SystemImage for Echo {
    fn matches(&self, image: &str) -> bool {
        image == IMAGE
    }

    async fn run(&self, container: SystemContainer) -> i32 {
        if let Err(error) = http_endpoint(&container.namespace, PORT, container.stop.clone()) {
            container.log.line(format!("cannot listen: {error}"));
            return 1;
        }
        container.stop.cancelled().await;
        0
    }
}
