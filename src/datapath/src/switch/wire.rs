//! Which of the packets that arrive at a node are its switch's, and not its kernel's.

use super::TRANSLATED_PORTS;
use crate::{
    packet::{Headers, Transport},
    service::{Frontend, Protocol, Service},
    sync::lock,
};
use std::{
    collections::HashSet,
    net::Ipv4Addr,
    ops::RangeInclusive,
    sync::{Arc, Mutex},
};

/// Ports of a node's address that its switch serves, for whoever sits at the other end of `eth0`, too. Every clone is
/// the same.
#[derive(Clone, Debug)]
pub(crate) struct WirePorts {
    address: Ipv4Addr,
    node_ports: RangeInclusive<u16>,
    reserved: Vec<u16>,
    /// Ports of services at this node's address alone.
    own: Arc<Mutex<HashSet<(Protocol, u16)>>>,
}

impl WirePorts {
    /// Those of a node without services.
    pub(super) fn new(address: Ipv4Addr, node_ports: RangeInclusive<u16>, reserved: Vec<u16>) -> Self {
        Self {
            address,
            node_ports,
            reserved,
            own: Arc::default(),
        }
    }

    /// Takes the services in that are at the node's address.
    pub(super) fn set_services(&self, services: &[Service]) {
        let at_node = services.iter().filter_map(|service| match service.frontend {
            Frontend::Address { address, protocol } if *address.ip() == self.address => {
                Some((protocol, address.port()))
            }
            Frontend::Address { .. } | Frontend::NodePort { .. } => None,
        });
        *lock(&self.own) = at_node.collect();
    }

    /// Whether the stack of this node must not see a packet that arrives on `eth0`: it is for a pod, for a service at
    /// the node's address or for a translated source.
    pub(crate) fn want(&self, headers: &Headers) -> bool {
        if headers.destination() != self.address {
            return true;
        }
        let (protocol, port) = (headers.tuple.protocol, headers.tuple.destination.port());
        let is_ours = self.node_ports.contains(&port)
            || (TRANSLATED_PORTS.contains(&port) && !self.reserved.contains(&port))
            || lock(&self.own).contains(&(protocol, port));
        let is_echo_request = matches!(headers.transport, Transport::IcmpEcho { kind: 8 });
        is_ours || (protocol == Protocol::Icmp && !is_echo_request)
    }
}
