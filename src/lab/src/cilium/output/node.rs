//! `cilium-dbg node list`.

use super::{
    super::view::NodeView,
    table::{row, table},
};
use serde_json::{Value, json};

/// As JSON.
pub fn list(nodes: &[NodeView]) -> Value {
    let nodes = nodes.iter().map(|node| {
        json!({
            "health-endpoint-address": {"ipv4": {"enabled": true, "ip": node.health.to_string()}, "ipv6": {}},
            "name": node.full_name(),
            "primary-address": {
                "ipv4": {"alloc-range": node.pod_cidr.to_string(), "enabled": true, "ip": node.address.to_string()},
                "ipv6": {},
            },
            "secondary-addresses": [{"ip": node.router.to_string()}],
            "source": node.source.as_str(),
        })
    });
    nodes.collect()
}

/// As text.
pub fn text(nodes: &[NodeView]) -> String {
    let mut rows: Vec<_> = nodes
        .iter()
        .map(|node| {
            row![
                node.full_name(),
                node.address,
                node.pod_cidr,
                "",
                "",
                node.source.as_str()
            ]
        })
        .collect();
    rows.sort();
    rows.insert(
        0,
        row![
            "Name",
            "IPv4 Address",
            "Endpoint CIDR",
            "IPv6 Address",
            "Endpoint CIDR",
            "Source"
        ],
    );
    table(&rows)
}
