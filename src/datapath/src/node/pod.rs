//! A pod's network: a namespace whose `eth0` is a veth, with the other end in the node's namespace.

use super::{NodeHandle, devices, worker::Attached};
use crate::{
    config::PodConfig,
    device::{DeviceError, End, Mac, Netlink, index_of, try_sysctl},
    fabric::mac,
    name::NodeName,
    netns::{Namespace, NamespaceError},
    socket::{PacketSocket, Reads},
    sync::off_runtime,
};
use ipnet::Ipv4Net;
use std::net::Ipv4Addr;

/// Why a pod's network could not be made or removed.
#[derive(Debug, thiserror::Error)]
pub enum PodError {
    /// Its node has shut down.
    #[error("node {0} has shut down")]
    NodeGone(NodeName),
    /// Another pod of the node has the address.
    #[error("node {node} already has a pod at {address}")]
    AddressTaken {
        /// The node.
        node: NodeName,
        /// The address.
        address: Ipv4Addr,
    },
    /// No pod of the node has the address.
    #[error("node {node} has no pod at {address}")]
    Unknown {
        /// The node.
        node: NodeName,
        /// The address.
        address: Ipv4Addr,
    },
    /// No namespace could be made.
    #[error("failed to create the namespace of the pod at {address} on node {node}")]
    Namespace {
        /// The node.
        node: NodeName,
        /// The pod.
        address: Ipv4Addr,
        /// Why.
        source: NamespaceError,
    },
    /// A device could not be made.
    #[error("failed to create the devices of the pod at {address} on node {node}")]
    Device {
        /// The node.
        node: NodeName,
        /// The pod.
        address: Ipv4Addr,
        /// Why.
        source: DeviceError,
    },
}

/// A pod's network.
#[derive(Clone, Debug)]
pub struct PodNet {
    namespace: Namespace,
    address: Ipv4Addr,
}

impl PodNet {
    /// Where the pod's processes are to be started.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Its address.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Sets a network sysctl (`ipv4/ping_group_range`), if the machine lets it.
    pub async fn set_sysctl(&self, name: &str, value: &str) {
        let (namespace, name, value) = (self.namespace.clone(), name.to_owned(), value.to_owned());
        let entered = off_runtime(move || namespace.within(|| try_sysctl(&name, &value))).await;
        if let Err(error) = entered {
            tracing::debug!(%error, address = %self.address, "no sysctl is set in a pod's network");
        }
    }
}

/// The node's end of a pod's link.
impl NodeHandle {
    /// Makes a pod's network namespace and attaches it to the switch.
    ///
    /// # Errors
    /// When the address is taken, the node has shut down, or the kernel refuses a namespace or device.
    pub async fn add_pod(&self, config: PodConfig) -> Result<PodNet, PodError> {
        add(self, config).await
    }

    /// Detaches a pod; its established flows are forgotten. The namespace itself lives on while somebody holds it.
    ///
    /// # Errors
    /// When there is no such pod or the node has shut down.
    pub async fn remove_pod(&self, address: Ipv4Addr) -> Result<(), PodError> {
        remove(self, address).await
    }
}

fn device_name(address: Ipv4Addr) -> String {
    format!("lxc{:08x}", u32::from(address))
}

fn pod_mac(address: Ipv4Addr) -> Mac {
    mac(0, address)
}

async fn add(node: &NodeHandle, config: PodConfig) -> Result<PodNet, PodError> {
    let (name, address) = (node.name().clone(), config.address);
    let has_it = node.ask(move |worker| worker.has_pod(address)).await;
    match has_it {
        None => return Err(PodError::NodeGone(name)),
        Some(true) => return Err(PodError::AddressTaken { node: name, address }),
        Some(false) => {}
    }
    let (host, mtu) = (node.namespace().clone(), node.inner.fabric.config().mtu);
    let route_mtu = node.route_mtu();
    let made = off_runtime(move || make(&host, address, mtu, route_mtu)).await;
    let (namespace, socket) = made.map_err(|error| match error {
        MakeError::Namespace(source) => PodError::Namespace {
            node: name.clone(),
            address,
            source,
        },
        MakeError::Device(source) => PodError::Device {
            node: name.clone(),
            address,
            source,
        },
    })?;
    let attached = Attached {
        socket,
        mac: pod_mac(address),
    };
    let added = node.ask(move |worker| worker.add_pod(&config, attached)).await;
    match added {
        Some(Ok(())) => {
            if let Some(balancer) = node.socket_balancer() {
                balancer.add_pod(address, namespace.clone());
            }
            Ok(PodNet { namespace, address })
        }
        Some(Err(source)) => {
            let source = DeviceError::Setting {
                action: "watch",
                device: device_name(address),
                source,
            };
            Err(PodError::Device {
                node: name,
                address,
                source,
            })
        }
        None => Err(PodError::NodeGone(name)),
    }
}

enum MakeError {
    Namespace(NamespaceError),
    Device(DeviceError),
}

impl From<NamespaceError> for MakeError {
    fn from(error: NamespaceError) -> Self {
        MakeError::Namespace(error)
    }
}

impl From<DeviceError> for MakeError {
    fn from(error: DeviceError) -> Self {
        MakeError::Device(error)
    }
}

fn make(host: &Namespace, address: Ipv4Addr, mtu: u16, route_mtu: u16) -> Result<(Namespace, PacketSocket), MakeError> {
    let namespace = Namespace::new()?;
    let device = device_name(address);
    let socket = host.within(|| {
        let netlink = Netlink::open()?;
        let near = End {
            name: &device,
            mac: mac(5, address),
        };
        let far = End {
            name: "eth0",
            mac: pod_mac(address),
        };
        netlink.add_veth(near, far, &namespace, mtu)?;
        netlink.bring_up(&device)?;
        PacketSocket::open(index_of(&device)?, Reads::All).map_err(|source| DeviceError::Setting {
            action: "open a packet socket on",
            device: device.clone(),
            source,
        })
    })??;
    namespace.within(|| {
        let netlink = Netlink::open()?;
        devices::set_process_sysctls();
        netlink.bring_up_loopback()?;
        netlink.bring_up("eth0")?;
        netlink.add_address("eth0", address, 32)?;
        netlink.add_route("eth0", Ipv4Net::default(), None, Some(route_mtu))
    })??;
    Ok((namespace, socket))
}

async fn remove(node: &NodeHandle, address: Ipv4Addr) -> Result<(), PodError> {
    let name = node.name().clone();
    if let Some(balancer) = node.socket_balancer() {
        balancer.remove_pod(address);
    }
    match node.ask(move |worker| worker.remove_pod(address)).await {
        None => return Err(PodError::NodeGone(name)),
        Some(false) => return Err(PodError::Unknown { node: name, address }),
        Some(true) => {}
    }
    let host = node.namespace().clone();
    let removed = off_runtime(move || host.within(|| Netlink::open()?.delete(&device_name(address)))).await;
    match removed {
        Ok(Ok(())) => Ok(()),
        Ok(Err(source)) => Err(PodError::Device {
            node: name,
            address,
            source,
        }),
        Err(source) => Err(PodError::Namespace {
            node: name,
            address,
            source,
        }),
    }
}
