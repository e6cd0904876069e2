//! What an agent knows, as plain data: the only input of everything that its commands print.

use crate::topology::RoutingMode;
use ipnet::Ipv4Net;
use meshproof_datapath::{BackendState, Counters, FlowEvent, PeerStatus, Protocol};
use serde_json::Value;
use std::{
    net::Ipv4Addr,
    time::{Duration, SystemTime},
};

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
    /// How pod packets travel.
    pub routing: RoutingMode,
    /// Encryption between nodes.
    pub encryption: EncryptionView,
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
    /// What it last found out about the other nodes.
    pub health: HealthReport,
    /// What the data path counted.
    pub counters: Counters,
    /// How many flows it remembers at most.
    pub flow_capacity: usize,
    /// The policies in force.
    pub policy: PolicyView,
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
    },
}

/// A local endpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct EndpointView {
    /// Its number on the node.
    pub id: u16,
    /// What it is.
    pub kind: EndpointKind,
    /// Its security identity.
    pub identity: u32,
    /// The identity's labels, with sources.
    pub labels: Vec<String>,
    /// Labels that are no part of the identity.
    pub derived: Vec<String>,
    /// Its address; none for the host's.
    pub address: Option<Ipv4Addr>,
    /// Named ports of its containers: name, protocol, number.
    pub named_ports: Vec<(String, String, u16)>,
    /// When it was made.
    pub created: SystemTime,
    /// The policy that its data path enforces.
    pub policy: EndpointPolicy,
}

/// What an endpoint is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndpointKind {
    /// A pod.
    Pod {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// Its uid.
        uid: String,
        /// What made it, such as ("echo", "Deployment").
        workload: Option<(String, String)>,
    },
    /// The node itself.
    Host,
    /// The health endpoint.
    Health,
}

/// Whether and since which revision a policy is enforced at an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointPolicy {
    /// The revision that the data path has realised.
    pub revision: u64,
    /// Which directions are enforced.
    pub enabled: PolicyEnabled,
}

/// Directions in which a policy selects an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyEnabled {
    /// None.
    None,
    /// Ingress only.
    Ingress,
    /// Egress only.
    Egress,
    /// Both.
    Both,
}

impl PolicyEnabled {
    /// As commands print it.
    pub fn as_str(self) -> &'static str {
        match self {
            PolicyEnabled::None => "none",
            PolicyEnabled::Ingress => "ingress",
            PolicyEnabled::Egress => "egress",
            PolicyEnabled::Both => "both",
        }
    }
}

/// A frontend with its backends.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceView {
    /// Its number, from 1.
    pub id: u32,
    /// Namespace of the Kubernetes Service.
    pub namespace: String,
    /// Name of the Kubernetes Service.
    pub name: String,
    /// `ClusterIP`, `NodePort`, ...
    pub kind: &'static str,
    /// Address; 0.0.0.0 for node ports.
    pub address: Ipv4Addr,
    /// Port.
    pub port: u16,
    /// Protocol.
    pub protocol: Protocol,
    /// External traffic policy, where it matters.
    pub external_policy: &'static str,
    /// Internal traffic policy.
    pub internal_policy: &'static str,
    /// Who answers.
    pub backends: Vec<BackendView>,
}

/// A backend.
#[derive(Clone, Debug, PartialEq)]
pub struct BackendView {
    /// Its address.
    pub address: Ipv4Addr,
    /// Its port.
    pub port: u16,
    /// Its state.
    pub state: BackendState,
    /// The node, if it is one of this cluster.
    pub node: Option<String>,
    /// The node's zone, if it has one.
    pub zone: Option<String>,
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

/// Another cluster, as agents or KVStoreMesh see it.
#[derive(Clone, Debug, PartialEq)]
pub struct RemoteView {
    /// Its name.
    pub name: String,
    /// How the connection is.
    pub phase: RemotePhase,
    /// Nodes, endpoints, identities, shared services.
    pub counts: crate::mesh::Counts,
    /// How often the connection was found broken.
    pub failures: u64,
    /// When last.
    pub last_failure: Option<SystemTime>,
    /// Stands for etcd's cluster id in texts.
    pub etcd_id: u64,
}

/// How the connection to another cluster is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RemotePhase {
    /// Never established, or broken.
    Waiting,
    /// Connected, but the other's configuration has not been read.
    Unconfigured,
    /// Connected and configured, but services are still being read.
    Syncing {
        /// The other's id.
        cluster_id: u8,
    },
    /// All is well.
    Ready {
        /// The other's id.
        cluster_id: u8,
    },
}

/// What the health daemon found out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HealthReport {
    /// When the last round of probes began.
    pub timestamp: Option<SystemTime>,
    /// The time between two rounds.
    pub interval: Duration,
    /// One entry a node.
    pub nodes: Vec<NodeHealth>,
}

/// What is known about the way to one node.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeHealth {
    /// `cluster/name`.
    pub name: String,
    /// To its own address.
    pub host: PathHealth,
    /// To its health endpoint.
    pub endpoint: PathHealth,
}

/// One path.
#[derive(Clone, Debug, PartialEq)]
pub struct PathHealth {
    /// Where to.
    pub address: Ipv4Addr,
    /// When it was tried last; none for never.
    pub probed: Option<SystemTime>,
    /// Time to establish a connection, or what was wrong.
    pub icmp: Result<Duration, String>,
    /// Time of a whole request, or what was wrong.
    pub http: Result<Duration, String>,
}

impl PathHealth {
    /// Whether the last probe went through; a path never tried counts as reachable, as in the real summary.
    pub fn is_reachable(&self) -> bool {
        self.icmp.is_ok() && self.http.is_ok()
    }
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
