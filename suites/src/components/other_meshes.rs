//! No other service mesh is left beside Cilium.

use super::{
    extensions::WEBHOOKS,
    inventory::{Inventory, text},
    looks::{Look, Seen, conclude},
};
use crate::kit::recent::{self, Age};
use async_trait::async_trait;
use meshproof_contract::{Check, CheckContext, CheckId, CheckText, Scope, Verdict};
use serde_json::Value;

/// Left-overs of other meshes.
pub struct OtherMeshes;

/// A mesh, by what it leaves in a cluster.
struct Mesh {
    name: &'static str,
    /// Its namespaces.
    namespaces: &'static [&'static str],
    /// What the names of its webhook configurations begin with.
    webhooks: &'static [&'static str],
    /// Containers that it puts into pods.
    containers: &'static [&'static str],
    /// A label or annotation of a namespace whose pods it changes, with its value.
    injects: (&'static str, &'static str),
}

/// As their documentation names these things.
const MESHES: [Mesh; 4] = [
    Mesh {
        name: "Linkerd",
        namespaces: &[
            "linkerd",
            "linkerd-cni",
            "linkerd-viz",
            "linkerd-multicluster",
            "linkerd-jaeger",
        ],
        webhooks: &["linkerd-"],
        containers: &["linkerd-proxy", "linkerd-init", "linkerd-network-validator"],
        injects: ("linkerd.io/inject", "enabled"),
    },
    Mesh {
        name: "Istio",
        namespaces: &["istio-system", "istio-cni"],
        webhooks: &["istio-", "istiod-"],
        containers: &["istio-proxy", "istio-init", "istio-validation"],
        injects: ("istio-injection", "enabled"),
    },
    Mesh {
        name: "Kuma",
        namespaces: &["kuma-system", "kong-mesh-system"],
        webhooks: &["kuma-", "kong-mesh-"],
        containers: &["kuma-sidecar", "kuma-init"],
        injects: ("kuma.io/sidecar-injection", "enabled"),
    },
    Mesh {
        name: "Consul",
        namespaces: &[],
        webhooks: &["consul-connect-injector", "consul-consul-connect-injector"],
        containers: &["consul-dataplane", "consul-connect-inject-init"],
        injects: ("consul.hashicorp.com/connect-inject", "true"),
    },
];

#[async_trait]
impl Check for OtherMeshes {
    fn id(&self) -> CheckId {
        CheckId::from("components::other_meshes")
    }

    fn text(&self) -> CheckText {
        CheckText {
            title: "No other service mesh is left: no webhook, namespace or injected container of it",
            proves: "Traffic goes from pod to pod through Cilium alone. A sidecar of another mesh takes it over before \
                     policies, encryption and load balancing of Cilium see it as it is.",
            how: "Namespaces, webhook configurations and the containers of all pods are searched for Linkerd, Istio, \
                  Kuma and Consul. What is found is looked for again after 10 s.",
            control: "The same search must find namespaces and containers that are not of another mesh; otherwise the \
                      check is inconclusive.",
            when_red: "Uninstall it, webhooks first: `kubectl --context CONTEXT get \
                       mutatingwebhookconfigurations,validatingwebhookconfigurations`, then its namespace; restart the \
                       workloads whose pods still have its proxy. A mesh that is meant to stay: a waiver in \
                       meshproof.yaml says so.",
        }
    }

    fn scope(&self) -> Scope {
        Scope::Cluster
    }
    fn faults(&self) -> &'static [&'static str] {
        &["linkerd-left"]
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        conclude(context, self).await
    }
}

#[async_trait]
impl Look for OtherMeshes {
    async fn look(&self, context: &CheckContext, age: Age) -> Seen {
        let mut seen = Seen::default();
        let cluster = context.instance.from();
        let list = |kind| recent::list_any(context, cluster, kind, age);
        let (namespaces, validating, mutating) =
            futures::join!(list(("v1", "Namespace")), list(WEBHOOKS[0]), list(WEBHOOKS[1]));
        let namespaces = seen.read("namespaces", cluster, namespaces);
        let webhooks = [
            seen.read(WEBHOOKS[0].1, cluster, validating),
            seen.read(WEBHOOKS[1].1, cluster, mutating),
        ];
        let inventory = Inventory::read(context, age, &mut seen).await;
        let (Some(namespaces), Some(inventory)) = (namespaces, inventory) else {
            return seen;
        };
        let (mut kept, mut containers) = (0, 0);
        for namespace in namespaces.iter() {
            kept += usize::from(!is_left(namespace, &mut seen));
        }
        for configuration in webhooks.iter().flatten().flat_map(|list| list.iter()) {
            let name = text(&configuration["metadata"]["name"]);
            let of = |mesh: &&Mesh| mesh.webhooks.iter().any(|prefix| name.starts_with(prefix));
            if let Some(mesh) = MESHES.iter().find(of) {
                let kind = text(&configuration["kind"]);
                let command = format!("get {} {name} -o yaml", kind.to_lowercase());
                seen.deviates(mesh.name, "no webhook of it", format!("{kind} {name}"), command);
            }
        }
        for pod in inventory.pods.iter() {
            for container in all_containers(pod) {
                let name = text(&container["name"]);
                match MESHES.iter().find(|mesh| mesh.containers.contains(&name)) {
                    None => containers += 1,
                    Some(mesh) => {
                        let (namespace, pod_name) =
                            (text(&pod["metadata"]["namespace"]), text(&pod["metadata"]["name"]));
                        seen.deviates(
                            mesh.name,
                            format!("no container of it in pod {namespace}/{pod_name}"),
                            format!("container {name}"),
                            format!("-n {namespace} get pod {pod_name} -o yaml"),
                        );
                    }
                }
            }
        }
        if kept > 0 && containers > 0 {
            seen.witness(format!(
                "{kept} namespaces and {containers} containers are not of another mesh"
            ));
        }
        seen
    }
}

/// Whether a namespace is of another mesh, or lets it change its pods.
fn is_left(namespace: &Value, seen: &mut Seen) -> bool {
    let name = text(&namespace["metadata"]["name"]);
    for mesh in &MESHES {
        let command = format!("get namespace {name} -o yaml");
        let (key, value) = mesh.injects;
        let has = |field: &str| namespace["metadata"][field][key] == value;
        if mesh.namespaces.contains(&name) {
            seen.deviates(mesh.name, "no namespace of it", format!("namespace {name}"), command);
            return true;
        }
        if has("labels") || has("annotations") {
            let observed = format!("namespace {name} has {key}={value}");
            seen.deviates(mesh.name, "no namespace that it may change pods of", observed, command);
            return true;
        }
    }
    false
}

/// Containers and init containers of a pod.
pub fn all_containers(pod: &Value) -> impl Iterator<Item = &Value> {
    let of = |field: &str| pod["spec"][field].as_array().into_iter().flatten();
    of("containers").chain(of("initContainers"))
}
