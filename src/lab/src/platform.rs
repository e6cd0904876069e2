//! A platform of others: a database, a cache and a portal in the first cluster, behind global Services, and a shop in
//! the last cluster that uses them. Their operators have written down the flows between them ([`flows`]).

mod certificate;
mod server;

use crate::{
    state::{ClusterState, LabState},
    system::{Addon, SystemContainer, SystemImage},
};
use async_trait::async_trait;
use certificate::Certificates;
use serde_json::{Value, json};
use std::sync::Arc;

/// The flows that the operators of the lab's clusters have written down, as a file. They know whether Cilium encrypts,
/// or say nothing of that.
pub fn flows(encrypted: Option<bool>) -> String {
    let said = encrypted.map_or_else(|| "null".to_owned(), |encrypted| encrypted.to_string());
    include_str!("../flows.yaml").replace("ENCRYPTED", &said)
}

/// The namespace of the servers.
pub(crate) const NAMESPACE: &str = "platform";
/// The Deployment of the servers.
pub(crate) const DEPLOYMENT: &str = "platform";
/// The port of the database, in its pod and of its Service.
pub(crate) const DATABASE: u16 = server::POSTGRES;
/// The policy that admits the shop to the servers.
pub(crate) const POLICY: &str = "clients";
/// The namespace of the clients.
pub(crate) const CLIENTS: &str = "shop";
const IMAGE: &str = "registry.example/platform:2.3.0";

/// The addon.
pub struct PlatformAddon(Arc<Certificates>);

impl PlatformAddon {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Certificates::new()))
    }
}

#[async_trait]
impl Addon for PlatformAddon {
    fn name(&self) -> &'static str {
        "platform"
    }

    fn manifests(&self, lab: &LabState, cluster: &ClusterState) -> Vec<Value> {
        let is_of = |other: Option<&Arc<ClusterState>>| other.is_some_and(|other| other.name() == cluster.name());
        let mut objects = servers(u8::from(is_of(lab.clusters.first())));
        // The same in every cluster, as from one folder in Git.
        let shop = lab.clusters.last().map_or("", |last| last.name());
        objects.push(policy(shop));
        if is_of(lab.clusters.last()) {
            objects.extend(clients(&self.0.authority));
        }
        objects
    }

    fn images(&self) -> Vec<Arc<dyn SystemImage>> {
        vec![Arc::new(Platform(Arc::clone(&self.0)))]
    }
}

fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
}

/// The Services, which every cluster has, and the servers.
fn servers(replicas: u8) -> Vec<Value> {
    let labels = json!({"app": DEPLOYMENT});
    let service = |name: &str, ports: &[(&str, u16, u16)]| {
        let ports: Vec<Value> = ports
            .iter()
            .map(|(name, port, target)| json!({"name": name, "port": port, "targetPort": target, "protocol": "TCP"}))
            .collect();
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {
                "name": name, "namespace": NAMESPACE, "labels": labels,
                "annotations": {"service.cilium.io/global": "true"},
            },
            "spec": {"selector": labels, "ports": ports},
        })
    };
    let ports = server::PORTS.map(|(name, port)| json!({"name": name, "containerPort": port, "protocol": "TCP"}));
    let container = json!({
        "name": "platform", "image": IMAGE, "imagePullPolicy": "IfNotPresent", "ports": ports,
        "readinessProbe": {"tcpSocket": {"port": server::HTTP}, "periodSeconds": 5},
    });
    vec![
        namespace(NAMESPACE),
        service("postgres-rw", &[("postgres", DATABASE, DATABASE)]),
        service("dragonfly", &[("redis", 6379, server::REDIS)]),
        service("portal", &[("http", 80, server::HTTP), ("https", 443, server::HTTPS)]),
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": DEPLOYMENT, "namespace": NAMESPACE, "labels": labels},
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
            },
        }),
    ]
}

/// The servers are for the shop of the other cluster, and for nodes of their own.
fn policy(cluster: &str) -> Value {
    json!({
        "apiVersion": "cilium.io/v2", "kind": "CiliumNetworkPolicy",
        "metadata": {"name": POLICY, "namespace": NAMESPACE},
        "spec": {
            "endpointSelector": {"matchLabels": {"app": DEPLOYMENT}},
            "ingress": [
                {"fromEndpoints": [{"matchLabels": {
                    "k8s:io.kubernetes.pod.namespace": CLIENTS, "app": "web", "io.cilium.k8s.policy.cluster": cluster,
                }}]},
                {"fromEntities": ["host", "remote-node"]},
            ],
        },
    })
}

fn clients(authority: &str) -> Vec<Value> {
    let meta = |name: &str| json!({"name": name, "namespace": CLIENTS});
    vec![
        namespace(CLIENTS),
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta("web")}),
        json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": meta("platform-ca"), "data": {"ca.crt": authority},
        }),
    ]
}

/// A policy that denies the shop what it needs.
pub(crate) fn denying_policy() -> Value {
    json!({
        "apiVersion": "cilium.io/v2", "kind": "CiliumNetworkPolicy",
        "metadata": {"name": "no-web", "namespace": NAMESPACE},
        "spec": {
            "endpointSelector": {"matchLabels": {"app": DEPLOYMENT}},
            "ingressDeny": [{"fromEndpoints": [{"matchLabels": {
                "k8s:io.kubernetes.pod.namespace": CLIENTS, "app": "web",
            }, "matchExpressions": [{"key": "io.cilium.k8s.policy.cluster", "operator": "Exists"}]}]}],
        },
    })
}

struct Platform(Arc<Certificates>);

#[async_trait]
impl SystemImage for Platform {
    fn matches(&self, image: &str) -> bool {
        image == IMAGE
    }

    async fn run(&self, container: SystemContainer) -> i32 {
        if let Err(error) = server::start(&container, &self.0) {
            container.log.line(format!("cannot listen: {error}"));
            return 1;
        }
        container.stop.cancelled().await;
        0
    }
}
