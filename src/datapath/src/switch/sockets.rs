//! What the sockets of this node's processes meet when they are balanced: who is not served, and whose backend has
//! gone.

use super::{Switch, balance::Keep, conntrack::FlowKey};
use crate::{
    service::{Frontend, Protocol},
    socket_balancer::{Orphan, Unserved},
};

impl Switch {
    /// The services that nobody answers for.
    pub(crate) fn unserved(&self) -> Unserved {
        let mut unserved = Unserved {
            nodes: self.topology.node_port_addresses().collect(),
            ..Unserved::default()
        };
        for frontend in self.services.unserved() {
            match frontend {
                Frontend::Address { address, protocol } => {
                    unserved.addresses.insert((protocol, address));
                }
                Frontend::NodePort { port, protocol } => {
                    unserved.node_ports.insert((protocol, port));
                }
            }
        }
        unserved
    }

    /// UDP flows of this node's processes whose backend has gone. They are forgotten: a socket that is not connected is
    /// given another backend when it sends again.
    pub(crate) fn take_orphans(&mut self) -> Vec<Orphan> {
        let services = &self.services;
        let taken = self.conntrack.take(|flow| {
            let binding = flow.service.as_ref().filter(|_| flow.from_socket);
            flow.original.protocol == Protocol::Udp
                && binding.is_some_and(|binding| !matches!(services.keeps(binding), Keep::Yes(_)))
        });
        let orphans = taken.iter().map(|flow| Orphan {
            from: flow.original.source,
            to: flow.original.destination,
        });
        orphans.collect()
    }

    /// Whether the flow stays with its backend whatever becomes of that.
    pub(super) fn is_pinned(&self, key: FlowKey) -> bool {
        let flow = self.conntrack.get(key);
        self.socket_balancing && flow.from_socket && flow.original.protocol == Protocol::Tcp
    }
}
