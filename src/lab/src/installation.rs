//! What operators gave to Helm for a cluster: its values, and what the chart made of them. The lab's configuration
//! follows both as far as the lab can; what it cannot do is refused, and what it only stores is named.

use crate::{
    profile::{BalancingAlgorithm, EncryptionMode, RoutingMode, Settings},
    topology::{ClusterSpec, Topology},
};
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

/// Settings that all clusters of a lab have in common.
const COMMON: [&str; 8] = [
    "routing-mode",
    "enable-wireguard",
    "encrypt-node",
    "kube-proxy-replacement",
    "bpf-lb-mode",
    "bpf-lb-algorithm",
    "policy-default-local-cluster",
    "enable-endpoint-routes",
];
/// Keys of which the lab can only do some texts. No text stands for a key that is left out.
const ABLE: [(&str, &[Option<&str>]); 10] = [
    ("bpf-lb-mode", &[None, Some("snat"), Some("dsr")]),
    ("bpf-lb-algorithm", &[None, Some("random"), Some("maglev")]),
    ("datapath-mode", &[Some("veth")]),
    ("enable-hubble", &[Some("true")]),
    ("enable-ipsec", &[None]),
    ("enable-ipv4", &[Some("true")]),
    ("enable-ipv6", &[Some("false")]),
    ("enable-policy", &[Some("default")]),
    ("identity-allocation-mode", &[Some("crd")]),
    ("ipam", &[Some("kubernetes")]),
];
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
    fn is_on(&self, key: &str) -> bool {
        self.text(key) == Some("true")
    }

    fn text(&self, key: &str) -> Option<&str> {
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

    fn reasons_against(&self, topology: &Topology, cluster: &ClusterSpec) -> Vec<String> {
        let mut reasons = Vec::new();
        let name = &cluster.name;
        let mut differs = |key: &str, found: Option<&str>, able: &str| {
            let found = found.map_or_else(|| "absent".to_owned(), |text| format!("`{text}`"));
            reasons.push(format!("{name}: `{key}` is {found}, and the lab has {able}"));
        };
        let id = cluster.id.to_string();
        for (key, own) in [("cluster-name", name), ("cluster-id", &id)] {
            if let Some(found) = self.text(key).filter(|found| found != own) {
                differs(key, Some(found), &format!("`{own}`"));
            }
        }
        for (key, able) in ABLE {
            let stated = self.config.get(key).map(Option::as_deref);
            if let Some(found) = stated.filter(|found| !able.contains(found)) {
                let able: Vec<_> = able.iter().map(|text| text.unwrap_or("no such key")).collect();
                differs(key, found, &able.join(" or "));
            }
        }
        let tunnels = self.text("routing-mode") == Some("tunnel");
        if let Some(found) = self
            .text("tunnel-protocol")
            .filter(|found| tunnels && *found != "vxlan")
        {
            differs("tunnel-protocol", Some(found), "vxlan");
        }
        let holds_all = |range: Ipv4Net| topology.clusters.iter().all(|each| range.contains(&each.pod_cidr));
        if let Some(range) = self.native_range().filter(|range| !tunnels && !holds_all(*range)) {
            let able = format!(
                "ranges that hold the pods of all clusters, such as {}",
                topology.native_range()
            );
            differs("ipv4-native-routing-cidr", Some(&range.to_string()), &able);
        }
        if self.values.pointer("/clustermesh/useAPIServer") != Some(&Value::Bool(true)) {
            reasons.push(format!(
                "{name}: `clustermesh.useAPIServer` is off, and the lab's clusters are meshed"
            ));
        }
        reasons
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

impl Topology {
    /// The same clusters, installed by these releases, by the clusters' names. A cluster without one follows the
    /// others.
    ///
    /// # Errors
    /// Everything that the lab cannot do of it.
    pub fn installed(mut self, installations: BTreeMap<String, Installation>) -> Result<Self, Unsupported> {
        let mut reasons = Vec::new();
        for name in installations.keys().filter(|name| self.cluster(name).is_none()) {
            reasons.push(format!("it has no cluster {name}"));
        }
        for cluster in &self.clusters {
            let installation = installations.get(&cluster.name);
            reasons.extend(
                installation
                    .into_iter()
                    .flat_map(|one| one.reasons_against(&self, cluster)),
            );
        }
        let mut all = installations.iter();
        if let Some((first, base)) = all.next() {
            for (other, installation) in all {
                for key in COMMON.iter().filter(|key| base.text(key) != installation.text(key)) {
                    reasons.push(format!(
                        "`{key}` differs between {first} and {other}, and the lab has one for all"
                    ));
                }
            }
        }
        if !reasons.is_empty() {
            return Err(Unsupported { reasons });
        }
        for (name, installation) in installations {
            for cluster in self.clusters.iter_mut().filter(|cluster| cluster.name == name) {
                cluster.mutual_authentication = installation.is_on("mesh-auth-mutual-enabled");
                cluster.installation = Some(installation.clone());
            }
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn installation(changes: &[(&str, &str)]) -> Installation {
        let config = [
            ("routing-mode", "native"),
            ("ipv4-native-routing-cidr", "10.244.0.0/14"),
            ("enable-wireguard", "true"),
            ("encrypt-node", "true"),
            ("kube-proxy-replacement", "true"),
            ("bpf-lb-algorithm", "maglev"),
            ("mesh-auth-mutual-enabled", "true"),
        ];
        let config = config.iter().chain(changes);
        Installation {
            values: json!({"clustermesh": {"useAPIServer": true}, "operator": {"replicas": 2}, "MTU": 1400}),
            config: config
                .map(|(key, text)| ((*key).to_owned(), Some((*text).to_owned())))
                .collect(),
        }
    }

    fn installed(infra: Installation, apps: Installation) -> Result<Topology, Unsupported> {
        Topology::default().installed([("infra".to_owned(), infra), ("apps".to_owned(), apps)].into())
    }

    #[test]
    fn settings_follow_what_the_chart_made_of_the_values() {
        let topology = installed(installation(&[]), installation(&[])).expect("the lab can do it");
        let settings = topology.settings();
        assert_eq!(settings.routing, RoutingMode::Native);
        assert!(settings.node_encryption && settings.kube_proxy_replacement);
        assert_eq!(settings.algorithm, BalancingAlgorithm::Maglev);
        assert!(topology.clusters[0].mutual_authentication);
        assert_eq!(topology.strict_range(&topology.clusters[1]), None);
        assert_eq!(installation(&[]).only_stored(), ["MTU"]);
    }

    #[test]
    fn what_the_lab_cannot_do_is_refused_and_all_of_it_is_told() {
        let odd = installation(&[("bpf-lb-mode", "hybrid"), ("cluster-id", "7"), ("enable-ipsec", "true")]);
        let error = installed(odd, installation(&[("encrypt-node", "false")]))
            .expect_err("refused")
            .to_string();
        for part in [
            "infra: `bpf-lb-mode` is `hybrid`, and the lab has no such key or snat or dsr",
            "infra: `cluster-id` is `7`, and the lab has `1`",
            "`enable-ipsec` is `true`",
            "`encrypt-node` differs between apps and infra",
        ] {
            assert!(error.contains(part), "{part}: {error}");
        }
        let narrow = installation(&[("ipv4-native-routing-cidr", "10.244.0.0/16")]);
        let error = installed(narrow, installation(&[])).expect_err("refused").to_string();
        assert!(error.contains("such as 10.244.0.0/14"), "{error}");
    }
}
