//! What operators gave to Helm for a cluster: its values, and what the chart made of them. The lab's configuration
//! follows both as far as the lab can; what it cannot do is refused, and what it only stores is named.

use crate::profile::{BalancingAlgorithm, EncryptionMode, RoutingMode, Settings};
use ipnet::Ipv4Net;
use meshproof_datapath::{Dispatch, RefusedCall};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{collections::BTreeMap, fmt};

/// One cluster's Helm release of Cilium, as operators gave it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Installation {
    /// The values, which may hold secrets: they are stored as Helm stores them, and nowhere shown.
    pub values: Value,
    /// The keys of ConfigMap `cilium-config` that the chart makes of them. One without text is left out; of a key that
    /// is not here the lab has its own.
    pub config: BTreeMap<String, Option<String>>,
}

/// What of an installation the lab cannot do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Unsupported {
    /// A sentence each, without a full stop.
    pub reasons: Vec<String>,
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the lab cannot be installed so: {}", self.reasons.join("; "))
    }
}

/// Values on which the lab acts. All others are stored, and shown where agents and operators show their configuration.
const FOLLOWED: [&str; 37] = [
    "authentication.enabled",
    "authentication.mutual.spire.enabled",
    "authentication.mutual.spire.install.enabled",
    "autoDirectNodeRoutes",
    "bpf.masquerade",
    "cluster.id",
    "cluster.name",
    "clustermesh.apiserver.replicas",
    "clustermesh.config.clusters",
    "clustermesh.config.enabled",
    "clustermesh.policyDefaultLocalCluster",
    "clustermesh.useAPIServer",
    "encryption.enabled",
    "encryption.nodeEncryption",
    "encryption.strictMode.cidr",
    "encryption.strictMode.enabled",
    "encryption.type",
    "endpointRoutes.enabled",
    "envoy.enabled",
    "hubble.enabled",
    "hubble.metrics.enabled",
    "hubble.relay.enabled",
    "hubble.relay.replicas",
    "hubble.ui.enabled",
    "hubble.ui.replicas",
    "ipam.mode",
    "ipv4.enabled",
    "ipv4NativeRoutingCIDR",
    "ipv6.enabled",
    "kubeProxyReplacement",
    "l7Proxy",
    "loadBalancer.algorithm",
    "loadBalancer.mode",
    "operator.replicas",
    "policyEnforcementMode",
    "routingMode",
    "tunnelProtocol",
];

impl Installation {
    pub(crate) fn is_on(&self, key: &str) -> bool {
        self.text(key) == Some("true")
    }

    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        self.config.get(key)?.as_deref()
    }

    /// A key that holds a range of addresses.
    fn range(&self, key: &str) -> Option<Ipv4Net> {
        self.text(key)?.parse().ok()
    }

    /// Where strict mode refuses to send in clear; none where it is off.
    pub(crate) fn strict_range(&self) -> Option<Ipv4Net> {
        let is_on = self.is_on("enable-encryption-strict-mode");
        is_on.then(|| self.range("encryption-strict-mode-cidr")).flatten()
    }

    /// What native routing does not masquerade, as far as it is stated.
    pub(crate) fn native_range(&self) -> Option<Ipv4Net> {
        self.range("ipv4-native-routing-cidr")
    }

    /// The profile's settings with what this installation has instead.
    pub(crate) fn over(&self, base: &Settings) -> Settings {
        let replaces = self.is_on("kube-proxy-replacement");
        Settings {
            routing: match self.text("routing-mode") {
                Some("native") => RoutingMode::Native,
                _ => RoutingMode::Tunnel,
            },
            encryption: if self.is_on("enable-wireguard") {
                EncryptionMode::WireGuard
            } else {
                EncryptionMode::None
            },
            node_encryption: self.is_on("encrypt-node"),
            kube_proxy_replacement: replaces,
            dispatch: match self.text("bpf-lb-mode") {
                Some("dsr") => Dispatch::Dsr,
                _ => Dispatch::Snat,
            },
            algorithm: match self.text("bpf-lb-algorithm") {
                Some("maglev") => BalancingAlgorithm::Maglev,
                _ => BalancingAlgorithm::Random,
            },
            socket_lb: replaces.then(|| base.socket_lb.unwrap_or(RefusedCall::NotPermitted)),
            default_local_cluster: self.is_on("policy-default-local-cluster"),
            endpoint_routes: self.is_on("enable-endpoint-routes"),
            envoy: self.is_on("enable-l7-proxy"),
            ..*base
        }
    }

    /// Paths of the values that are given and that the lab stores without acting on them, in their order.
    pub fn only_stored(&self) -> Vec<String> {
        let mut paths = Vec::new();
        leaves(&self.values, String::new(), &mut paths);
        paths.retain(|path| !FOLLOWED.contains(&path.as_str()));
        paths
    }
}

/// The paths of the leaves; lists are leaves.
fn leaves(value: &Value, path: String, found: &mut Vec<String>) {
    match value.as_object().filter(|map| !map.is_empty()) {
        None if path.is_empty() => {}
        None => found.push(path),
        Some(map) => {
            for (key, inner) in map {
                let path = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                leaves(inner, path, found);
            }
        }
    }
}
