//! Three nodes in two clusters with two pods each, and servers in them.

use crate::probe;
use ipnet::Ipv4Net;
use meshproof_datapath::{
    Encryption, Fabric, FabricConfig, Identity, LinkProfile, NodeConfig, NodeHandle, NodeName, PodConfig, PodNet,
    RefusedCall, Routing,
};
use std::{
    net::{Ipv4Addr, SocketAddrV4},
    sync::OnceLock,
    time::Duration,
};
use tokio::runtime::Runtime;

/// TCP and UDP port of every server.
pub const PORT: u16 = 8080;

/// Runs something asynchronous of the data path's.
pub fn wait<T>(future: impl Future<Output = T>) -> T {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME
        .get_or_init(|| Runtime::new().expect("a runtime"))
        .block_on(future)
}

/// One node with its pods.
pub struct LabNode {
    pub handle: NodeHandle,
    pub pods: [PodNet; 2],
}

/// The whole.
pub struct Lab {
    pub fabric: Fabric,
    /// `infra-1`, `infra-2`, `apps-1`.
    pub nodes: [LabNode; 3],
}

/// What differs between labs.
#[derive(Clone)]
pub struct Shape {
    pub encryption: Encryption,
    pub routing: Routing,
    pub latency: Duration,
    pub strict_encryption: Option<Ipv4Net>,
    pub socket_balancing: Option<RefusedCall>,
    pub node_encryption: bool,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            encryption: Encryption::default(),
            routing: Routing::default(),
            latency: Duration::ZERO,
            strict_encryption: None,
            socket_balancing: None,
            node_encryption: false,
        }
    }
}

pub const INFRA_1: usize = 0;
pub const INFRA_2: usize = 1;
pub const APPS_1: usize = 2;

/// Service addresses.
pub const SERVICES: &str = "10.96.0.0/16";

impl Lab {
    /// A lab with Cilium's defaults and no latency.
    pub fn new() -> Self {
        Self::shaped(Shape::default())
    }

    pub fn shaped(shape: Shape) -> Self {
        wait(async {
            let config = FabricConfig {
                between_clusters: LinkProfile { latency: shape.latency },
                ..FabricConfig::default()
            };
            let fabric = Fabric::new(config).expect("a fabric");
            let places = [
                ("infra-1", "infra", 11, 244, 1),
                ("infra-2", "infra", 12, 244, 2),
                ("apps-1", "apps", 14, 246, 1),
            ];
            let mut nodes = Vec::new();
            for (name, cluster, host, net, third) in places {
                let cidr = format!("10.{net}.{third}.0/24").parse().expect("a CIDR");
                let mut config = NodeConfig::new(name, cluster, Ipv4Addr::new(10, 25, 11, host), cidr);
                config.cluster_pod_cidrs = ["10.244.0.0/16", "10.246.0.0/16"]
                    .map(|cidr| cidr.parse().expect("a CIDR"))
                    .into();
                config.service_cidrs = vec![SERVICES.parse().expect("a CIDR")];
                config.encryption = shape.encryption;
                config.routing = shape.routing;
                config.strict_encryption = shape.strict_encryption;
                config.socket_balancing = shape.socket_balancing;
                config.node_encryption = shape.node_encryption;
                let handle = Node::start(config, &fabric).await.expect("a node");
                let pods = [
                    add_pod(&handle, Ipv4Addr::new(10, net, third, 10)).await,
                    add_pod(&handle, Ipv4Addr::new(10, net, third, 11)).await,
                ];
                nodes.push(LabNode { handle, pods });
            }
            let peers: Vec<_> = nodes.iter().map(|node| node.handle.as_peer()).collect();
            for node in &nodes {
                let others = peers.iter().filter(|peer| peer.node != *node.handle.name());
                node.handle.set_peers(others.cloned().collect());
            }
            Lab {
                fabric,
                nodes: nodes.try_into().unwrap_or_else(|_| panic!("three nodes")),
            }
        })
    }

    pub fn node(&self, node: usize) -> &NodeHandle {
        &self.nodes[node].handle
    }

    pub fn name(&self, node: usize) -> NodeName {
        self.node(node).name().clone()
    }

    /// Pod 0 or 1 of a node.
    pub fn pod(&self, node: usize, pod: usize) -> &PodNet {
        &self.nodes[node].pods[pod]
    }

    /// The pod's server.
    pub fn server(&self, node: usize, pod: usize) -> SocketAddrV4 {
        SocketAddrV4::new(self.pod(node, pod).address(), PORT)
    }
}

use meshproof_datapath::Node;

/// A pod with a TCP and a UDP server that answer with the pod's address and the client's.
pub async fn add_pod(node: &NodeHandle, address: Ipv4Addr) -> PodNet {
    let identity = Identity(10_000 + u32::from(address.octets()[3]));
    let pod = node
        .add_pod(PodConfig {
            name: format!("demo/{address}").into(),
            address,
            identity,
        })
        .await
        .expect("a pod");
    probe::serve(pod.namespace(), PORT, address.to_string());
    pod
}

/// Waits until the condition holds, at most five seconds; returns whether it did.
pub fn eventually(mut condition: impl FnMut() -> bool) -> bool {
    let deadline = std::time::Instant::now() + Duration::from_secs(5);
    while std::time::Instant::now() < deadline {
        if condition() {
            return true;
        }
        std::thread::yield_now();
    }
    false
}
