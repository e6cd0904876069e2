//! Which of the packets that arrive at a node are its switch's, and not its kernel's.

use super::{Switch, TRANSLATED_PORTS};
use crate::{
    packet::{Headers, Transport},
    service::Protocol,
};
use std::{net::Ipv4Addr, ops::RangeInclusive};

impl Switch {
    /// Whether the stack of this node must not see a packet that arrives on `eth0`: it is for a pod, for a NodePort or
    /// for a translated source.
    pub(crate) fn wants_from_wire(
        own: Ipv4Addr,
        node_ports: &RangeInclusive<u16>,
        reserved: &[u16],
        headers: &Headers,
    ) -> bool {
        if headers.destination() != own {
            return true;
        }
        let port = headers.tuple.destination.port();
        let is_ours = node_ports.contains(&port) || (TRANSLATED_PORTS.contains(&port) && !reserved.contains(&port));
        let is_echo_request = matches!(headers.transport, Transport::IcmpEcho { kind: 8 });
        is_ours || (headers.tuple.protocol == Protocol::Icmp && !is_echo_request)
    }

    /// What [`wants_from_wire`](Self::wants_from_wire) needs, for whoever sits at the other end of `eth0`.
    pub(crate) fn wire_ports(&self) -> (RangeInclusive<u16>, Vec<u16>) {
        (self.node_ports.clone(), self.reserved_ports.clone())
    }
}
