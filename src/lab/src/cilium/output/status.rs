//! `cilium-dbg status -o json`, with or without `--verbose`: the JSON does not differ.

use super::{
    super::{
        time::duration,
        view::{AgentView, ApiServerView, EndpointKind},
    },
    controller, encryption,
    remote::{Observer, cluster},
};
use crate::{
    profile::{BalancingAlgorithm, RoutingMode},
    topology::KUBERNETES_VERSION,
};
use ipnet::Ipv4Net;
use meshproof_datapath::Dispatch;
use serde_json::{Map, Value, json};
use std::time::Duration;

/// Sizes of BPF maps, as computed by Cilium on the machine of the recordings: the lab has no maps to measure.
const MAPS: [(&str, u32); 22] = [
    ("Auth", 524_288),
    ("Non-TCP connection tracking", 110_861),
    ("TCP connection tracking", 221_723),
    ("Endpoints", 65_535),
    ("IP cache", 512_000),
    ("IPv4 masquerading agent", 16_384),
    ("IPv6 masquerading agent", 16_384),
    ("IPv4 fragmentation", 8_192),
    ("IPv4 service", 65_536),
    ("IPv6 service", 65_536),
    ("IPv4 service backend", 65_536),
    ("IPv6 service backend", 65_536),
    ("IPv4 service reverse NAT", 65_536),
    ("IPv6 service reverse NAT", 65_536),
    ("Metrics", 1_024),
    ("Ratelimit metrics", 64),
    ("NAT", 221_723),
    ("Neighbor table", 221_723),
    ("Endpoint policy", 16_384),
    ("Policy stats", 65_536),
    ("Session affinity", 65_536),
    ("Sock reverse NAT", 110_861),
];
/// What the agent watches in the Kubernetes API.
pub(super) const APIS: [&str; 8] = [
    "EndpointSliceOrEndpoint",
    "cilium/v2::CiliumNode",
    "cilium/v2::CiliumEndpoint",
    "networking.k8s.io/v1::NetworkPolicy",
    "cilium/v2::CiliumNetworkPolicy",
    "cilium/v2::CiliumClusterwideNetworkPolicy",
    "cilium/v2::CiliumCIDRGroup",
    "core/v1::Pods",
];

/// What an agent says that cannot reach its API server.
pub(super) const LOST: &str = "Get \"https://kubernetes.default:443/version\": dial tcp: i/o timeout";

/// The whole status.
pub fn status(view: &AgentView) -> Value {
    json!({
        "attach-mode": "tcx",
        "auth-certificate-provider": {"state": if view.mutual_authentication { "Ok" } else { "Disabled" }},
        "bandwidth-manager": bandwidth_manager(view),
        "bpf-maps": {
            "dynamic-size-ratio": 0.0025,
            "maps": MAPS.iter().map(|(name, size)| json!({"name": name, "size": size})).collect::<Vec<_>>(),
        },
        "cilium": agent(view),
        "clock-source": {"mode": "ktime"},
        "cluster": {"ciliumHealth": {"state": "Ok"}, "nodes": null, "self": view.node.full_name()},
        "cluster-mesh": cluster_mesh(view),
        "cni-chaining": {"mode": "none"},
        "cni-file": {
            "msg": "successfully wrote CNI configuration file to /host/etc/cni/net.d/05-cilium.conflist",
            "state": "Ok",
        },
        "controllers": controller::all(view),
        "datapath-mode": "veth",
        "encryption": encryption::status(&view.encryption),
        "host-firewall": {"devices": ["eth0"], "mode": "Disabled"},
        "hubble": hubble(view),
        "hubble-metrics": {"state": "Ok"},
        "identity-range": {"max-identity": 131_071, "min-identity": 65_536},
        "ipam": ipam(view),
        "ipv4-big-tcp": {"maxGRO": 65_536, "maxGSO": 65_536},
        "ipv6-big-tcp": {"maxGRO": 65_536, "maxGSO": 65_536},
        "kube-proxy-replacement": kube_proxy_replacement(view),
        "kubernetes": match view.api_server {
            ApiServerView::Reached => json!({"k8s-api-versions": APIS, "msg": kubernetes(), "state": "Ok"}),
            ApiServerView::Lost => json!({"msg": LOST, "state": "Failure"}),
        },
        "kvstore": {"state": "Disabled"},
        "masquerading": {
            "enabled": true,
            "enabledProtocols": {"ipv4": true},
            "mode": "BPF",
            "snat-exclusion-cidr": never_masqueraded(view).to_string(),
            "snat-exclusion-cidr-v4": never_masqueraded(view).to_string(),
        },
        "nodeMonitor": {"cpus": cpus(), "npages": 64, "pagesize": 4096},
        // No L7 policy is in force, so no proxy has redirects.
        "proxy": {
            "envoy-deployment-mode": envoy(view), "ip": view.node.router.to_string(), "port-range": "10000-20000",
            "redirects": [],
        },
        "routing": routing(view.settings.routing),
        "srv6": {"srv6EncapMode": "reduced"},
    })
}

/// How bandwidth limits of pods are enforced (`pkg/datapath/linux/bandwidth`).
fn bandwidth_manager(view: &AgentView) -> Value {
    if !view.is_on("enable-bandwidth-manager") {
        return json!({"devices": null});
    }
    let control = if view.is_on("enable-bbr") { "bbr" } else { "cubic" };
    json!({"congestionControl": control, "devices": [view.device], "enabled": true})
}

/// Where Envoy runs.
pub(super) fn envoy(view: &AgentView) -> &'static str {
    if view.is_on("external-envoy-proxy") {
        "external"
    } else {
        "embedded"
    }
}

/// The agent as a whole, which fails with its API server (`getStatus` in Cilium's `daemon/cmd/status.go`).
fn agent(view: &AgentView) -> Value {
    match view.api_server {
        ApiServerView::Reached => {
            let version = view.settings.version;
            json!({"msg": format!("{version} (v{version}-e4a9ed77)"), "state": "Ok"})
        }
        ApiServerView::Lost => json!({"msg": format!("Kubernetes service is not ready: {LOST}"), "state": "Failure"}),
    }
}

pub(super) fn kubernetes() -> String {
    let short = KUBERNETES_VERSION.trim_start_matches('v');
    let short = short.rsplit_once('.').map_or(short, |(short, _)| short);
    format!("{short} ({KUBERNETES_VERSION}) [linux/amd64]")
}

pub(super) fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn cluster_mesh(view: &AgentView) -> Value {
    let clusters: Vec<_> = view
        .remotes
        .iter()
        .map(|remote| cluster(remote, Observer::Agent))
        .collect();
    let mut value = json!({"clusters": clusters});
    if view.global_services > 0 {
        value["num-global-services"] = json!(view.global_services);
    }
    value
}

/// How many flows the ring holds now.
pub(super) fn current_flows(view: &AgentView) -> u64 {
    view.counters.flows_seen.min(view.flow_capacity as u64)
}

fn hubble(view: &AgentView) -> Value {
    let uptime: Duration = view.now.duration_since(view.started).unwrap_or_default();
    let mut observer = json!({"max-flows": view.flow_capacity, "uptime": duration(uptime)});
    for (name, count) in [
        ("current-flows", current_flows(view)),
        ("seen-flows", view.counters.flows_seen),
    ] {
        if count > 0 {
            observer[name] = json!(count);
        }
    }
    json!({"observer": observer, "state": "Ok"})
}

/// Addresses that the node has given away, with their owners.
pub(super) fn allocations(view: &AgentView) -> Vec<(String, String)> {
    let mut all: Vec<_> = view
        .endpoints
        .iter()
        .filter_map(|endpoint| {
            let owner = match &endpoint.kind {
                EndpointKind::Pod { namespace, name, .. } => format!("{namespace}/{name}"),
                EndpointKind::Health => "health".to_owned(),
                EndpointKind::Host => return None,
            };
            Some((endpoint.address?.to_string(), owner))
        })
        .collect();
    all.push((view.node.router.to_string(), "router".to_owned()));
    all
}

pub(super) fn ipam_text(view: &AgentView) -> String {
    // All addresses of the CIDR but the first and the last.
    let size = view.node.pod_cidr.hosts().count();
    format!(
        "IPv4: {}/{size} allocated from {}, ",
        allocations(view).len(),
        view.node.pod_cidr
    )
}

fn ipam(view: &AgentView) -> Value {
    let all = allocations(view);
    let addresses: Vec<_> = all.iter().map(|(address, _)| address.clone()).collect();
    let allocations: Map<_, _> = all
        .into_iter()
        .map(|(address, owner)| (address, Value::String(owner)))
        .collect();
    json!({"allocations": allocations, "ipv4": addresses, "ipv6": null, "status": ipam_text(view)})
}

/// What keeps its source: with native routing all pods, else the node's own, since the tunnel takes the others.
pub(super) fn never_masqueraded(view: &AgentView) -> Ipv4Net {
    match view.settings.routing {
        RoutingMode::Tunnel => view.node.pod_cidr,
        RoutingMode::Native => view.native_range,
    }
}

fn kube_proxy_replacement(view: &AgentView) -> Value {
    let mut value = json!({
        "deviceList": [{"ip": [view.node.address.to_string()], "name": view.device}],
        "devices": [view.device],
        "directRoutingDevice": view.device,
        "features": {
            "annotations": [
                "service.cilium.io/node",
                "service.cilium.io/node-selector",
                "service.cilium.io/proxy-delegation",
                "service.cilium.io/src-ranges-policy",
                "service.cilium.io/type",
            ],
            "externalIPs": {"enabled": true},
            "hostPort": {"enabled": true},
            "nat46X64": {},
            "nodePort": {
                "acceleration": "Disabled",
                "algorithm": "Random",
                "dsrMode": "IP Option/Extension",
                "enabled": true,
                "mode": "SNAT",
                "portMax": crate::topology::NODE_PORTS.end(),
                "portMin": crate::topology::NODE_PORTS.start(),
            },
            "sessionAffinity": {"enabled": true},
            "socketLB": {"enabled": true},
            "socketLBTracing": {"enabled": true},
        },
        "mode": if view.replaces_kube_proxy { "True" } else { "False" },
    });
    if view.settings.dispatch == Dispatch::Dsr {
        value["features"]["nodePort"]["mode"] = json!("DSR");
    }
    if !view.settings.kube_proxy_replacement {
        // What Cilium itself serves then is ClusterIPs, packet by packet (semantics B14).
        let features = &mut value["features"];
        for feature in [
            "externalIPs",
            "hostPort",
            "sessionAffinity",
            "socketLB",
            "socketLBTracing",
            "nodePort",
        ] {
            features[feature] = json!({"enabled": false});
        }
    }
    if view.settings.kube_proxy_replacement && view.settings.algorithm == BalancingAlgorithm::Maglev {
        let node_port = &mut value["features"]["nodePort"];
        node_port["algorithm"] = json!("Maglev");
        node_port["lutSize"] = json!(BalancingAlgorithm::MAGLEV_TABLE);
    }
    value
}

fn routing(mode: RoutingMode) -> Value {
    match mode {
        RoutingMode::Tunnel => json!({
            "inter-host-routing-mode": "Tunnel",
            "intra-host-routing-mode": "BPF",
            "tunnel-protocol": "vxlan",
        }),
        RoutingMode::Native => json!({"inter-host-routing-mode": "Native", "intra-host-routing-mode": "BPF"}),
    }
}
