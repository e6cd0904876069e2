//! The components of a cluster: which there are, by their labels, and which there should be. Data and reads; judges
//! nothing.

use super::looks::Seen;
use crate::kit::recent::{self, Age};
use jiff::Timestamp;
use meshproof_contract::{CheckContext, ClusterFacts, ClusterName, facts::CiliumFacts};
use serde_json::Value;
use std::sync::Arc;

/// A part of the platform that people know by name.
#[derive(Debug, PartialEq, Eq)]
pub struct Component {
    /// As people call it.
    pub name: &'static str,
    /// Labels of its workloads or of their pods, any of which is enough.
    labels: &'static [(&'static str, &'static str)],
    /// Services by which it is reached: where one is there, so is the component.
    services: &'static [&'static str],
    /// Whether every node has one.
    pub on_every_node: bool,
}

const fn component(
    name: &'static str,
    labels: &'static [(&'static str, &'static str)],
    services: &'static [&'static str],
) -> Component {
    Component {
        name,
        labels,
        services,
        on_every_node: false,
    }
}

/// Cilium's agents.
pub const AGENT: Component = Component {
    on_every_node: true,
    ..component("Cilium agent", &[("k8s-app", "cilium")], &[])
};
/// Cilium's operator.
pub const OPERATOR: Component = component("Cilium operator", &[("io.cilium/app", "operator")], &[]);
/// Envoy in pods of its own.
pub const ENVOY: Component = Component {
    on_every_node: true,
    ..component("Envoy", &[("k8s-app", "cilium-envoy")], &[])
};
/// What serves the mesh.
pub const MESH_SERVER: Component = component(
    "clustermesh-apiserver",
    &[("k8s-app", "clustermesh-apiserver")],
    &["clustermesh-apiserver"],
);
/// Cluster DNS; its workloads are those behind its Service, whatever their names.
pub const DNS: Component = component(
    "cluster DNS",
    &[
        ("k8s-app", "kube-dns"),
        ("k8s-app", "coredns"),
        ("k8s-app", "node-local-dns"),
    ],
    &[],
);

/// All of them (labels of the charts and manifests by which they are installed).
pub const COMPONENTS: &[Component] = &[
    AGENT,
    OPERATOR,
    ENVOY,
    component("Hubble relay", &[("k8s-app", "hubble-relay")], &["hubble-relay"]),
    component("Hubble UI", &[("k8s-app", "hubble-ui")], &["hubble-ui"]),
    MESH_SERVER,
    component("SPIRE server", &[("app", "spire-server")], &["spire-server"]),
    component("SPIRE agent", &[("app", "spire-agent")], &[]),
    DNS,
    component("Flux", &[("app.kubernetes.io/part-of", "flux")], &[]),
    component(
        "cert-manager",
        &[
            ("app.kubernetes.io/instance", "cert-manager"),
            ("app", "cert-manager"),
            ("app", "cainjector"),
        ],
        &[],
    ),
    component("Traefik", &[("app.kubernetes.io/name", "traefik")], &[]),
];

/// A Deployment, DaemonSet or StatefulSet.
#[derive(Clone, Debug)]
pub struct Workload {
    /// Its component; none for other workloads.
    pub component: Option<&'static Component>,
    /// `DaemonSet`.
    pub kind: &'static str,
    /// Where it is.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The object.
    pub object: Value,
}

impl Workload {
    /// `Deployment kube-system/cilium-operator`.
    pub fn label(&self) -> String {
        format!("{} {}/{}", self.kind, self.namespace, self.name)
    }
    /// `Cilium operator (Deployment kube-system/cilium-operator)`.
    pub fn title(&self) -> String {
        match self.component {
            Some(component) => format!("{} ({})", component.name, self.label()),
            None => self.label(),
        }
    }
    /// Arguments of kubectl that show it.
    pub fn describe(&self) -> String {
        let kind = self.kind.to_lowercase();
        format!("-n {} describe {kind} {}", self.namespace, self.name)
    }
    /// Whether its selector selects a pod.
    pub fn owns(&self, pod: &Value) -> bool {
        let metadata = &pod["metadata"];
        let wanted = self.object["spec"]["selector"]["matchLabels"].as_object();
        metadata["namespace"] == self.namespace.as_str()
            && wanted.is_some_and(|wanted| {
                !wanted.is_empty() && wanted.iter().all(|(key, value)| metadata["labels"][key] == *value)
            })
    }
    /// The containers of its template.
    pub fn containers(&self) -> impl Iterator<Item = &Value> {
        let spec = &self.object["spec"]["template"]["spec"];
        spec["containers"].as_array().into_iter().flatten()
    }
    fn has_label(&self, (key, value): (&str, &str)) -> bool {
        let of = |object: &Value| object["metadata"]["labels"][key] == value;
        of(&self.object) || of(&self.object["spec"]["template"])
    }
}

/// What a cluster has.
pub struct Inventory {
    /// Every workload.
    pub workloads: Vec<Workload>,
    /// Every pod.
    pub pods: Arc<[Value]>,
    /// Every Service.
    pub services: Arc<[Value]>,
}

impl Inventory {
    /// Reads it, or takes what was read not too long ago; what could not be read goes to what is unknown.
    pub async fn read(context: &CheckContext, age: Age, seen: &mut Seen) -> Option<Self> {
        let cluster = context.instance.from();
        let list = |kind| recent::list_any(context, cluster, kind, age);
        let (deployments, daemon_sets, stateful_sets, pods, services) = futures::join!(
            list(("apps/v1", "Deployment")),
            list(("apps/v1", "DaemonSet")),
            list(("apps/v1", "StatefulSet")),
            list(("v1", "Pod")),
            list(("v1", "Service")),
        );
        let deployments = seen.read("Deployments", cluster, deployments);
        let daemon_sets = seen.read("DaemonSets", cluster, daemon_sets);
        let stateful_sets = seen.read("StatefulSets", cluster, stateful_sets);
        let pods = seen.read("pods", cluster, pods);
        let services = seen.read("Services", cluster, services)?;
        let facts = context.environment.facts();
        let dns = dns_selector(facts.cluster(cluster), &services);
        let of = |kind, objects: Option<Arc<[Value]>>| {
            let objects = objects?;
            let all = objects.iter().map(|object| workload(kind, object, dns.as_ref()));
            Some(all.collect::<Vec<_>>())
        };
        Some(Self {
            workloads: [
                of("Deployment", deployments)?,
                of("DaemonSet", daemon_sets)?,
                of("StatefulSet", stateful_sets)?,
            ]
            .concat(),
            pods: pods?,
            services,
        })
    }
    /// The same with its pods read again.
    pub async fn with_pods_of_now(self, context: &CheckContext, seen: &mut Seen) -> Option<Self> {
        let cluster = context.instance.from();
        let pods = recent::list_any(context, cluster, ("v1", "Pod"), Age::now()).await;
        let pods = seen.read("pods", cluster, pods)?;
        Some(Self { pods, ..self })
    }
    /// The workloads that are components.
    pub fn components(&self) -> impl Iterator<Item = (&'static Component, &Workload)> {
        self.workloads.iter().filter_map(|one| Some((one.component?, one)))
    }
    /// The workloads of a component.
    pub fn of(&self, component: &Component) -> impl Iterator<Item = &Workload> {
        let all = self.components().filter(move |(of, _)| *of == component);
        all.map(|(_, workload)| workload)
    }
    /// The pods of a workload that are not on their way out.
    pub fn pods_of(&self, workload: &Workload) -> impl Iterator<Item = &Value> {
        let living = |pod: &&Value| pod["metadata"]["deletionTimestamp"].is_null();
        self.pods.iter().filter(living).filter(|pod| workload.owns(pod))
    }
    /// What says that a component should be there although it is not: none if it is there or nothing says so.
    pub fn missing(&self, component: &'static Component, cluster: Option<&ClusterFacts>) -> Option<String> {
        if self.of(component).next().is_some() {
            return None;
        }
        let cilium = cluster.and_then(|cluster| cluster.cilium.as_ref());
        configured(component, cilium).map(str::to_owned).or_else(|| {
            let is_its = |service: &&Value| {
                let name = service["metadata"]["name"].as_str().unwrap_or_default();
                component.services.contains(&name) && service["spec"]["selector"].is_object()
            };
            let service = self.services.iter().find(is_its)?;
            let (namespace, name) = (
                text(&service["metadata"]["namespace"]),
                text(&service["metadata"]["name"]),
            );
            Some(format!("Service {namespace}/{name} leads to it"))
        })
    }
}

/// The setting that claims a component.
fn configured(component: &Component, cilium: Option<&CiliumFacts>) -> Option<&'static str> {
    let cilium = cilium?;
    match component {
        one if *one == AGENT || *one == OPERATOR => Some("ConfigMap cilium-config is there"),
        one if *one == ENVOY && cilium.flag("external-envoy-proxy") == Some(true) => {
            Some("cilium-config: external-envoy-proxy is true")
        }
        one if ["SPIRE server", "SPIRE agent"].contains(&one.name) && installs_spire(cilium) => {
            Some("cilium-config: mesh-auth-spire-server-address is that of the chart's own server")
        }
        one if *one == MESH_SERVER && cilium.kvstoremesh => Some("agents read the other clusters from KVStoreMesh"),
        _ => None,
    }
}

/// Whether agents look for SPIRE where the chart installs it, not at an address that operators gave.
fn installs_spire(cilium: &CiliumFacts) -> bool {
    let address = cilium.setting("mesh-auth-spire-server-address");
    let is_charts = address.is_some_and(|at| at.starts_with("spire-server.") && at.ends_with(".svc:8081"));
    cilium.flag("mesh-auth-mutual-enabled") == Some(true) && is_charts
}

fn workload(kind: &'static str, object: &Value, dns: Option<&(String, Value)>) -> Workload {
    let metadata = &object["metadata"];
    let mut workload = Workload {
        component: None,
        kind,
        namespace: text(&metadata["namespace"]).to_owned(),
        name: text(&metadata["name"]).to_owned(),
        object: object.clone(),
    };
    let labels = &object["spec"]["template"]["metadata"]["labels"];
    let serves_dns = dns.is_some_and(|(namespace, selector)| {
        let mut wanted = selector.as_object().into_iter().flatten();
        *namespace == workload.namespace && wanted.all(|(key, value)| labels[key] == *value)
    });
    workload.component = if serves_dns {
        COMPONENTS.iter().find(|one| **one == DNS)
    } else {
        COMPONENTS
            .iter()
            .find(|one| one.labels.iter().any(|label| workload.has_label(*label)))
    };
    workload
}

/// Namespace and selector of the Service of cluster DNS; none where it has none.
fn dns_selector(cluster: Option<&ClusterFacts>, services: &[Value]) -> Option<(String, Value)> {
    let (namespace, name) = &cluster?.dns.as_ref()?.service;
    let is_it = |service: &&Value| {
        service["metadata"]["namespace"] == namespace.as_str() && service["metadata"]["name"] == name.as_str()
    };
    let selector = &services.iter().find(is_it)?["spec"]["selector"];
    let is_one = selector.as_object().is_some_and(|keys| !keys.is_empty());
    is_one.then(|| (namespace.clone(), selector.clone()))
}

/// Cilium of the cluster; none where it has none.
pub fn cilium(context: &CheckContext, cluster: &ClusterName) -> Option<CiliumFacts> {
    context.environment.facts().cluster(cluster)?.cilium.clone()
}

/// A string; empty for anything else.
pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A time; none for anything else.
pub fn time(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}

/// A condition of an object, by its type.
pub fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    let conditions = object["status"]["conditions"].as_array()?;
    conditions.iter().find(|condition| condition["type"] == kind)
}
