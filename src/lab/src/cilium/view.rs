//! What an agent knows, as plain data: the only input of everything that its commands print.

use crate::profile::Settings;
use ipnet::Ipv4Net;
use meshproof_datapath::{Counters, FlowEvent, PeerStatus};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    time::{Duration, SystemTime},
};

mod endpoint;
mod health;
mod remote;
mod service;

pub use endpoint::{EndpointKind, EndpointPolicy, EndpointView, PolicyEnabled};
pub use health::{HealthReport, NodeHealth, PathHealth};
pub use remote::{RemotePhase, RemoteView};
pub use service::{BackendView, ServiceView};

/// Everything that one agent knows.
#[derive(Clone, Debug)]
pub struct AgentView {
    /// When the view was taken.
    pub now: SystemTime,
    /// When the agent was started.
    pub started: SystemTime,
    /// Its node.
    pub node: NodeView,
    /// The device between nodes, as it names it.
    pub device: &'static str,
    /// All nodes that it knows, its own and those of other clusters too.
    pub nodes: Vec<NodeView>,
    /// How Cilium is configured.
    pub settings: Settings,
    /// What native routing never masquerades.
    pub native_range: Ipv4Net,
    /// Encryption between nodes.
    pub encryption: EncryptionView,
    /// What it was started with: the keys of `cilium-config`, and what its node has instead.
    pub configuration: BTreeMap<String, String>,
    /// Whether identities can authenticate each other.
    pub mutual_authentication: bool,
    /// Whether it serves services in place of kube-proxy.
    pub replaces_kube_proxy: bool,
    /// Its endpoints, by id.
    pub endpoints: Vec<EndpointView>,
    /// The services that it serves.
    pub services: Vec<ServiceView>,
    /// Identities that it knows, with their labels.
    pub identities: Vec<(u32, Vec<String>)>,
    /// Addresses that it knows.
    pub addresses: Vec<AddressView>,
    /// The other clusters.
    pub remotes: Vec<RemoteView>,
    /// How many of its services are merged with others'.
    pub global_services: usize,
    /// Whether it reaches the API server of its cluster.
    pub api_server: ApiServerView,
    /// Whether it may write what it has to.
    pub is_forbidden: bool,
    /// What it last found out about the other nodes.
    pub health: HealthReport,
    /// What the data path counted.
    pub counters: Counters,
    /// How many flows it remembers at most.
    pub flow_capacity: usize,
    /// The policies in force.
    pub policy: PolicyView,
}

impl AgentView {
    /// Whether a key of its configuration is `true`.
    pub fn is_on(&self, key: &str) -> bool {
        self.configuration.get(key).is_some_and(|text| text == "true")
    }
}

/// Whether an agent reaches the API server of its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApiServerView {
    /// It does.
    Reached,
    /// It does not.
    Lost,
}

/// Where a node became known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeSource {
    /// It is the agent's own.
    Local,
    /// By its CiliumNode.
    CustomResource,
    /// By the cluster mesh.
    ClusterMesh,
}

impl NodeSource {
    /// As commands print it.
    pub fn as_str(self) -> &'static str {
        match self {
            NodeSource::Local => "local",
            NodeSource::CustomResource => "custom-resource",
            NodeSource::ClusterMesh => "clustermesh",
        }
    }
}

/// A node.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeView {
    /// Its cluster.
    pub cluster: String,
    /// Its name.
    pub name: String,
    /// Its address on the network between the nodes.
    pub address: Ipv4Addr,
    /// Its `cilium_host` address.
    pub router: Ipv4Addr,
    /// Its health endpoint's address.
    pub health: Ipv4Addr,
    /// Where its pods live.
    pub pod_cidr: Ipv4Net,
    /// Where it became known.
    pub source: NodeSource,
}

impl NodeView {
    /// `cluster/name`.
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.cluster, self.name)
    }
}

/// Whether a node's own traffic is encrypted, as Cilium calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeEncryption {
    /// It is.
    Enabled,
    /// It is not.
    Disabled,
    /// The node's labels exempt it.
    OptedOut,
}

impl NodeEncryption {
    /// The word in the agent's status.
    pub fn word(self) -> &'static str {
        match self {
            NodeEncryption::Enabled => "Enabled",
            NodeEncryption::Disabled => "Disabled",
            NodeEncryption::OptedOut => "OptedOut",
        }
    }
}

/// Encryption between nodes.
#[derive(Clone, Debug, PartialEq)]
pub enum EncryptionView {
    /// None.
    Disabled,
    /// WireGuard.
    WireGuard {
        /// The node's public key, in base64.
        public_key: String,
        /// The UDP port.
        port: u16,
        /// The other nodes.
        peers: Vec<PeerStatus>,
        /// Whether the node's own traffic is encrypted, too.
        nodes: NodeEncryption,
    },
}

/// An address and what it is.
#[derive(Clone, Debug, PartialEq)]
pub struct AddressView {
    /// The addresses.
    pub cidr: Ipv4Net,
    /// Whose.
    pub identity: u32,
    /// The node that has them; none for the outside and for nodes.
    pub host: Option<Ipv4Addr>,
    /// Whether traffic to it is encrypted.
    pub encrypted: bool,
    /// Namespace, name and source of a pod.
    pub pod: Option<(String, String, &'static str)>,
}

/// The policies that an agent has.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PolicyView {
    /// Counts up with every change; 1 with no policy.
    pub revision: u64,
    /// The rules, as `policy get` prints them.
    pub rules: Vec<Value>,
    /// Names that the DNS proxy saw resolved.
    pub names: Vec<NameView>,
}

/// A name that an endpoint looked up.
#[derive(Clone, Debug, PartialEq)]
pub struct NameView {
    /// The endpoint's number.
    pub endpoint: u16,
    /// The name, without its last dot.
    pub name: String,
    /// What it resolved to.
    pub address: Ipv4Addr,
    /// When.
    pub looked_up: SystemTime,
    /// For how long that holds.
    pub ttl: Duration,
}

/// Flows with what is needed to name their parties.
#[derive(Clone, Debug)]
pub struct FlowView {
    /// The node's name, `cluster/name`.
    pub node: String,
    /// The node's labels.
    pub node_labels: Vec<String>,
    /// The events, oldest first.
    pub events: Vec<FlowEvent>,
    /// Known addresses.
    pub addresses: Vec<AddressView>,
    /// Known identities.
    pub identities: Vec<(u32, Vec<String>)>,
    /// Local endpoints.
    pub endpoints: Vec<EndpointView>,
}
