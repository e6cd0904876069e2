//! `cilium-dbg status` as text, for humans.

use super::{
    super::view::{AgentView, ApiServerView, EncryptionView},
    controller,
    health::summary,
    remote::{is_ready, not_ready_text},
    status::{APIS, LOST, cpus, current_flows, ipam_text, kubernetes},
};
use crate::topology::{CILIUM_VERSION, RoutingMode};
use std::fmt::Write;

/// The status.
pub fn text(view: &AgentView) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{:<24} {value}", format!("{name}:"));
    };
    let mut apis = APIS;
    apis.sort_unstable();
    let (address, cidr) = (view.node.address, view.node.pod_cidr);
    line("KVStore", "Disabled   ");
    match view.api_server {
        ApiServerView::Reached => line("Kubernetes", &format!("Ok         {}", kubernetes())),
        ApiServerView::Lost => line("Kubernetes", &format!("Failure    {LOST}")),
    }
    line(
        "Kubernetes APIs",
        &format!("[{}]", apis.map(|api| format!("\"{api}\"")).join(", ")),
    );
    line(
        "KubeProxyReplacement",
        &if view.replaces_kube_proxy {
            format!("True   [eth0   {address} (Direct Routing)]")
        } else {
            "False".to_owned()
        },
    );
    line("Host firewall", "Disabled");
    line("SRv6", "Disabled");
    line("CNI Chaining", "none");
    line(
        "CNI Config file",
        "successfully wrote CNI configuration file to /host/etc/cni/net.d/05-cilium.conflist",
    );
    match view.api_server {
        ApiServerView::Reached => line("Cilium", &format!("Ok   {CILIUM_VERSION} (v{CILIUM_VERSION}-e4a9ed77)")),
        ApiServerView::Lost => line("Cilium", &format!("Failure   Kubernetes service is not ready: {LOST}")),
    }
    line(
        "NodeMonitor",
        &format!("Listening for events on {} CPUs with 64x4096 of shared memory", cpus()),
    );
    line("Cilium health daemon", "Ok   ");
    line("IPAM", &ipam_text(view));
    let ready = view.remotes.iter().filter(|remote| is_ready(remote)).count();
    let mesh = format!(
        "{ready}/{} remote clusters ready, {} global-services",
        view.remotes.len(),
        view.global_services
    );
    line("ClusterMesh", &mesh);
    text.push_str(&not_ready_text(&view.remotes, view.now));
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "{:<24} {value}", format!("{name}:"));
    };
    line("IPv4 BIG TCP", "Disabled");
    line("IPv6 BIG TCP", "Disabled");
    line("BandwidthManager", "Disabled");
    let network = match view.routing {
        RoutingMode::Tunnel => "Tunnel [vxlan]",
        RoutingMode::Native => "Native",
    };
    line("Routing", &format!("Network: {network}   Host: BPF"));
    line("Attach Mode", "TCX");
    line("Device Mode", "veth");
    line(
        "Masquerading",
        &format!("BPF   [eth0]   {cidr}  [IPv4: Enabled, IPv6: Disabled]"),
    );
    let controllers = controller::all(view).len();
    line("Controller Status", &format!("{controllers}/{controllers} healthy"));
    let router = view.node.router;
    line(
        "Proxy Status",
        &format!("OK, ip {router}, 0 redirects active on ports 10000-20000, Envoy: embedded"),
    );
    line("Global Identity Range", "min 65536, max 131071");
    let (current, capacity) = (current_flows(view), view.flow_capacity);
    let uptime = view
        .now
        .duration_since(view.started)
        .unwrap_or_default()
        .as_secs_f64()
        .max(1.0);
    let (share, rate) = (
        current as f64 * 100.0 / capacity.max(1) as f64,
        view.counters.flows_seen as f64 / uptime,
    );
    line(
        "Hubble",
        &format!(
            "Ok              Current/Max Flows: {current}/{capacity} ({share:.2}%), Flows/s: {rate:.2}   Metrics: Ok"
        ),
    );
    match &view.encryption {
        EncryptionView::Disabled => line("Encryption", "Disabled       "),
        EncryptionView::WireGuard {
            public_key,
            port,
            peers,
        } => line(
            "Encryption",
            &format!(
                "Wireguard       [NodeEncryption: Disabled, cilium_wg0 (Pubkey: {public_key}, Port: {port}, Peers: \
                 {})]",
                peers.len()
            ),
        ),
    }
    text.push_str(&summary(&view.health, "Cluster health:          "));
    text.push_str("Modules Health:          Stopped(0) Degraded(0) OK(1)\n");
    text
}
