//! The Helm values from which a cluster of the lab was installed: those that its operators gave, or as they would have
//! written down its profile.

use crate::{
    profile::{BalancingAlgorithm, EncryptionMode, RoutingMode},
    topology::{ClusterSpec, Topology},
};
use meshproof_datapath::Dispatch;
use serde_json::{Map, Value, json};

/// The chart's own values, a row each: path and default.
const DEFAULTS: &str = include_str!("../../../../claims/data/values-1.18.3.tsv");

/// The Helm values of one cluster.
pub fn of(topology: &Topology, cluster: &ClusterSpec) -> Value {
    if let Some(installation) = &cluster.installation {
        return installation.values.clone();
    }
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
        set("authentication.enabled", json!(true));
        set("authentication.mutual.spire.enabled", json!(true));
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

/// The chart's defaults as one tree.
pub(super) fn defaults() -> Value {
    let mut tree = Value::Object(Map::new());
    for row in DEFAULTS.lines().skip(1) {
        let Some((path, default)) = row.split_once('\t') else {
            continue;
        };
        let value = serde_json::from_str(default).unwrap_or_else(|_| json!(default));
        insert(&mut tree, path, value);
    }
    tree
}

/// The values of a cluster on top of the chart's defaults.
pub(super) struct Values {
    given: Value,
    defaults: Value,
}

impl Values {
    pub(super) fn of(topology: &Topology, cluster: &ClusterSpec) -> Self {
        Self {
            given: of(topology, cluster),
            defaults: defaults(),
        }
    }

    fn get(&self, path: &str) -> &Value {
        let pointer = format!("/{}", path.replace('.', "/"));
        let found = self.given.pointer(&pointer).or_else(|| self.defaults.pointer(&pointer));
        found.unwrap_or(&Value::Null)
    }

    pub(super) fn is_on(&self, path: &str) -> bool {
        *self.get(path) == true
    }

    /// Whether it is on where the chart's default, which no row has, is on (`envoy.enabled` since 1.16).
    pub(super) fn is_not_off(&self, path: &str) -> bool {
        *self.get(path) != false
    }

    /// A number of replicas.
    pub(super) fn count(&self, path: &str) -> usize {
        let count = self.get(path).as_u64().and_then(|count| usize::try_from(count).ok());
        count.unwrap_or(1)
    }

    pub(super) fn text(&self, path: &str) -> &str {
        self.get(path).as_str().unwrap_or_default()
    }
}

/// Sets what stands at a path of keys with dots between them.
fn insert(tree: &mut Value, path: &str, value: Value) {
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
