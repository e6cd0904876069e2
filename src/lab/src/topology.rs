//! The shape of the lab as data: clusters, nodes, addresses, links. The constants on top are the default topology;
//! nothing here acts.

use crate::{
    installation::Installation,
    profile::{EncryptionMode, Profile, RoutingMode, Settings, StrictMode},
};
use ipnet::Ipv4Net;
use meshproof_datapath::{Encryption, Routing};
use serde::{Deserialize, Serialize};
use std::{net::Ipv4Addr, time::Duration};

/// The one image that the lab's nodes can run: the probe agent.
pub const AGENT_IMAGE: &str = "meshproof.dev/agent:lab";
/// The version of Kubernetes that the lab's API servers and kubelets claim: the one of the recordings.
pub const KUBERNETES_VERSION: &str = "v1.36.2";
/// The domain of every cluster's DNS.
pub const CLUSTER_DOMAIN: &str = "cluster.local";
/// How long a packet takes between nodes of different clusters, one way.
pub const BETWEEN_CLUSTERS: Duration = Duration::from_millis(2);
/// How many nodes a cluster has.
pub const NODES: u8 = 3;
/// Prefix length of the network that joins all nodes.
pub const NODE_PREFIX_LEN: u8 = 24;
/// Ports of NodePort services.
pub const NODE_PORTS: std::ops::RangeInclusive<u16> = 30000..=32767;

/// The cluster with mutual authentication, which is off by default: so both cases are there.
const MUTUAL_AUTHENTICATION: &str = "apps";

type Octets = [u8; 4];

/// The default clusters: name, id, pod CIDR, service CIDR, address of the first node.
const CLUSTERS: [(&str, u8, Octets, Octets, Octets); 2] = [
    ("infra", 1, [10, 244, 0, 0], [10, 96, 0, 0], [10, 25, 11, 11]),
    ("apps", 2, [10, 246, 0, 0], [10, 97, 0, 0], [10, 25, 11, 14]),
];

/// Everything about the lab that is decided before it starts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Topology {
    /// The clusters, in order.
    pub clusters: Vec<ClusterSpec>,
    /// One-way latency between nodes of one cluster.
    pub within_cluster: Duration,
    /// One-way latency between nodes of different clusters.
    pub between_clusters: Duration,
    /// MTU of the links between nodes, in bytes.
    pub mtu: u16,
    /// How Cilium is configured in all of them.
    pub profile: Profile,
}

/// One cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClusterSpec {
    /// Its name in the mesh, which is also its kubeconfig context.
    pub name: String,
    /// Cilium's cluster id, 1 to 255.
    pub id: u8,
    /// Addresses of its pods; every node has a /24 of it.
    pub pod_cidr: Ipv4Net,
    /// Addresses of its services.
    pub service_cidr: Ipv4Net,
    /// Whether its identities can authenticate each other.
    pub mutual_authentication: bool,
    /// What operators gave to Helm for it; none where the profile says all.
    #[serde(default)]
    pub installation: Option<Installation>,
    /// Its nodes.
    pub nodes: Vec<NodeSpec>,
}

/// One node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeSpec {
    /// Unique in the lab.
    pub name: String,
    /// Its address on the network between the nodes.
    pub address: Ipv4Addr,
    /// Addresses of its pods.
    pub pod_cidr: Ipv4Net,
}

impl NodeSpec {
    /// The address of Cilium's health endpoint on this node. No pod gets it.
    pub fn health_address(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.pod_cidr.broadcast()) - 1)
    }

    /// An address of the node's pods that nobody ever has.
    pub fn unused_address(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.pod_cidr.broadcast()) - 2)
    }
}

impl Default for Topology {
    fn default() -> Self {
        Self::with_nodes(NODES)
    }
}

impl Topology {
    /// The default clusters with so many nodes each, 1 to 80.
    pub fn with_nodes(nodes: u8) -> Self {
        let nodes = nodes.clamp(1, 80);
        let clusters = CLUSTERS
            .iter()
            .enumerate()
            .map(|(index, (name, id, pods, services, first))| {
                // The addresses of the mission leave room for three nodes a cluster: more shift the second cluster.
                let extra = u32::from(nodes.saturating_sub(NODES)) * index as u32;
                let first = u32::from(Ipv4Addr::from(*first)) + extra;
                ClusterSpec::new(name, *id, (*pods).into(), (*services).into(), first.into(), nodes)
            });
        Self {
            clusters: clusters.collect(),
            within_cluster: Duration::ZERO,
            between_clusters: BETWEEN_CLUSTERS,
            mtu: 1500,
            profile: Profile::default(),
        }
    }

    /// Where pods live as nodes see it: what lies in it is never masqueraded, and not the world. Native routing takes
    /// one prefix for all clusters, with what no cluster has.
    pub fn pod_ranges(&self) -> Vec<Ipv4Net> {
        match self.settings().routing {
            RoutingMode::Tunnel => self.clusters.iter().map(|cluster| cluster.pod_cidr).collect(),
            RoutingMode::Native => vec![self.native_range()],
        }
    }

    /// The cluster of that name.
    pub fn cluster(&self, name: &str) -> Option<&ClusterSpec> {
        self.clusters.iter().find(|cluster| cluster.name == name)
    }

    /// How the data path is to route.
    pub fn datapath_routing(&self) -> Routing {
        match self.settings().routing {
            RoutingMode::Tunnel => Routing::default(),
            RoutingMode::Native => Routing::Native,
        }
    }

    /// How Cilium is configured: as the profile says, but for what operators gave to Helm.
    pub fn settings(&self) -> Settings {
        let profile = self.profile.settings();
        let installed = self.clusters.iter().find_map(|cluster| cluster.installation.as_ref());
        installed.map_or(*profile, |installation| installation.over(profile))
    }

    /// The same clusters, configured so.
    #[must_use]
    pub fn configured(self, profile: Profile) -> Self {
        Self { profile, ..self }
    }

    /// The range in which a cluster's encryption is strict; none where it is not. Cilium takes one prefix only, which
    /// has to cover the other clusters' pods if they are to be meant (semantics C8).
    pub fn strict_range(&self, cluster: &ClusterSpec) -> Option<Ipv4Net> {
        if let Some(installation) = &cluster.installation {
            return installation.strict_range();
        }
        match self.settings().strict {
            StrictMode::Off => None,
            StrictMode::LastCluster => {
                let is_last = self.clusters.last().is_some_and(|last| last.name == cluster.name);
                is_last.then_some(cluster.pod_cidr)
            }
            StrictMode::AllClusters => Some(self.native_range()),
        }
    }

    /// What native routing does not masquerade, as a cluster states it.
    pub fn stated_native_range(&self, cluster: &ClusterSpec) -> Ipv4Net {
        let stated = cluster.installation.as_ref().and_then(Installation::native_range);
        stated.unwrap_or_else(|| self.native_range())
    }

    /// The smallest prefix that holds the pods of all clusters: what native routing must not masquerade.
    pub fn native_range(&self) -> Ipv4Net {
        let holds_all = |range: &Ipv4Net| self.clusters.iter().all(|cluster| range.contains(&cluster.pod_cidr));
        let first = self
            .clusters
            .first()
            .map(|cluster| cluster.pod_cidr)
            .unwrap_or_default();
        let wider = std::iter::successors(Some(first), Ipv4Net::supernet);
        wider.into_iter().find(holds_all).unwrap_or_default()
    }

    /// How the data path is to encrypt.
    pub fn datapath_encryption(&self) -> Encryption {
        match self.settings().encryption {
            EncryptionMode::WireGuard => Encryption::default(),
            EncryptionMode::None => Encryption::None,
        }
    }
}

impl ClusterSpec {
    /// Where Services of type LoadBalancer get their addresses from.
    pub fn pool(&self) -> Ipv4Net {
        let network = Ipv4Addr::new(192, 168, 41 + self.id, 0);
        Ipv4Net::new_assert(network, 24)
    }

    fn new(name: &str, id: u8, pods: Ipv4Addr, services: Ipv4Addr, first: Ipv4Addr, nodes: u8) -> Self {
        let nodes = (1..=nodes).map(|n| NodeSpec {
            name: format!("{name}-{n}"),
            address: Ipv4Addr::from(u32::from(first) + u32::from(n) - 1),
            pod_cidr: net(Ipv4Addr::from(u32::from(pods) + (u32::from(n) << 8)), 24),
        });
        Self {
            name: name.to_owned(),
            id,
            pod_cidr: net(pods, 16),
            service_cidr: net(services, 16),
            mutual_authentication: name == MUTUAL_AUTHENTICATION,
            installation: None,
            nodes: nodes.collect(),
        }
    }

    /// The address of the cluster's DNS service: the tenth of the service CIDR, as installers choose it.
    pub fn dns_address(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.service_cidr.network()) + 10)
    }

    /// The node on which the API server answers, as far as endpoints say: the first. What nodes and pods really talk to
    /// is outside of the lab's network.
    pub fn api_server(&self) -> Option<Ipv4Addr> {
        self.nodes.first().map(|node| node.address)
    }

    /// The address of the service `kubernetes`: the first of the service CIDR.
    pub fn api_address(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.service_cidr.network()) + 1)
    }
}

fn net(address: Ipv4Addr, len: u8) -> Ipv4Net {
    Ipv4Net::new(address, len).expect("the prefix length is at most 32")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_the_mission() {
        let topology = Topology::default();
        let addresses = |cluster: &str| {
            let nodes = &topology.cluster(cluster).unwrap().nodes;
            nodes.iter().map(|n| n.address.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(addresses("infra"), ["10.25.11.11", "10.25.11.12", "10.25.11.13"]);
        assert_eq!(addresses("apps"), ["10.25.11.14", "10.25.11.15", "10.25.11.16"]);
        let apps = topology.cluster("apps").unwrap();
        assert_eq!(apps.nodes[1].pod_cidr.to_string(), "10.246.2.0/24");
        assert_eq!(apps.dns_address().to_string(), "10.97.0.10");
        assert_eq!(apps.nodes[2].name, "apps-3");
    }

    #[test]
    fn one_prefix_holds_the_pods_of_all_clusters() {
        let topology = Topology::default();
        assert_eq!(topology.native_range().to_string(), "10.244.0.0/14");
        let strict = |profile: Profile| {
            let topology = topology.clone().configured(profile);
            let ranges = topology.clusters.iter().map(|cluster| topology.strict_range(cluster));
            ranges
                .map(|range| range.map(|range| range.to_string()))
                .collect::<Vec<_>>()
        };
        let all = Some("10.244.0.0/14".to_owned());
        assert_eq!(strict(Profile::Tunnel), [None, Some("10.246.0.0/16".to_owned())]);
        assert_eq!(strict(Profile::Native), [all.clone(), all]);
        assert_eq!(strict(Profile::Plain), [None, None]);
    }

    #[test]
    fn more_nodes_never_share_an_address() {
        let topology = Topology::with_nodes(80);
        let mut all: Vec<_> = topology
            .clusters
            .iter()
            .flat_map(|c| c.nodes.iter().map(|n| n.address))
            .collect();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 160);
    }
}
