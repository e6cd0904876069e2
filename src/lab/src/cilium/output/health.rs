//! `cilium-health status --probe`: with the newest findings, which are not new.

use super::super::{
    time::{duration, seconds},
    view::{HealthReport, NodeHealth, PathHealth},
};
use serde_json::{Value, json};

/// As JSON. `local` is `cluster/node`.
pub fn status(report: &HealthReport, local: &str) -> Value {
    let mut value = json!({
        "local": {"name": local},
        "nodes": report.nodes.iter().map(node).collect::<Vec<_>>(),
        "probeInterval": duration(report.interval),
    });
    if let Some(timestamp) = report.timestamp {
        value["timestamp"] = json!(seconds(timestamp));
    }
    value
}

fn node(node: &NodeHealth) -> Value {
    json!({
        "endpoint": path(&node.endpoint),
        "health-endpoint": {"primary-address": path(&node.endpoint), "secondary-addresses": []},
        "host": {"primary-address": path(&node.host), "secondary-addresses": []},
        "name": node.name,
    })
}

/// A path that failed has a status and no latency.
fn path(path: &PathHealth) -> Value {
    let side = |found: &Result<std::time::Duration, String>| {
        let mut value = match found {
            Ok(latency) => json!({"latency": latency.as_nanos() as u64}),
            Err(status) => json!({"status": status}),
        };
        value["lastProbed"] = match path.probed {
            Some(probed) => json!(seconds(probed)),
            None => json!("0001-01-01T00:00:00Z"),
        };
        value
    };
    json!({"http": side(&path.http), "icmp": side(&path.icmp), "ip": path.address.to_string()})
}

/// As text.
pub fn text(report: &HealthReport, local: &str) -> String {
    let mut text = heading(report, "Cluster health:               ");
    text.push_str("Name                          IP              Node                     Endpoints\n");
    let mut nodes: Vec<_> = report.nodes.iter().collect();
    // The local node comes first.
    nodes.sort_by_key(|node| (node.name != local, node.name.clone()));
    for node in nodes {
        let name = if node.name == local {
            format!("{} (localhost)", node.name)
        } else {
            node.name.clone()
        };
        text.push_str(&row(node, &name, 27));
    }
    text
}

/// The last lines of `cilium-dbg status`: only nodes that are not reachable.
pub fn summary(report: &HealthReport, title: &str) -> String {
    let mut text = heading(report, title);
    let bad: Vec<_> = report.nodes.iter().filter(|node| !reachable(node)).collect();
    if !bad.is_empty() {
        text.push_str("Name                     IP              Node                     Endpoints\n");
    }
    for node in bad {
        text.push_str(&row(node, &node.name, 22));
    }
    text
}

fn heading(report: &HealthReport, title: &str) -> String {
    let reached = report.nodes.iter().filter(|node| reachable(node)).count();
    let timestamp = report.timestamp.map(seconds).unwrap_or_default();
    let (all, interval) = (report.nodes.len(), duration(report.interval));
    format!("{title}{reached}/{all} reachable   ({timestamp})   (Probe interval: {interval})\n")
}

fn reachable(node: &NodeHealth) -> bool {
    node.host.is_reachable() && node.endpoint.is_reachable()
}

fn row(node: &NodeHealth, name: &str, width: usize) -> String {
    let share = |path: &PathHealth| if path.is_reachable() { "1/1" } else { "0/1" };
    let address = node.host.address.to_string();
    format!(
        "  {name:<width$} {address:<15} {:<24} {}\n",
        share(&node.host),
        share(&node.endpoint)
    )
}
