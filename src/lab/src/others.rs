//! Workloads of others, as every cluster has some: a namespace `demo` with a global service, a local one and one with
//! an address of the cluster's pool. They are there before anybody looks, and nobody of the lab needs them.

use crate::{
    health::http_endpoint,
    state::{ClusterState, LabState},
    system::{Addon, SystemContainer, SystemImage},
};
use async_trait::async_trait;
use ipnet::Ipv4Net;
use serde_json::{Value, json};
use std::sync::Arc;

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
        objects(cluster.spec.nodes.len().min(2), cluster.spec.pool())
    }

    fn images(&self) -> Vec<Arc<dyn SystemImage>> {
        vec![Arc::new(Echo)]
    }
}

/// Addresses that load balancers get: those of the pool's network with these last numbers.
const LAST: [usize; 2] = [50, 99];

fn objects(replicas: usize, pool: Ipv4Net) -> Vec<Value> {
    let labels = json!({"app": "echo"});
    let meta = |name: &str| json!({"name": name, "namespace": NAMESPACE, "labels": labels});
    let service = |name: &str, annotations: Value, ports: &[(&str, u16)]| {
        let mut metadata = meta(name);
        metadata["annotations"] = annotations;
        let port =
            |(name, port): &(&str, u16)| json!({"name": name, "port": port, "targetPort": PORT, "protocol": "TCP"});
        let ports: Vec<Value> = ports.iter().map(port).collect();
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": metadata,
            "spec": {"selector": labels, "ports": ports},
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
    let mut public = service("echo-public", json!({}), &[("http", 80)]);
    public["spec"]["type"] = json!("LoadBalancer");
    public["spec"]["allocateLoadBalancerNodePorts"] = json!(false);
    let [start, stop] = LAST.map(|last| pool.hosts().nth(last - 1).unwrap_or(pool.network()).to_string());
    vec![
        json!({
            "apiVersion": "cilium.io/v2", "kind": "CiliumLoadBalancerIPPool", "metadata": {"name": "public"},
            "spec": {"blocks": [{"start": start, "stop": stop}]},
        }),
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}),
        public,
        service(
            "echo",
            json!({"service.cilium.io/global": "true"}),
            &[("http", 80), ("http-alt", 8088)],
        ),
        service("echo-local", json!({}), &[("http", 80)]),
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
