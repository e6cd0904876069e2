//! The configurations that the lab's clusters can take: what operators set in Cilium's Helm values. Data only, in one
//! struct and one table; data path and views follow it.

use meshproof_datapath::{Dispatch, RefusedCall};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A configuration of all clusters of a lab, by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// VXLAN in WireGuard, kube-proxy replacement.
    #[default]
    Tunnel,
    /// Native routing in WireGuard, node encryption, strict mode; no Envoy.
    Native,
    /// The same with answers straight from the backend's node (DSR).
    NativeDsr,
    /// VXLAN in clear.
    Plain,
    /// As `tunnel`, with kube-proxy beside Cilium.
    KubeProxy,
    /// As `tunnel`, with what Cilium 1.19 changes.
    Next,
}

/// One row of the table: what a profile stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The profile.
    pub profile: Profile,
    /// Its name on the command line.
    pub name: &'static str,
    /// Cilium's version.
    pub version: &'static str,
    /// `routingMode`.
    pub routing: RoutingMode,
    /// `encryption.type`.
    pub encryption: EncryptionMode,
    /// `encryption.nodeEncryption`: what nodes themselves send each other is encrypted, too.
    pub node_encryption: bool,
    /// `encryption.strictMode.enabled`.
    pub strict: StrictMode,
    /// `kubeProxyReplacement`.
    pub kube_proxy_replacement: bool,
    /// `loadBalancer.mode`.
    pub dispatch: Dispatch,
    /// `loadBalancer.algorithm`.
    pub algorithm: BalancingAlgorithm,
    /// `socketLB.enabled`, which kube-proxy replacement turns on: what a call fails with that leads to a Service
    /// without backends.
    pub socket_lb: Option<RefusedCall>,
    /// `policyDefaultLocalCluster`.
    pub default_local_cluster: bool,
    /// `endpointRoutes.enabled`.
    pub endpoint_routes: bool,
    /// Whether the agents' image has an Envoy, without which rules for HTTP serve nobody.
    pub envoy: bool,
}

/// Every profile, the default first.
pub static PROFILES: [Settings; 6] = [TUNNEL, NATIVE, NATIVE_DSR, PLAIN, KUBE_PROXY, NEXT];

const TUNNEL: Settings = Settings {
    profile: Profile::Tunnel,
    name: "tunnel",
    version: "1.18.3",
    routing: RoutingMode::Tunnel,
    encryption: EncryptionMode::WireGuard,
    node_encryption: false,
    strict: StrictMode::LastCluster,
    kube_proxy_replacement: true,
    dispatch: Dispatch::Snat,
    algorithm: BalancingAlgorithm::Random,
    socket_lb: Some(RefusedCall::NotPermitted),
    default_local_cluster: false,
    endpoint_routes: false,
    envoy: true,
};

const NATIVE: Settings = Settings {
    profile: Profile::Native,
    name: "native",
    routing: RoutingMode::Native,
    node_encryption: true,
    strict: StrictMode::AllClusters,
    algorithm: BalancingAlgorithm::Maglev,
    endpoint_routes: true,
    envoy: false,
    ..TUNNEL
};

const NATIVE_DSR: Settings = Settings {
    profile: Profile::NativeDsr,
    name: "native-dsr",
    dispatch: Dispatch::Dsr,
    ..NATIVE
};

const PLAIN: Settings = Settings {
    profile: Profile::Plain,
    name: "plain",
    encryption: EncryptionMode::None,
    strict: StrictMode::Off,
    ..TUNNEL
};

const KUBE_PROXY: Settings = Settings {
    profile: Profile::KubeProxy,
    name: "kube-proxy",
    kube_proxy_replacement: false,
    socket_lb: None,
    ..TUNNEL
};

/// Since 1.19.4 a refused call says what it was meant to (cilium/cilium#45185).
const NEXT: Settings = Settings {
    profile: Profile::Next,
    name: "next",
    version: "1.19.4",
    socket_lb: Some(RefusedCall::HostUnreachable),
    default_local_cluster: true,
    ..TUNNEL
};

/// `routing-mode` of Cilium's configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoutingMode {
    /// VXLAN, UDP port 8472.
    Tunnel,
    /// As they are.
    Native,
}

/// `encryption.type` of Cilium's Helm values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncryptionMode {
    /// WireGuard, UDP port 51871.
    WireGuard,
    /// In clear.
    None,
}

/// Where pods that encryption cannot reach are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StrictMode {
    /// Nowhere.
    Off,
    /// In the last cluster, for its own pods: so both cases are there.
    LastCluster,
    /// In every cluster, for the pods of all.
    AllClusters,
}

/// `bpf-lb-algorithm`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BalancingAlgorithm {
    /// Uniformly.
    Random,
    /// By the flow's hash, for what comes from outside; socket load balancing never uses it (semantics B3, B17).
    Maglev,
}

impl BalancingAlgorithm {
    /// Cilium's default size of a Maglev table, a prime.
    pub const MAGLEV_TABLE: u32 = 16381;
}

impl Profile {
    /// The profile of that name.
    pub fn named(name: &str) -> Option<Self> {
        PROFILES.iter().find(|row| row.name == name).map(|row| row.profile)
    }

    /// What it stands for.
    pub fn settings(self) -> &'static Settings {
        &PROFILES[self as usize]
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.settings().name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_profiles() {
        for (index, row) in PROFILES.iter().enumerate() {
            assert_eq!(row.profile as usize, index);
            assert_eq!(row.profile.to_string(), row.name);
            assert_eq!(Profile::named(row.name), Some(row.profile));
            assert_eq!(serde_json::to_value(row.profile).unwrap(), row.name);
        }
        assert_eq!(Profile::named("geneve"), None);
    }
}
