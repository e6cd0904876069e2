//! DaemonSet, Deployments and Services, with the fields that the lab gives a meaning to and those by which tools find
//! them. Volumes, lifecycle hooks and init containers of the chart are left out: nothing in the lab would act on them.

use super::{image, meta};
use crate::topology::ClusterSpec;
use serde_json::{Value, json};

/// NodePort of a cluster's clustermesh-apiserver. They differ between clusters, as the chart's values warn: with
/// kube-proxy replacement a node port is served for the other cluster's nodes, too (cilium/cilium#24692).
pub(super) fn mesh_node_port(cluster: &ClusterSpec) -> u16 {
    32378 + u16::from(cluster.id)
}

pub(super) fn labels(name: &str, app: &str) -> Value {
    json!({"app.kubernetes.io/name": name, "app.kubernetes.io/part-of": "cilium", "k8s-app": app})
}

pub(super) fn services(cluster: &ClusterSpec) -> Vec<Value> {
    let service = |name: &str, labels: Value, spec: Value| {
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": meta(name, labels), "spec": spec,
        })
    };
    vec![
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
        service(
            "hubble-relay",
            labels("hubble-relay", "hubble-relay"),
            json!({
                "type": "ClusterIP",
                "selector": {"k8s-app": "hubble-relay"},
                "ports": [{"port": 80, "targetPort": "grpc", "protocol": "TCP"}],
            }),
        ),
    ]
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

pub(super) fn agent(cluster: &ClusterSpec, version: &str) -> Value {
    let pod_labels = labels("cilium-agent", "cilium");
    let api = cluster.api_address();
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
        "ports": [
            host_port("peer-service", 4244),
            host_port("prometheus", 9962),
            host_port("envoy-metrics", 9964),
            host_port("hubble-metrics", 9965),
        ],
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

pub(super) fn operator(version: &str) -> Value {
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
        1,
        pod,
    )
}

/// Two replicas, as the operators claim, where there are nodes for them.
pub(super) fn relay(version: &str) -> Value {
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
    let mut object = deployment("hubble-relay", labels, json!({"k8s-app": "hubble-relay"}), 1, pod);
    object["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] = json!(1);
    object
}
