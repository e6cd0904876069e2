//! ConfigMap `cilium-config`: what the lab's topology says, and for everything else the values of the Helm chart of
//! Cilium
//! 1.18.3 as recorded.

use crate::{
    profile::{BalancingAlgorithm, EncryptionMode, RoutingMode},
    topology::{ClusterSpec, Topology},
};
use meshproof_datapath::Dispatch;
use serde_json::{Map, Value, json};

/// What does not depend on the topology.
const CHART: [(&str, &str); 141] = [
    ("agent-not-ready-taint-key", "node.cilium.io/agent-not-ready"),
    ("auto-direct-node-routes", "false"),
    ("bpf-distributed-lru", "false"),
    ("bpf-events-drop-enabled", "true"),
    ("bpf-events-policy-verdict-enabled", "true"),
    ("bpf-events-trace-enabled", "true"),
    ("bpf-lb-acceleration", "disabled"),
    ("bpf-lb-algorithm-annotation", "false"),
    ("bpf-lb-external-clusterip", "false"),
    ("bpf-lb-map-max", "65536"),
    ("bpf-lb-mode-annotation", "false"),
    ("bpf-lb-sock", "false"),
    ("bpf-lb-source-range-all-types", "false"),
    ("bpf-map-dynamic-size-ratio", "0.0025"),
    ("bpf-policy-map-max", "16384"),
    ("bpf-policy-stats-map-max", "65536"),
    ("bpf-root", "/sys/fs/bpf"),
    ("cgroup-root", "/run/cilium/cgroupv2"),
    ("cilium-endpoint-gc-interval", "5m0s"),
    ("clustermesh-enable-endpoint-sync", "true"),
    ("clustermesh-enable-mcs-api", "false"),
    ("cni-exclusive", "true"),
    ("cni-log-file", "/var/run/cilium/cilium-cni.log"),
    (
        "controller-group-metrics",
        "write-cni-file sync-host-ips sync-lb-maps-with-k8s-services",
    ),
    ("custom-cni-conf", "false"),
    ("datapath-mode", "veth"),
    ("debug", "false"),
    ("default-lb-service-ipam", "lbipam"),
    ("direct-routing-skip-unreachable", "false"),
    ("dnsproxy-enable-transparent-mode", "true"),
    ("dnsproxy-socket-linger-timeout", "10"),
    ("egress-gateway-reconciliation-trigger-interval", "1s"),
    ("enable-auto-protect-node-port-range", "true"),
    ("enable-bpf-clock-probe", "false"),
    ("enable-bpf-masquerade", "true"),
    ("enable-endpoint-health-checking", "true"),
    ("enable-endpoint-lockdown-on-policy-overflow", "false"),
    ("enable-health-check-loadbalancer-ip", "false"),
    ("enable-health-check-nodeport", "true"),
    ("enable-health-checking", "true"),
    ("enable-hubble", "true"),
    ("enable-hubble-open-metrics", "false"),
    ("enable-internal-traffic-policy", "true"),
    ("enable-ipv4", "true"),
    ("enable-ipv4-big-tcp", "false"),
    ("enable-ipv4-masquerade", "true"),
    ("enable-ipv6", "false"),
    ("enable-ipv6-big-tcp", "false"),
    ("enable-ipv6-masquerade", "true"),
    ("enable-k8s-networkpolicy", "true"),
    ("enable-l2-neigh-discovery", "false"),
    ("enable-l7-proxy", "true"),
    ("enable-lb-ipam", "true"),
    ("enable-masquerade-to-route-source", "false"),
    ("enable-metrics", "true"),
    ("enable-node-selector-labels", "false"),
    ("enable-non-default-deny-policies", "true"),
    ("enable-policy", "default"),
    ("enable-policy-secrets-sync", "true"),
    ("enable-sctp", "false"),
    ("enable-source-ip-verification", "true"),
    ("enable-svc-source-range-check", "true"),
    ("enable-tcx", "true"),
    ("enable-vtep", "false"),
    ("enable-well-known-identities", "false"),
    ("enable-xt-socket-fallback", "true"),
    ("envoy-access-log-buffer-size", "4096"),
    ("envoy-base-id", "0"),
    ("envoy-keep-cap-netbindservice", "false"),
    ("external-envoy-proxy", "false"),
    ("health-check-icmp-failure-threshold", "3"),
    ("http-retry-count", "3"),
    ("hubble-disable-tls", "false"),
    ("hubble-listen-address", ":4244"),
    ("hubble-metrics", "dns drop tcp flow icmp policy port-distribution"),
    ("hubble-metrics-server", ":9965"),
    ("hubble-metrics-server-enable-tls", "false"),
    ("hubble-network-policy-correlation-enabled", "true"),
    ("hubble-socket-path", "/var/run/cilium/hubble.sock"),
    ("hubble-tls-cert-file", "/var/lib/cilium/tls/hubble/server.crt"),
    ("hubble-tls-client-ca-files", "/var/lib/cilium/tls/hubble/client-ca.crt"),
    ("hubble-tls-key-file", "/var/lib/cilium/tls/hubble/server.key"),
    ("identity-allocation-mode", "crd"),
    ("identity-gc-interval", "15m0s"),
    ("identity-heartbeat-timeout", "30m0s"),
    ("identity-management-mode", "agent"),
    ("install-no-conntrack-iptables-rules", "false"),
    ("ipam", "kubernetes"),
    ("ipam-cilium-node-update-rate", "15s"),
    ("iptables-random-fully", "false"),
    ("k8s-require-ipv4-pod-cidr", "false"),
    ("k8s-require-ipv6-pod-cidr", "false"),
    ("max-connected-clusters", "255"),
    ("mesh-auth-enabled", "true"),
    ("mesh-auth-gc-interval", "5m0s"),
    ("mesh-auth-queue-size", "1024"),
    ("mesh-auth-rotated-identities-queue-size", "1024"),
    ("metrics-sampling-interval", "5m"),
    ("monitor-aggregation", "medium"),
    ("monitor-aggregation-flags", "all"),
    ("monitor-aggregation-interval", "5s"),
    ("nat-map-stats-entries", "32"),
    ("nat-map-stats-interval", "30s"),
    ("node-port-bind-protection", "true"),
    ("nodes-gc-interval", "5m0s"),
    ("operator-api-serve-addr", "127.0.0.1:9234"),
    ("operator-prometheus-serve-addr", ":9963"),
    ("policy-secrets-namespace", "cilium-secrets"),
    ("policy-secrets-only-from-secrets-namespace", "true"),
    ("preallocate-bpf-maps", "false"),
    ("procfs", "/host/proc"),
    ("prometheus-serve-addr", ":9962"),
    ("proxy-connect-timeout", "2"),
    ("proxy-idle-timeout-seconds", "60"),
    ("proxy-initial-fetch-timeout", "30"),
    ("proxy-max-concurrent-retries", "128"),
    ("proxy-max-connection-duration-seconds", "0"),
    ("proxy-max-requests-per-connection", "0"),
    ("proxy-prometheus-port", "9964"),
    ("proxy-xff-num-trusted-hops-egress", "0"),
    ("proxy-xff-num-trusted-hops-ingress", "0"),
    ("remove-cilium-node-taints", "true"),
    ("service-no-backend-response", "reject"),
    ("set-cilium-is-up-condition", "true"),
    ("set-cilium-node-taints", "true"),
    ("synchronize-k8s-nodes", "true"),
    ("tofqdns-dns-reject-response-code", "refused"),
    ("tofqdns-enable-dns-compression", "true"),
    ("tofqdns-endpoint-max-ip-per-hostname", "1000"),
    ("tofqdns-idle-connection-grace-period", "0s"),
    ("tofqdns-max-deferred-connection-deletes", "10000"),
    ("tofqdns-preallocate-identities", "true"),
    ("tofqdns-proxy-response-max-delay", "100ms"),
    ("tunnel-protocol", "vxlan"),
    ("tunnel-source-port-range", "0-0"),
    ("unmanaged-pod-watcher-interval", "15"),
    ("vtep-cidr", ""),
    ("vtep-endpoint", ""),
    ("vtep-mac", ""),
    ("vtep-mask", ""),
    ("write-cni-conf-when-ready", "/host/etc/cni/net.d/05-cilium.conflist"),
];

/// The data of `cilium-config` of a cluster.
pub fn data(topology: &Topology, cluster: &ClusterSpec) -> Value {
    let mut data: Map<String, Value> = CHART
        .iter()
        .map(|(key, value)| ((*key).to_owned(), json!(value)))
        .collect();
    let mut set = |key: &str, value: String| data.insert(key.to_owned(), Value::String(value));
    set("cluster-name", cluster.name.clone());
    set("cluster-id", cluster.id.to_string());
    let settings = topology.settings();
    match settings.routing {
        RoutingMode::Tunnel => {
            set("routing-mode", "tunnel".into());
        }
        RoutingMode::Native => {
            set("routing-mode", "native".into());
            set("ipv4-native-routing-cidr", topology.native_range().to_string());
            set("auto-direct-node-routes", "true".into());
        }
    }
    if settings.endpoint_routes {
        set("enable-endpoint-routes", "true".into());
    }
    if settings.algorithm == BalancingAlgorithm::Maglev {
        set("bpf-lb-algorithm", "maglev".into());
    }
    if settings.dispatch == Dispatch::Dsr {
        set("bpf-lb-mode", "dsr".into());
    }
    set("kube-proxy-replacement", settings.kube_proxy_replacement.to_string());
    if settings.kube_proxy_replacement {
        set("kube-proxy-replacement-healthz-bind-address", String::new());
    } else {
        set("enable-node-port", "false".into());
    }
    set(
        "policy-default-local-cluster",
        settings.default_local_cluster.to_string(),
    );
    if settings.node_encryption {
        set("encrypt-node", "true".into());
    }
    if settings.encryption == EncryptionMode::WireGuard {
        set("enable-wireguard", "true".into());
        set("wireguard-persistent-keepalive", "0s".into());
    }
    if cluster.mutual_authentication {
        set("mesh-auth-mutual-enabled", "true".into());
        set("mesh-auth-mutual-listener-port", "4250".into());
        set("mesh-auth-mutual-connect-timeout", "5s".into());
        set("mesh-auth-spiffe-trust-domain", "spiffe.cilium".into());
        set("mesh-auth-spire-admin-socket", "/run/spire/sockets/admin.sock".into());
        set(
            "mesh-auth-spire-agent-socket",
            "/run/spire/sockets/agent/agent.sock".into(),
        );
        set(
            "mesh-auth-spire-server-address",
            "spire-server.cilium-spire.svc:8081".into(),
        );
        set("mesh-auth-spire-server-connection-timeout", "30s".into());
    }
    if let Some(range) = topology.strict_range(cluster) {
        set("enable-encryption-strict-mode", "true".into());
        set("encryption-strict-mode-cidr", range.to_string());
        set("encryption-strict-mode-allow-remote-node-identities", "true".into());
    }
    let rendered = cluster
        .installation
        .iter()
        .flat_map(|installation| &installation.config);
    for (key, text) in rendered {
        match text {
            Some(text) => data.insert(key.clone(), json!(text)),
            None => data.remove(key),
        };
    }
    Value::Object(data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Profile;

    #[test]
    fn what_the_topology_decides_is_in_it() {
        let topology = Topology::default();
        let apps = data(&topology, topology.cluster("apps").expect("the default has it"));
        assert_eq!(apps["cluster-id"], "2");
        assert_eq!(apps["enable-wireguard"], "true");
        assert_eq!(apps["encryption-strict-mode-cidr"], "10.246.0.0/16");
        let infra = data(&topology, topology.cluster("infra").expect("the default has it"));
        assert_eq!(infra.get("enable-encryption-strict-mode"), None);
        assert_eq!(apps["mesh-auth-mutual-enabled"], "true");
        assert_eq!(infra.get("mesh-auth-mutual-enabled"), None);
        let plain = topology.clone().configured(Profile::Plain);
        let of = |topology: &Topology, index: usize| data(topology, &topology.clusters[index]);
        assert_eq!(of(&plain, 0).get("enable-wireguard"), None, "the chart leaves it out");
        assert_eq!(of(&plain, 1).get("enable-encryption-strict-mode"), None);
        let infra = of(&topology.configured(Profile::Native), 0);
        assert_eq!(infra["routing-mode"], "native");
        assert_eq!(infra["encryption-strict-mode-cidr"], "10.244.0.0/14");
        assert_eq!(infra["bpf-lb-algorithm"], "maglev");
        assert_eq!(infra["encrypt-node"], "true");
        assert_eq!(infra["ipv4-native-routing-cidr"], "10.244.0.0/14");
    }
}
