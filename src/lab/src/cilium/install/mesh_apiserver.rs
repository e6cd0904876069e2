//! The Deployment of the clustermesh-apiserver, with its three containers.

use super::{
    image,
    workload::{deployment, labels, port},
};
use crate::topology::{ClusterSpec, Topology};
use serde_json::{Value, json};

pub(super) fn mesh_apiserver(topology: &Topology, cluster: &ClusterSpec, replicas: usize) -> Value {
    let labels = labels("clustermesh-apiserver", "clustermesh-apiserver");
    let pod = json!({
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "priorityClassName": "system-cluster-critical",
        "serviceAccountName": "clustermesh-apiserver",
        "terminationGracePeriodSeconds": 30,
        "hostAliases": host_aliases(topology, cluster),
        "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{
            "weight": 100,
            "podAffinityTerm": {
                "labelSelector": {"matchLabels": {"k8s-app": "clustermesh-apiserver"}},
                "topologyKey": "kubernetes.io/hostname",
            },
        }]}},
        "containers": containers(cluster, topology.settings().version),
    });
    let selector = json!({"k8s-app": "clustermesh-apiserver"});
    let mut object = deployment("clustermesh-apiserver", labels, selector, replicas, pod);
    object["spec"]["strategy"]["rollingUpdate"] = json!({"maxSurge": 1, "maxUnavailable": 0});
    object["spec"]["template"]["metadata"]["annotations"] =
        json!({"kubectl.kubernetes.io/default-container": "apiserver"});
    object
}

/// The other clusters' nodes, by the names under which their clustermesh-apiservers are reached.
fn host_aliases(topology: &Topology, cluster: &ClusterSpec) -> Vec<Value> {
    let aliases = topology
        .clusters
        .iter()
        .filter(|other| other.name != cluster.name)
        .flat_map(|other| {
            let host = format!("{}.mesh.cilium.io", other.name);
            other
                .nodes
                .iter()
                .map(move |node| json!({"hostnames": [host], "ip": node.address.to_string()}))
        });
    aliases.collect()
}

fn containers(cluster: &ClusterSpec, version: &str) -> Value {
    let image = image("clustermesh-apiserver", version);
    let container = |name: &str, command: &str, args: Value, ports: Value| {
        json!({
            "name": name,
            "image": image,
            "imagePullPolicy": "IfNotPresent",
            "command": [command],
            "args": args,
            "env": [
                {"name": "CLUSTER_NAME", "value": cluster.name},
                {"name": "CLUSTER_ID", "value": cluster.id.to_string()},
            ],
            "ports": ports,
            "resources": {},
            "terminationMessagePolicy": "FallbackToLogsOnError",
        })
    };
    let probed = |mut container: Value, port: &str| {
        container["readinessProbe"] = json!({
            "httpGet": {"path": "/readyz", "port": port, "scheme": "HTTP"},
            "periodSeconds": 10,
            "timeoutSeconds": 1,
            "successThreshold": 1,
            "failureThreshold": 3,
        });
        container
    };
    let mesh = "/usr/bin/clustermesh-apiserver";
    let named = [
        "--cluster-name=$(CLUSTER_NAME)",
        "--cluster-id=$(CLUSTER_ID)",
        "--max-connected-clusters=255",
    ];
    let with = |first: &str| json!([first, named[0], named[1], named[2]]);
    json!([
        container(
            "etcd",
            "/usr/bin/etcd",
            json!(["--data-dir=/var/run/etcd", "--name=clustermesh-apiserver"]),
            json!([port("etcd", 2379), port("etcd-metrics", 9963)]),
        ),
        probed(
            container(
                "apiserver",
                mesh,
                with("clustermesh"),
                json!([port("apiserv-health", 9880), port("apiserv-metrics", 9962)]),
            ),
            "apiserv-health",
        ),
        probed(
            container(
                "kvstoremesh",
                mesh,
                with("kvstoremesh"),
                json!([port("kvmesh-health", 9881), port("kvmesh-metrics", 9964)]),
            ),
            "kvmesh-health",
        ),
    ])
}
