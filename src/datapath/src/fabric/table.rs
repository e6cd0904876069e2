//! Who is attached to the fabric, and which routes and faults are in force: replaced as a whole with every change.

use crate::{
    device::Mac,
    fault::{Fault, FaultId},
    name::{ClusterName, NodeName},
    reactor::Waker,
    socket::PacketSocket,
    switch::WirePorts,
};
use ipnet::Ipv4Net;
use std::{collections::HashMap, net::Ipv4Addr, sync::Arc};

/// A consistent view of the fabric.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    pub version: u64,
    pub ports: Vec<Arc<Port>>,
    pub routes: Vec<(Ipv4Net, NodeName)>,
    pub faults: Arc<Vec<(FaultId, Fault)>>,
    pub(super) by_address: HashMap<Ipv4Addr, usize>,
}

/// Where a machine is attached.
#[derive(Debug)]
pub(crate) struct Port {
    pub name: NodeName,
    pub cluster: Option<ClusterName>,
    pub address: Ipv4Addr,
    /// The machine's `eth0`.
    pub mac: Mac,
    /// The fabric's end of the machine's link.
    pub socket: PacketSocket,
    /// The fabric's end of the machine's second link; only nodes have one.
    pub second: Option<PacketSocket>,
    /// What the machine's kernel must not see of what arrives; `None` if it has no switch.
    pub switch: Option<WirePorts>,
    pub wireguard_port: Option<u16>,
    pub waker: Waker,
}

/// What a machine says of itself when it is attached.
pub(crate) struct Attachment {
    pub name: NodeName,
    pub cluster: Option<ClusterName>,
    pub address: Ipv4Addr,
    pub switch: Option<WirePorts>,
    pub wireguard_port: Option<u16>,
    pub prefixes: Vec<Ipv4Net>,
    pub waker: Waker,
}

impl Table {
    /// The machine that has the address, or that a route leads to; the longest prefix wins.
    pub(crate) fn find(&self, address: Ipv4Addr) -> Option<usize> {
        if let Some(port) = self.by_address.get(&address) {
            return Some(*port);
        }
        let route = self.routes.iter().filter(|(prefix, _)| prefix.contains(&address));
        let (_, name) = route.max_by_key(|(prefix, _)| prefix.prefix_len())?;
        self.ports.iter().position(|port| port.name == *name)
    }

    /// Brings the index in line with the ports.
    pub(super) fn reindex(&mut self) {
        self.by_address = self
            .ports
            .iter()
            .enumerate()
            .map(|(index, port)| (port.address, index))
            .collect();
    }
}
