//! What a caller says about a fabric, a node, a pod and a peer. Data only: nothing here acts.

use crate::{
    identity::Identity,
    name::{ClusterName, EndpointName, NodeName},
};
use boringtun::x25519;
use ipnet::Ipv4Net;
use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

/// The network between the nodes.
#[derive(Clone, Debug)]
pub struct FabricConfig {
    /// Links between nodes of one cluster.
    pub within_cluster: LinkProfile,
    /// Links between nodes of different clusters.
    pub between_clusters: LinkProfile,
    /// Link MTU in bytes, of the IP packet.
    pub mtu: u16,
    /// Seed of every random choice that a link makes (loss, reordering), so that a run can be repeated.
    pub seed: u64,
}

impl Default for FabricConfig {
    fn default() -> Self {
        Self {
            within_cluster: LinkProfile {
                latency: Duration::ZERO,
            },
            between_clusters: LinkProfile {
                latency: Duration::from_millis(2),
            },
            mtu: 1500,
            seed: 0x6d65_7368,
        }
    }
}

/// How a healthy link behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkProfile {
    /// One-way latency.
    pub latency: Duration,
}

/// How pod packets travel between nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Routing {
    /// In VXLAN between node addresses (Cilium's `routing-mode: tunnel`).
    Vxlan {
        /// UDP port on every node; Cilium uses 8472.
        port: u16,
    },
    /// As they are: straight into WireGuard or onto the fabric (Cilium's `routing-mode: native`).
    Native,
}

impl Default for Routing {
    fn default() -> Self {
        Routing::Vxlan { port: 8472 }
    }
}

/// Whether packets between nodes are encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// In clear.
    None,
    /// WireGuard between all peers.
    WireGuard {
        /// UDP port on every node; Cilium uses 51871.
        port: u16,
    },
}

impl Default for Encryption {
    fn default() -> Self {
        Encryption::WireGuard { port: 51871 }
    }
}

impl Encryption {
    /// What WireGuard costs by Cilium's reckoning (`WireguardOverhead` in pkg/mtu): 80 bytes, IPv6-safe.
    pub const WIREGUARD_OVERHEAD: u16 = 80;
}

impl Routing {
    /// What VXLAN costs: Ethernet, VXLAN, UDP and IPv4 headers (`TunnelOverheadIPv4` in Cilium's pkg/mtu).
    pub const VXLAN_OVERHEAD: u16 = 50;
}

/// One node.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Unique on the fabric.
    pub name: NodeName,
    /// The cluster it belongs to; decides which link profile applies.
    pub cluster: ClusterName,
    /// Address of `eth0` with the prefix of the node network.
    pub address: Ipv4Addr,
    /// Prefix length of the node network.
    pub prefix_len: u8,
    /// Address of `cilium_host`: where the host speaks to pods from, and where ICMP errors come from.
    pub router: Ipv4Addr,
    /// Addresses of this node's pods.
    pub pod_cidr: Ipv4Net,
    /// Pod CIDRs of every cluster: the host routes them to the switch, and they are never masqueraded.
    pub cluster_pod_cidrs: Vec<Ipv4Net>,
    /// Service CIDRs: the host routes them to the switch; an unknown service in them is dropped.
    pub service_cidrs: Vec<Ipv4Net>,
    /// Ports that the node's own address serves for NodePort services.
    pub node_ports: std::ops::RangeInclusive<u16>,
    /// How pod packets travel.
    pub routing: Routing,
    /// Whether they are encrypted.
    pub encryption: Encryption,
    /// What nodes themselves send each other, and send to or get from pods, is encrypted, too (Cilium's
    /// `encrypt-node`). In tunnel mode the tunnel carries the latter anyhow (semantics C1, C2).
    pub node_encryption: bool,
    /// Strict mode: what pods of this range send each other is dropped where it would leave unencrypted, because no
    /// key is known. Without it, it leaves, as Cilium does by default.
    pub strict_encryption: Option<Ipv4Net>,
    /// Backends are chosen where a process connects, and a flow stays with its own (Cilium's socket load balancing);
    /// what connect() and sendto() to a service without backends fail with. None: they are chosen by packet.
    pub socket_balancing: Option<RefusedCall>,
    /// Whether NodePorts of the cluster's other nodes are served here, too, for this node's processes; kube-proxy
    /// serves the node's own only.
    pub node_ports_elsewhere: bool,
    /// How the answer of a NodePort's backend on another node gets back. A tunnel has no room for the second way.
    pub dispatch: Dispatch,
    /// WireGuard key; generated when absent.
    pub secret_key: Option<SecretKey>,
    /// How many flow events the node remembers.
    pub flow_capacity: usize,
}

impl NodeConfig {
    /// A node with Cilium's defaults: VXLAN in WireGuard, NodePorts 30000 to 32767, the pod CIDR's first address as
    /// router, 4,095 remembered flows.
    pub fn new(
        name: impl Into<NodeName>,
        cluster: impl Into<ClusterName>,
        address: Ipv4Addr,
        pod_cidr: Ipv4Net,
    ) -> Self {
        let router = Ipv4Addr::from(u32::from(pod_cidr.network()).saturating_add(1));
        Self {
            name: name.into(),
            cluster: cluster.into(),
            address,
            prefix_len: 24,
            router,
            pod_cidr,
            cluster_pod_cidrs: vec![pod_cidr],
            service_cidrs: Vec::new(),
            node_ports: 30000..=32767,
            routing: Routing::default(),
            encryption: Encryption::default(),
            node_encryption: false,
            strict_encryption: None,
            socket_balancing: None,
            node_ports_elsewhere: true,
            dispatch: Dispatch::default(),
            secret_key: None,
            flow_capacity: 4095,
        }
    }

    /// The MTU of the pods' default route: what is left of `link` after the tunnel's and the encryption's overhead.
    pub fn route_mtu(&self, link: u16) -> u16 {
        let tunnel = match self.routing {
            Routing::Vxlan { .. } => Routing::VXLAN_OVERHEAD,
            Routing::Native => 0,
        };
        let encryption = match self.encryption {
            Encryption::WireGuard { .. } => Encryption::WIREGUARD_OVERHEAD,
            Encryption::None => 0,
        };
        link - tunnel - encryption
    }
}

/// `bpf-lb-mode` of Cilium's configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dispatch {
    /// Through the node that was asked.
    #[default]
    Snat,
    /// Straight to the client, with the address of the node that was asked: an IP option tells the backend's node which
    /// (`bpf-lb-dsr-dispatch: opt`, semantics B16). What such a node passes on goes in clear (semantics C5).
    Dsr,
}

/// What a call fails with that leads to a service without backends (semantics B1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusedCall {
    /// EPERM, as in Cilium 1.18 (cilium/cilium#45184).
    NotPermitted,
    /// EHOSTUNREACH, as meant, and as in Cilium 1.19.
    HostUnreachable,
}

/// A machine on the fabric other than a node: the world outside the clusters.
#[derive(Clone, Debug)]
pub struct HostConfig {
    /// Unique on the fabric, nodes included.
    pub name: NodeName,
    /// Address of its `eth0`.
    pub address: Ipv4Addr,
    /// Prefix length of its network.
    pub prefix_len: u8,
}

/// One pod's network.
#[derive(Clone, Debug)]
pub struct PodConfig {
    /// What flow events call it.
    pub name: EndpointName,
    /// Its address, out of the node's pod CIDR.
    pub address: Ipv4Addr,
    /// Its security identity; travels as VNI.
    pub identity: Identity,
}

/// Another node, as this node should know it.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its name.
    pub node: NodeName,
    /// Its cluster: only nodes of the own one have NodePorts that are translated where the client is (semantics B13).
    pub cluster: ClusterName,
    /// Its address on the fabric.
    pub address: Ipv4Addr,
    /// Its `cilium_host` address.
    pub router: Ipv4Addr,
    /// Where its pods live.
    pub pod_cidrs: Vec<Ipv4Net>,
    /// Its WireGuard key; without one nothing encrypted reaches it.
    pub public_key: Option<PublicKey>,
    /// Its WireGuard port.
    pub wireguard_port: u16,
}

impl Peer {
    /// Where its WireGuard listens.
    pub fn endpoint(&self) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(self.address), self.wireguard_port)
    }
}

/// A WireGuard public key.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey(pub [u8; 32]);

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl fmt::Display for PublicKey {
    /// Base64, as `wg` and Cilium print it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        for chunk in self.0.chunks(3) {
            let group = u32::from_be_bytes([0, chunk[0], *chunk.get(1).unwrap_or(&0), *chunk.get(2).unwrap_or(&0)]);
            for place in 0..4 {
                let symbol = if place <= chunk.len() {
                    ALPHABET[(group >> (18 - 6 * place)) as usize & 63]
                } else {
                    b'='
                };
                write!(f, "{}", char::from(symbol))?;
            }
        }
        Ok(())
    }
}

/// A WireGuard secret key. Its `Debug` does not show it.
#[derive(Clone)]
pub struct SecretKey(pub(crate) x25519::StaticSecret);

impl SecretKey {
    /// A fresh key.
    pub fn generate() -> Self {
        Self(x25519::StaticSecret::from(rand::random::<[u8; 32]>()))
    }

    /// The key that peers must know.
    pub fn public_key(&self) -> PublicKey {
        PublicKey(*x25519::PublicKey::from(&self.0).as_bytes())
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_print_as_base64() {
        assert_eq!(
            PublicKey([0; 32]).to_string(),
            "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
        );
        let counting = PublicKey(std::array::from_fn(|i| i as u8));
        assert_eq!(counting.to_string(), "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=");
    }

    #[test]
    fn route_mtu_is_ciliums() {
        let mut node = NodeConfig::new("a", "infra", [10, 25, 11, 11].into(), "10.244.1.0/24".parse().unwrap());
        assert_eq!(node.route_mtu(1500), 1370);
        node.encryption = Encryption::None;
        assert_eq!(node.route_mtu(1500), 1450);
        node.routing = Routing::Native;
        assert_eq!(node.route_mtu(1500), 1500);
        assert_eq!(node.router, Ipv4Addr::new(10, 244, 1, 1));
    }
}
