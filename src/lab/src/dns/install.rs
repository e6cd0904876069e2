//! The objects of cluster DNS, as kubeadm installs CoreDNS.

use crate::{
    external_hosts::{DOMAIN, NAMES},
    topology::ClusterSpec,
};
use serde_json::{Value, json};

/// The image; the version that goes with the lab's Kubernetes.
pub(super) const IMAGE: &str = "registry.k8s.io/coredns/coredns:v1.12.1";
/// Where CoreDNS says that it is ready.
pub(super) const READY_PORT: u16 = 8181;

pub(super) fn objects(cluster: &ClusterSpec) -> Vec<Value> {
    let meta = |name: &str| json!({"name": name, "namespace": "kube-system", "labels": {"k8s-app": "kube-dns"}});
    let port = |name: &str, port: u16, protocol: &str| {
        json!({
            "name": name, "port": port, "targetPort": port, "protocol": protocol,
        })
    };
    let container_port =
        |name: &str, port: u16, protocol: &str| json!({"name": name, "containerPort": port, "protocol": protocol});
    let corefile = concat!(
        ".:53 {\n    errors\n    health\n    ready\n",
        "    kubernetes cluster.local in-addr.arpa ip6.arpa {\n       pods insecure\n       ttl 30\n    }\n",
        "    cache 30\n}\n",
    );
    let hosts: String = NAMES
        .iter()
        .map(|(name, address)| format!("        {address} {name}\n"))
        .collect();
    let corefile = format!("{corefile}{DOMAIN}:53 {{\n    errors\n    hosts {{\n{hosts}    }}\n}}\n");
    let container = json!({
        "name": "coredns",
        "image": IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "args": ["-conf", "/etc/coredns/Corefile"],
        "ports": [
            container_port("dns", 53, "UDP"),
            container_port("dns-tcp", 53, "TCP"),
            container_port("metrics", 9153, "TCP"),
        ],
        "readinessProbe": {
            "httpGet": {"path": "/ready", "port": READY_PORT, "scheme": "HTTP"},
            "periodSeconds": 10,
            "timeoutSeconds": 1,
            "failureThreshold": 3,
            "successThreshold": 1,
        },
    });
    let pod = json!({
        "serviceAccountName": "coredns",
        "priorityClassName": "system-cluster-critical",
        "dnsPolicy": "Default",
        "tolerations": [{"key": "CriticalAddonsOnly", "operator": "Exists"}],
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{
            "weight": 100,
            "podAffinityTerm": {
                "labelSelector": {"matchExpressions": [{"key": "k8s-app", "operator": "In", "values": ["kube-dns"]}]},
                "topologyKey": "kubernetes.io/hostname",
            },
        }]}},
        "containers": [container],
    });
    let mut service = meta("kube-dns");
    service["labels"]["kubernetes.io/cluster-service"] = json!("true");
    service["labels"]["kubernetes.io/name"] = json!("CoreDNS");
    vec![
        json!({
            "apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {"name": "coredns", "namespace": "kube-system"},
        }),
        json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "coredns", "namespace": "kube-system"},
            "data": {"Corefile": corefile},
        }),
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": service,
            "spec": {
                "clusterIP": cluster.dns_address().to_string(),
                "selector": {"k8s-app": "kube-dns"},
                "ports": [port("dns", 53, "UDP"), port("dns-tcp", 53, "TCP"), port("metrics", 9153, "TCP")],
            },
        }),
        json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": meta("coredns"),
            "spec": {
                "replicas": cluster.nodes.len().min(2),
                "selector": {"matchLabels": {"k8s-app": "kube-dns"}},
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}},
                "template": {"metadata": {"labels": {"k8s-app": "kube-dns"}}, "spec": pod},
            },
        }),
    ]
}
