//! `cilium-dbg status` as text, for humans.

use super::{
    super::view::{AgentView, ApiServerView, EncryptionView},
    controller,
    health::summary,
    remote::{is_ready, not_ready_text},
    status::{APIS, LOST, cpus, current_flows, envoy, ipam_text, kubernetes, never_masqueraded},
};
use crate::profile::RoutingMode;
use std::fmt::{Display, Write};

/// The status.
pub fn text(view: &AgentView) -> String {
    let mut text = agent(view);
    text.push_str(&not_ready_text(&view.remotes, view.now));
    text.push_str(&datapath(view));
    text.push_str(&summary(&view.health, "Cluster health:          "));
    text.push_str("Modules Health:          Stopped(0) Degraded(0) OK(1)\n");
    text
}

/// Lines of a name and a value.
#[derive(Default)]
struct Lines(String);

impl Lines {
    fn add(&mut self, name: &str, value: impl Display) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "{:<24} {value}", format!("{name}:"));
    }
}

/// From the agent itself to the cluster mesh.
fn agent(view: &AgentView) -> String {
    let mut lines = Lines::default();
    lines.add("KVStore", "Disabled   ");
    match view.api_server {
        ApiServerView::Reached => lines.add("Kubernetes", format_args!("Ok         {}", kubernetes())),
        ApiServerView::Lost => lines.add("Kubernetes", format_args!("Failure    {LOST}")),
    }
    let mut apis = APIS;
    apis.sort_unstable();
    let apis = apis.map(|api| format!("\"{api}\"")).join(", ");
    lines.add("Kubernetes APIs", format_args!("[{apis}]"));
    let address = view.node.address;
    if view.replaces_kube_proxy {
        let devices = format!("True   [eth0   {address} (Direct Routing)]");
        lines.add("KubeProxyReplacement", devices);
    } else {
        lines.add("KubeProxyReplacement", "False");
    }
    lines.add("Host firewall", "Disabled");
    lines.add("SRv6", "Disabled");
    lines.add("CNI Chaining", "none");
    lines.add(
        "CNI Config file",
        "successfully wrote CNI configuration file to /host/etc/cni/net.d/05-cilium.conflist",
    );
    let version = view.settings.version;
    match view.api_server {
        ApiServerView::Reached => {
            lines.add("Cilium", format_args!("Ok   {version} (v{version}-e4a9ed77)"));
        }
        ApiServerView::Lost => {
            lines.add(
                "Cilium",
                format_args!("Failure   Kubernetes service is not ready: {LOST}"),
            );
        }
    }
    let monitor = format!("Listening for events on {} CPUs with 64x4096 of shared memory", cpus());
    lines.add("NodeMonitor", monitor);
    lines.add("Cilium health daemon", "Ok   ");
    lines.add("IPAM", ipam_text(view));
    let ready = view.remotes.iter().filter(|remote| is_ready(remote)).count();
    let mesh = format!(
        "{ready}/{} remote clusters ready, {} global-services",
        view.remotes.len(),
        view.global_services
    );
    lines.add("ClusterMesh", mesh);
    lines.0
}

/// From the devices to encryption.
fn datapath(view: &AgentView) -> String {
    let mut lines = Lines::default();
    lines.add("IPv4 BIG TCP", "Disabled");
    lines.add("IPv6 BIG TCP", "Disabled");
    match view.is_on("enable-bandwidth-manager") {
        true if view.is_on("enable-bbr") => lines.add("BandwidthManager", "EDT with BPF [BBR] [eth0]"),
        true => lines.add("BandwidthManager", "EDT with BPF [CUBIC] [eth0]"),
        false => lines.add("BandwidthManager", "Disabled"),
    }
    let network = match view.settings.routing {
        RoutingMode::Tunnel => "Tunnel [vxlan]",
        RoutingMode::Native => "Native",
    };
    lines.add("Routing", format_args!("Network: {network}   Host: BPF"));
    lines.add("Attach Mode", "TCX");
    lines.add("Device Mode", "veth");
    let cidr = never_masqueraded(view);
    let masquerading = format!("BPF   [eth0]   {cidr}  [IPv4: Enabled, IPv6: Disabled]");
    lines.add("Masquerading", masquerading);
    let controllers = controller::all(view).len();
    lines.add("Controller Status", format_args!("{controllers}/{controllers} healthy"));
    let router = view.node.router;
    let proxy = format!(
        "OK, ip {router}, 0 redirects active on ports 10000-20000, Envoy: {}",
        envoy(view)
    );
    lines.add("Proxy Status", proxy);
    lines.add("Global Identity Range", "min 65536, max 131071");
    lines.add("Hubble", hubble(view));
    match &view.encryption {
        EncryptionView::Disabled => lines.add("Encryption", "Disabled       "),
        EncryptionView::WireGuard {
            public_key,
            port,
            peers,
            nodes,
        } => {
            let peers = peers.len();
            let node = format!("cilium_wg0 (Pubkey: {public_key}, Port: {port}, Peers: {peers})");
            let encrypted = nodes.word();
            let wireguard = format!("Wireguard       [NodeEncryption: {encrypted}, {node}]");
            lines.add("Encryption", wireguard);
        }
    }
    lines.0
}

fn hubble(view: &AgentView) -> String {
    let (current, capacity) = (current_flows(view), view.flow_capacity);
    let uptime = view.now.duration_since(view.started).unwrap_or_default();
    let share = current as f64 * 100.0 / capacity.max(1) as f64;
    let rate = view.counters.flows_seen as f64 / uptime.as_secs_f64().max(1.0);
    format!("Ok              Current/Max Flows: {current}/{capacity} ({share:.2}%), Flows/s: {rate:.2}   Metrics: Ok")
}
