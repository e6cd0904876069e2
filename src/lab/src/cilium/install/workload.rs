//! DaemonSet, Deployments and Services, with the fields that the lab gives a meaning to and those by which tools find
//! them. Volumes, lifecycle hooks and init containers of the chart are left out: nothing in the lab would act on them.

use super::{image, meta, values::Values};
use crate::topology::ClusterSpec;
use serde_json::{Value, json};

/// The beginning of the references of Envoy's image, and of those of Hubble UI.
pub(crate) const ENVOY: &str = "quay.io/cilium/cilium-envoy:";
pub(crate) const UI: &str = "quay.io/cilium/hubble-ui";

/// NodePort of a cluster's clustermesh-apiserver. They differ between clusters, as the chart's values warn: with
/// kube-proxy replacement a node port is served for the other cluster's nodes, too (cilium/cilium#24692).
pub(super) fn mesh_node_port(cluster: &ClusterSpec) -> u16 {
    32378 + u16::from(cluster.id)
}

pub(super) fn labels(name: &str, app: &str) -> Value {
    json!({"app.kubernetes.io/name": name, "app.kubernetes.io/part-of": "cilium", "k8s-app": app})
}

pub(super) fn services(cluster: &ClusterSpec, values: &Values) -> Vec<Value> {
    let service = |name: &str, labels: Value, spec: Value| {
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": meta(name, labels), "spec": spec,
        })
    };
    let mut services = vec![
        service(
            "clustermesh-apiserver",
            labels("clustermesh-apiserver", "clustermesh-apiserver"),
            json!({
                "type": "NodePort",
                "externalTrafficPolicy": "Cluster",
                "selector": {"k8s-app": "clustermesh-apiserver"},
                "ports": [{"port": 2379, "targetPort": 2379, "protocol": "TCP", "nodePort": mesh_node_port(cluster)}],
            }),
        ),
        service(
            "hubble-peer",
            labels("hubble-peer", "cilium"),
            json!({
                "internalTrafficPolicy": "Local",
                "selector": {"k8s-app": "cilium"},
                "ports": [{"name": "peer-service", "port": 443, "targetPort": 4244, "protocol": "TCP"}],
            }),
        ),
    ];
    for (name, target, path) in [
        ("hubble-relay", json!("grpc"), "hubble.relay.enabled"),
        ("hubble-ui", json!(8081), "hubble.ui.enabled"),
    ] {
        if values.is_on(path) {
            let spec = json!({
                "type": "ClusterIP",
                "selector": {"k8s-app": name},
                "ports": [{"port": 80, "targetPort": target, "protocol": "TCP"}],
            });
            services.push(service(name, labels(name, name), spec));
        }
    }
    services
}

fn field(name: &str, path: &str) -> Value {
    json!({"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}})
}

pub(super) fn port(name: &str, number: u16) -> Value {
    json!({"name": name, "containerPort": number, "protocol": "TCP"})
}

fn host_port(name: &str, number: u16) -> Value {
    json!({"name": name, "containerPort": number, "hostPort": number, "protocol": "TCP"})
}

pub(super) fn agent(cluster: &ClusterSpec, version: &str, values: &Values) -> Value {
    let pod_labels = labels("cilium-agent", "cilium");
    let api = cluster.api_address();
    let mut ports = vec![host_port("peer-service", 4244), host_port("prometheus", 9962)];
    // With a DaemonSet of its own Envoy serves its metrics itself.
    if !values.is_not_off("envoy.enabled") {
        ports.push(host_port("envoy-metrics", 9964));
    }
    ports.push(host_port("hubble-metrics", 9965));
    let container = json!({
        "name": "cilium-agent",
        "image": image("cilium", version),
        "imagePullPolicy": "IfNotPresent",
        "command": ["cilium-agent"],
        "args": ["--config-dir=/tmp/cilium/config-map"],
        "env": [
            field("K8S_NODE_NAME", "spec.nodeName"),
            field("CILIUM_K8S_NAMESPACE", "metadata.namespace"),
            {"name": "CILIUM_CLUSTERMESH_CONFIG", "value": "/var/lib/cilium/clustermesh/"},
            {"name": "KUBERNETES_SERVICE_HOST", "value": api.to_string()},
            {"name": "KUBERNETES_SERVICE_PORT", "value": "443"},
        ],
        "ports": ports,
        "resources": {},
        "terminationMessagePolicy": "FallbackToLogsOnError",
    });
    json!({
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": meta("cilium", pod_labels.clone()),
        "spec": {
            "selector": {"matchLabels": {"k8s-app": "cilium"}},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 2}},
            "template": {
                "metadata": {
                    "labels": pod_labels,
                    "annotations": {
                        "kubectl.kubernetes.io/default-container": "cilium-agent",
                        "prometheus.io/port": "9962",
                        "prometheus.io/scrape": "true",
                    },
                },
                "spec": {
                    "hostNetwork": true,
                    "nodeSelector": {"kubernetes.io/os": "linux"},
                    "priorityClassName": "system-node-critical",
                    "restartPolicy": "Always",
                    "serviceAccountName": "cilium",
                    "terminationGracePeriodSeconds": 1,
                    "tolerations": [{"operator": "Exists"}],
                    "containers": [container],
                },
            },
        },
    })
}

pub(super) fn deployment(name: &str, labels: Value, selector: Value, replicas: usize, pod: Value) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": meta(name, labels.clone()),
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": selector},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "100%"}},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    })
}

pub(super) fn operator(version: &str, replicas: usize) -> Value {
    let labels = json!({
        "app.kubernetes.io/name": "cilium-operator",
        "app.kubernetes.io/part-of": "cilium",
        "io.cilium/app": "operator",
        "name": "cilium-operator",
    });
    let pod = json!({
        "hostNetwork": true,
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "priorityClassName": "system-cluster-critical",
        "serviceAccountName": "cilium-operator",
        "tolerations": [{"operator": "Exists"}],
        "containers": [{
            "name": "cilium-operator",
            "image": image("operator-generic", version),
            "imagePullPolicy": "IfNotPresent",
            "command": ["cilium-operator-generic"],
            "args": ["--config-dir=/tmp/cilium/config-map", "--debug=$(CILIUM_DEBUG)"],
            "env": [field("K8S_NODE_NAME", "spec.nodeName"), field("CILIUM_K8S_NAMESPACE", "metadata.namespace")],
            "ports": [host_port("prometheus", 9963)],
            "terminationMessagePolicy": "FallbackToLogsOnError",
        }],
    });
    deployment(
        "cilium-operator",
        labels,
        json!({"io.cilium/app": "operator", "name": "cilium-operator"}),
        replicas,
        pod,
    )
}

pub(super) fn relay(version: &str, replicas: usize) -> Value {
    let labels = labels("hubble-relay", "hubble-relay");
    let pod = json!({
        "automountServiceAccountToken": false,
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "serviceAccountName": "hubble-relay",
        "terminationGracePeriodSeconds": 1,
        "containers": [{
            "name": "hubble-relay",
            "image": image("hubble-relay", version),
            "imagePullPolicy": "IfNotPresent",
            "command": ["hubble-relay"],
            "args": ["serve"],
            "ports": [port("grpc", 4245)],
            "terminationMessagePolicy": "FallbackToLogsOnError",
        }],
    });
    let mut object = deployment(
        "hubble-relay",
        labels,
        json!({"k8s-app": "hubble-relay"}),
        replicas,
        pod,
    );
    object["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] = json!(1);
    object
}

/// Hubble UI, of which the version is its own.
pub(super) fn ui(replicas: usize) -> Value {
    let container = |name: &str, suffix: &str, ports: Value| {
        json!({
            "name": name, "image": format!("{UI}{suffix}:v0.13.3"),
            "imagePullPolicy": "IfNotPresent", "ports": ports,
        })
    };
    let pod = json!({
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "serviceAccountName": "hubble-ui",
        "terminationGracePeriodSeconds": 1,
        "containers": [
            container("frontend", "", json!([port("http", 8081)])),
            container("backend", "-backend", json!([port("grpc", 8090)])),
        ],
    });
    let selector = json!({"k8s-app": "hubble-ui"});
    deployment("hubble-ui", labels("hubble-ui", "hubble-ui"), selector, replicas, pod)
}

/// Envoy on every node. What it does to packets, the lab's proxy does wherever policies ask for it.
pub(super) fn envoy() -> Value {
    let labels = labels("cilium-envoy", "cilium-envoy");
    json!({
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": meta("cilium-envoy", labels.clone()),
        "spec": {
            "selector": {"matchLabels": {"k8s-app": "cilium-envoy"}},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 2}},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "hostNetwork": true,
                    "nodeSelector": {"kubernetes.io/os": "linux"},
                    "priorityClassName": "system-node-critical",
                    "serviceAccountName": "cilium-envoy",
                    "terminationGracePeriodSeconds": 1,
                    "tolerations": [{"operator": "Exists"}],
                    "containers": [{
                        "name": "cilium-envoy",
                        "image": format!("{ENVOY}v1.34.10-1761014632-c360e8557eb41011dfb5210f8fb53fed6c0b3222"),
                        "imagePullPolicy": "IfNotPresent",
                        "command": ["/usr/bin/cilium-envoy-starter"],
                        "ports": [host_port("envoy-metrics", 9964)],
                    }],
                },
            },
        },
    })
}
