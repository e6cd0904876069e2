//! The Helm values from which a cluster of the lab was installed, as its operators would have written them.

use crate::{
    profile::{BalancingAlgorithm, EncryptionMode, RoutingMode},
    topology::{ClusterSpec, Topology},
};
use meshproof_datapath::Dispatch;
use serde_json::{Map, Value, json};

/// The values of one cluster.
pub(crate) fn of(topology: &Topology, cluster: &ClusterSpec) -> Value {
    let settings = topology.settings();
    let mut values = Value::Object(Map::new());
    let mut set = |path: &str, value: Value| insert(&mut values, path, value);
    set("cluster.name", json!(cluster.name));
    set("cluster.id", json!(cluster.id));
    set("kubeProxyReplacement", json!(settings.kube_proxy_replacement));
    set("ipam.mode", json!("kubernetes"));
    set("bpf.masquerade", json!(true));
    match settings.routing {
        RoutingMode::Tunnel => set("routingMode", json!("tunnel")),
        RoutingMode::Native => {
            set("routingMode", json!("native"));
            set("autoDirectNodeRoutes", json!(true));
            set("ipv4NativeRoutingCIDR", json!(topology.native_range().to_string()));
        }
    }
    if settings.endpoint_routes {
        set("endpointRoutes.enabled", json!(true));
    }
    if settings.algorithm == BalancingAlgorithm::Maglev {
        set("loadBalancer.algorithm", json!("maglev"));
    }
    if settings.dispatch == Dispatch::Dsr {
        set("loadBalancer.mode", json!("dsr"));
    }
    if settings.encryption == EncryptionMode::WireGuard {
        set("encryption.enabled", json!(true));
        set("encryption.type", json!("wireguard"));
    }
    if settings.node_encryption {
        set("encryption.nodeEncryption", json!(true));
    }
    if let Some(range) = topology.strict_range(cluster) {
        set("encryption.strictMode.enabled", json!(true));
        set("encryption.strictMode.cidr", json!(range.to_string()));
        set("encryption.strictMode.allowRemoteNodeIdentities", json!(true));
    }
    if cluster.mutual_authentication {
        set("authentication.mutual.spire.enabled", json!(true));
        // Its server is somewhere else.
        set("authentication.mutual.spire.install.enabled", json!(false));
    }
    set("envoy.enabled", json!(false));
    set("clustermesh.useAPIServer", json!(true));
    set(
        "clustermesh.policyDefaultLocalCluster",
        json!(settings.default_local_cluster),
    );
    set("clustermesh.enableEndpointSliceSynchronization", json!(true));
    set("clustermesh.apiserver.replicas", json!(cluster.nodes.len().min(2)));
    set("hubble.relay.enabled", json!(true));
    let metrics = ["dns", "drop", "tcp", "flow", "icmp", "policy", "port-distribution"];
    set("hubble.metrics.enabled", json!(metrics));
    set("operator.replicas", json!(1));
    set("prometheus.enabled", json!(true));
    values
}

/// Sets what stands at a path of keys with dots between them.
pub(super) fn insert(tree: &mut Value, path: &str, value: Value) {
    let mut at = tree;
    for key in path.split('.') {
        if !at.is_object() {
            *at = Value::Object(Map::new());
        }
        at = &mut at[key];
    }
    // An empty map does not take away what is in it.
    if !(at.is_object() && value.as_object().is_some_and(Map::is_empty)) {
        *at = value;
    }
}
