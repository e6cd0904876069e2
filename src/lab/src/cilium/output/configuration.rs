//! `cilium-dbg config --all`: the agent's own options by the names of its source, of which the lab has those that
//! decide what it does.

use super::super::view::AgentView;
use serde_json::{Map, Value, json};

/// Switches: the agent's name, the key of `cilium-config`, and what the agent takes where the key is absent.
const SWITCHES: [(&str, &str, bool); 19] = [
    ("EnableAutoDirectRouting", "auto-direct-node-routes", false),
    ("EnableBPFMasquerade", "enable-bpf-masquerade", false),
    (
        "EnableCiliumClusterwideNetworkPolicy",
        "enable-cilium-clusterwide-network-policy",
        true,
    ),
    ("EnableCiliumNetworkPolicy", "enable-cilium-network-policy", true),
    ("EnableEncryptionStrictMode", "enable-encryption-strict-mode", false),
    ("EnableEndpointRoutes", "enable-endpoint-routes", false),
    ("EnableHostFirewall", "enable-host-firewall", false),
    ("EnableIPSec", "enable-ipsec", false),
    ("EnableIPv4", "enable-ipv4", true),
    ("EnableIPv4Masquerade", "enable-ipv4-masquerade", true),
    ("EnableIPv6", "enable-ipv6", true),
    ("EnableInternalTrafficPolicy", "enable-internal-traffic-policy", true),
    ("EnableK8sNetworkPolicy", "enable-k8s-networkpolicy", true),
    ("EnableL7Proxy", "enable-l7-proxy", true),
    ("EnableNonDefaultDenyPolicies", "enable-non-default-deny-policies", true),
    ("EnableSourceIPVerification", "enable-source-ip-verification", true),
    ("EnableWireguard", "enable-wireguard", false),
    ("EncryptNode", "encrypt-node", false),
    ("PolicyAuditMode", "policy-audit-mode", false),
];
/// Options that can be changed at run time, and on if the key is absent.
const NOTIFICATIONS: [(&str, &str); 3] = [
    ("DropNotification", "bpf-events-drop-enabled"),
    ("PolicyVerdictNotification", "bpf-events-policy-verdict-enabled"),
    ("TraceNotification", "bpf-events-trace-enabled"),
];
/// Texts, in the same way.
const TEXTS: [(&str, &str, &str); 5] = [
    ("ClusterName", "cluster-name", "default"),
    ("DatapathMode", "datapath-mode", "veth"),
    ("EnablePolicy", "enable-policy", "default"),
    ("EncryptionStrictModeCIDR", "encryption-strict-mode-cidr", ""),
    ("RoutingMode", "routing-mode", "tunnel"),
];

/// As JSON.
pub fn all(view: &AgentView) -> Value {
    let set = |key: &str| view.configuration.get(key).map(String::as_str);
    let mut all = Map::new();
    for (name, key, default) in SWITCHES {
        all.insert(
            name.to_owned(),
            json!(set(key).map_or(default, |value| value == "true")),
        );
    }
    for (name, key, default) in TEXTS {
        all.insert(name.to_owned(), json!(set(key).unwrap_or(default)));
    }
    let id: u64 = set("cluster-id").and_then(|id| id.parse().ok()).unwrap_or(0);
    let matches: Vec<&str> = set("policy-cidr-match-mode")
        .into_iter()
        .flat_map(str::split_whitespace)
        .collect();
    let audit = if all["PolicyAuditMode"] == true {
        "Enabled"
    } else {
        "Disabled"
    };
    let enforcement = all["EnablePolicy"].clone();
    all.insert("ClusterID".to_owned(), json!(id));
    all.insert("PolicyCIDRMatchMode".to_owned(), json!(matches));
    let mut options = Map::from_iter([("PolicyAuditMode".to_owned(), json!(audit))]);
    for (name, key) in NOTIFICATIONS {
        let is_on = set(key).is_none_or(|value| value == "true");
        options.insert(name.to_owned(), json!(if is_on { "Enabled" } else { "Disabled" }));
    }
    all.insert("options".to_owned(), Value::Object(options));
    all.insert("policy-enforcement".to_owned(), enforcement);
    Value::Object(all)
}

/// As text.
pub fn text(view: &AgentView) -> String {
    let Value::Object(all) = all(view) else {
        return String::new();
    };
    let lines = all.iter().map(|(name, value)| format!("{name:<34}: {value}\n"));
    format!("#### Read-only configurations ####\n{}", lines.collect::<String>())
}
