//! The parts of Cilium's JSON that checks read (Cilium 1.16 to 1.19; field names as in its OpenAPI models).
//!
//! Cilium leaves out false, zero and empty values, arrays can be null, and unknown fields are ignored; so everything is
//! optional here, and a missing key means unknown, not fine.

pub mod troubleshoot;

use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;

fn null_as_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(d: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(d)?.unwrap_or_default())
}

/// The time that Cilium prints for "never".
pub const NEVER: &str = "0001-01-01T00:00:00.000Z";

/// Secrets of Cilium's chart with certificates. Those that a configuration does not have are not there.
pub const CERTIFICATE_SECRETS: [&str; 6] = [
    "cilium-ca",
    "clustermesh-apiserver-local-cert",
    "clustermesh-apiserver-remote-cert",
    "clustermesh-apiserver-server-cert",
    "hubble-relay-client-certs",
    "hubble-server-certs",
];

/// `cilium-dbg status -o json`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct AgentStatus {
    /// Overall state of the agent.
    pub cilium: Option<State>,
    /// The remote clusters as this agent sees them.
    pub cluster_mesh: Option<ClusterMesh>,
    /// Encryption; `peers` in it is null, see [`Debuginfo`].
    pub encryption: Option<Encryption>,
}

/// A state with its message.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct State {
    /// `Ok`, `Warning`, `Failure`, `Disabled`.
    pub state: String,
    /// Details.
    pub msg: String,
}

/// `.["cluster-mesh"]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct ClusterMesh {
    /// The remotes.
    #[serde(deserialize_with = "null_as_default")]
    pub clusters: Vec<RemoteCluster>,
    /// Number of global services.
    pub num_global_services: u64,
}

/// One remote cluster, also an element of `kvstoremesh-dbg status -o json`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
#[allow(missing_docs)]
pub struct RemoteCluster {
    pub name: String,
    pub ready: bool,
    pub connected: bool,
    pub status: String,
    pub num_nodes: u64,
    pub num_endpoints: u64,
    pub num_identities: u64,
    pub num_shared_services: u64,
    pub num_failures: u64,
    pub last_failure: String,
    pub config: Option<RemoteConfig>,
    #[serde(deserialize_with = "null_as_default")]
    pub synced: BTreeMap<String, Option<bool>>,
}

/// `.config` of a remote cluster.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
#[allow(missing_docs)]
pub struct RemoteConfig {
    pub required: bool,
    pub retrieved: bool,
    pub kvstoremesh: bool,
    pub cluster_id: u32,
}

impl RemoteCluster {
    /// Why the cluster is not ready, judged in the order in which Cilium does; none if it is.
    pub fn not_ready_because(&self) -> Option<String> {
        if !self.connected {
            return Some(format!("not connected: {}", self.status));
        }
        match &self.config {
            None => return Some("no cluster configuration".to_owned()),
            Some(config) if config.required && !config.retrieved => {
                return Some("its configuration is required and was not retrieved".to_owned());
            }
            Some(_) => {}
        }
        if self.synced.is_empty() {
            return Some("nothing is synchronised".to_owned());
        }
        if let Some((what, _)) = self.synced.iter().find(|(_, synced)| **synced == Some(false)) {
            return Some(format!("{what} are not synchronised"));
        }
        (!self.ready).then(|| "ready is false although every part is".to_owned())
    }
}

/// `.encryption`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Encryption {
    /// `Disabled`, `Wireguard`, `IPsec`.
    pub mode: String,
    /// WireGuard's interfaces.
    pub wireguard: Option<WireGuard>,
    /// IPsec, in `cilium-dbg encrypt status -o json` only.
    pub ipsec: Option<Ipsec>,
}

/// `.ipsec` of `cilium-dbg encrypt status -o json` (`IPsecStatus` in `api/v1/models`).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Ipsec {
    /// How many keys the node's XFRM states use; more than one while keys are rotated, or with a key for each pair.
    pub keys_in_use: u64,
    /// The sum of [`xfrm_errors`](Self::xfrm_errors).
    pub error_count: u64,
    /// The kernel's XFRM errors since its start, by name (`/proc/net/xfrm_stat`), without those that are 0.
    #[serde(deserialize_with = "null_as_default")]
    pub xfrm_errors: BTreeMap<String, u64>,
}

/// `.encryption.wireguard`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct WireGuard {
    /// `Disabled`, `Enabled`, `OptedOut`.
    pub node_encryption: String,
    /// Usually one, `cilium_wg0`.
    #[serde(deserialize_with = "null_as_default")]
    pub interfaces: Vec<WireGuardInterface>,
}

/// A WireGuard device.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
#[allow(missing_docs)]
pub struct WireGuardInterface {
    pub name: String,
    pub listen_port: u16,
    pub public_key: String,
    pub peer_count: u64,
    #[serde(deserialize_with = "null_as_default")]
    pub peers: Vec<WireGuardPeer>,
}

/// A peer; one that has carried nothing has [`NEVER`] as its handshake and no counters.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
#[allow(missing_docs)]
pub struct WireGuardPeer {
    pub public_key: String,
    pub endpoint: String,
    pub last_handshake_time: String,
    #[serde(deserialize_with = "null_as_default")]
    pub allowed_ips: Vec<String>,
    pub transfer_rx: u64,
    pub transfer_tx: u64,
}

/// The part of `cilium-dbg debuginfo --output json` that holds the peers.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
#[allow(missing_docs)]
pub struct Debuginfo {
    pub cilium_version: String,
    pub encryption: Option<Encryption>,
}
