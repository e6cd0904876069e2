//! `/etc/resolv.conf` and `/etc/hosts` as a pod has them. Text only; who puts them in place is in `process`.

use crate::topology::CLUSTER_DOMAIN;
use serde_json::Value;
use std::{fmt::Write, net::Ipv4Addr};

/// The most name servers and search domains that Kubernetes takes.
const NAMESERVERS: usize = 3;
const SEARCHES: usize = 32;

/// A pod's `/etc/resolv.conf`, by its `dnsPolicy` and `dnsConfig`.
pub(super) fn resolv_conf(spec: &Value, namespace: &str, dns: Ipv4Addr) -> String {
    let host = spec["hostNetwork"] == true;
    let cluster = match spec["dnsPolicy"].as_str() {
        Some("None") => None,
        Some("Default") => Some(false),
        Some("ClusterFirstWithHostNet") => Some(true),
        _ => Some(!host),
    };
    let (mut servers, mut searches, mut options) = (Vec::new(), Vec::new(), Vec::new());
    match cluster {
        Some(true) => {
            servers.push(dns.to_string());
            searches.extend([
                format!("{namespace}.svc.{CLUSTER_DOMAIN}"),
                format!("svc.{CLUSTER_DOMAIN}"),
                CLUSTER_DOMAIN.to_owned(),
            ]);
            options.push("ndots:5".to_owned());
        }
        // The lab's nodes have no resolver of their own: nothing answers there.
        Some(false) => servers.push(Ipv4Addr::LOCALHOST.to_string()),
        None => {}
    }
    let config = &spec["dnsConfig"];
    let strings = |value: &Value| -> Vec<String> {
        value
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|v| v.as_str().map(str::to_owned))
            .collect()
    };
    servers.extend(strings(&config["nameservers"]));
    searches.extend(strings(&config["searches"]));
    for option in config["options"].as_array().into_iter().flatten() {
        let Some(name) = option["name"].as_str() else { continue };
        options.retain(|present: &String| present.split(':').next() != Some(name));
        options.push(
            option["value"]
                .as_str()
                .map_or(name.to_owned(), |value| format!("{name}:{value}")),
        );
    }
    let mut text = String::new();
    if !searches.is_empty() {
        searches.truncate(SEARCHES);
        let _ = writeln!(text, "search {}", searches.join(" "));
    }
    for server in servers.iter().take(NAMESERVERS) {
        let _ = writeln!(text, "nameserver {server}");
    }
    if !options.is_empty() {
        let _ = writeln!(text, "options {}", options.join(" "));
    }
    text
}

/// A pod's `/etc/hosts`.
pub(super) fn hosts(spec: &Value, address: Ipv4Addr, hostname: &str) -> String {
    let mut text = "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost \
                    ip6-loopback\n"
        .to_owned();
    let _ = writeln!(text, "{address}\t{hostname}");
    for alias in spec["hostAliases"].as_array().into_iter().flatten() {
        let names: Vec<_> = alias["hostnames"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        if let Some(ip) = alias["ip"].as_str() {
            let _ = writeln!(text, "{ip}\t{}", names.join("\t"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_asks_the_cluster_and_a_host_pod_only_if_cluster_first_to() {
        let dns = Ipv4Addr::new(10, 96, 0, 10);
        let cluster =
            "search demo.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n";
        assert_eq!(resolv_conf(&json!({}), "demo", dns), cluster);
        let host = json!({"hostNetwork": true, "dnsPolicy": "ClusterFirst"});
        assert_eq!(resolv_conf(&host, "demo", dns), "nameserver 127.0.0.1\n");
        let cluster_first = json!({"hostNetwork": true, "dnsPolicy": "ClusterFirstWithHostNet"});
        assert_eq!(resolv_conf(&cluster_first, "demo", dns), cluster);
        let own = json!({"dnsPolicy": "None", "dnsConfig": {
            "nameservers": ["10.0.0.1"], "searches": ["a.example"], "options": [{"name": "ndots", "value": "2"}]}});
        assert_eq!(
            resolv_conf(&own, "demo", dns),
            "search a.example\nnameserver 10.0.0.1\noptions ndots:2\n"
        );
    }
}
