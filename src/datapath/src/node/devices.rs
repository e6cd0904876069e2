//! The devices and sockets of a node's own namespace: `eth0`, `cilium_host` with its far end, routes, tunnel sockets.

use crate::{
    config::{Encryption, NodeConfig, Routing},
    device::{DeviceError, End, Mac, Netlink, index_of, try_sysctl},
    fabric::mac,
    netns::Namespace,
    socket::{PacketSocket, Reads, TunnelSocket},
    switch::LOOPBACK,
};
use ipnet::Ipv4Net;
use std::net::Ipv4Addr;

/// The network of the nodes' second links, which nobody uses: many nodes have such a one, for storage or management.
const SECOND: [u8; 2] = [172, 31];

/// What the node's thread reads and writes.
#[derive(Debug)]
pub(super) struct Devices {
    /// The far end of `cilium_host`.
    pub host: PacketSocket,
    /// MAC address of `cilium_host`.
    pub host_mac: Mac,
    /// What arrives on `eth0` for the switch, and what the switch sends out of it without a tunnel.
    pub wire: PacketSocket,
    /// MAC address of `eth0`.
    pub wire_mac: Mac,
    /// The same of `eth1`.
    pub second: PacketSocket,
    pub wireguard: Option<TunnelSocket>,
    pub vxlan: Option<TunnelSocket>,
}

/// Makes them, in the node's namespace, in which the calling thread is.
pub(super) fn make(config: &NodeConfig, mtu: u16, namespace: &Namespace) -> Result<Devices, DeviceError> {
    let netlink = Netlink::open()?;
    netlink.bring_up_loopback()?;
    // Ports above belong to the switch's translations; pods' answers may come in on another device than they leave by.
    try_sysctl("ipv4/ip_local_port_range", "32768 49151");
    for device in ["all", "default"] {
        try_sysctl(&format!("ipv4/conf/{device}/rp_filter"), "0");
    }
    // As systemd leaves it on a node; a pod's network keeps the kernel's `1 0`, in which nobody may ping.
    try_sysctl("ipv4/ping_group_range", "0 0");
    set_process_sysctls();

    netlink.bring_up("eth0")?;
    netlink.add_address("eth0", config.address, config.prefix_len)?;
    netlink.add_route("eth0", Ipv4Net::default(), None, None)?;
    let [.., cluster, node] = config.address.octets();
    netlink.bring_up("eth1")?;
    netlink.add_address("eth1", Ipv4Addr::new(SECOND[0], SECOND[1], cluster, node), 16)?;

    let host_mac = mac(3, config.router);
    let (near, far) = (
        End {
            name: "cilium_host",
            mac: host_mac,
        },
        End {
            name: "cilium_net",
            mac: mac(4, config.router),
        },
    );
    netlink.add_veth(near, far, namespace, mtu)?;
    netlink.bring_up("cilium_host")?;
    netlink.bring_up("cilium_net")?;
    netlink.add_address("cilium_host", config.router, 32)?;
    let route_mtu = Some(config.route_mtu(mtu));
    let mut prefixes = config.cluster_pod_cidrs.clone();
    prefixes.push(config.pod_cidr);
    prefixes.extend(&config.service_cidrs);
    prefixes.push(Ipv4Net::from(LOOPBACK));
    prefixes.sort_unstable();
    prefixes.dedup();
    for prefix in prefixes {
        netlink.add_route("cilium_host", prefix, Some(config.router), route_mtu)?;
    }

    let open = |device: &'static str, reads| {
        PacketSocket::open(index_of(device)?, reads).map_err(|source| DeviceError::Setting {
            action: "open a packet socket on",
            device: device.into(),
            source,
        })
    };
    let bind = |port: u16| {
        TunnelSocket::bind(port).map_err(|source| DeviceError::Setting {
            action: "bind a tunnel's UDP port on",
            device: format!("eth0 (port {port})"),
            source,
        })
    };
    let wireguard = match config.encryption {
        Encryption::WireGuard { port } => {
            let socket = bind(port)?;
            // The routes to the peers lead into the switch when it encrypts the nodes' own traffic.
            socket.bind_to_device("eth0").map_err(|source| DeviceError::Setting {
                action: "bind WireGuard's socket to",
                device: "eth0".into(),
                source,
            })?;
            Some(socket)
        }
        Encryption::None => None,
    };
    Ok(Devices {
        host: open("cilium_net", Reads::All)?,
        host_mac,
        wire: open("eth0", Reads::ForOthers)?,
        wire_mac: mac(1, config.address),
        second: open("eth1", Reads::ForOthers)?,
        wireguard,
        vxlan: match config.routing {
            Routing::Vxlan { port } => Some(bind(port)?),
            Routing::Native => None,
        },
    })
}

/// Leads what the node's own processes send to other nodes into the switch, which encrypts it. To be called on a thread
/// in the node's namespace.
pub(super) fn route_nodes(config: &NodeConfig, mtu: u16, peers: &[Ipv4Addr]) -> Result<(), DeviceError> {
    let netlink = Netlink::open()?;
    let route_mtu = Some(config.route_mtu(mtu));
    for peer in peers {
        netlink.add_route("cilium_host", Ipv4Net::from(*peer), Some(config.address), route_mtu)?;
    }
    Ok(())
}

/// What a container runtime sets in every pod: no privilege needed for low ports. And no IPv6.
pub(super) fn set_process_sysctls() {
    try_sysctl("ipv4/ip_unprivileged_port_start", "0");
    try_sysctl("ipv6/conf/all/disable_ipv6", "1");
    try_sysctl("ipv6/conf/default/disable_ipv6", "1");
}
