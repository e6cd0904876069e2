//! Whether a clause is about a flow: its peers and its ports.

use super::{Flow, NodeRules};
use crate::{
    enforcement::{
        rule::{Clause, Entity, Layer7, Peer, Peers, Port, PortNumber, Ports, Transport},
        selector::CLUSTER,
    },
    identity::SecurityLabels,
};
use meshproof_datapath::{Direction, Protocol};

/// A flow held against clauses.
pub(super) struct Peering<'a> {
    pub(super) rules: &'a NodeRules,
    pub(super) flow: &'a Flow,
    pub(super) labels: &'a SecurityLabels,
}

impl Peering<'_> {
    /// What of the clause is about the flow: for each match, what a proxy has to look at.
    pub(super) fn matching<'c>(&self, clause: &'c Clause) -> Vec<Option<&'c Layer7>> {
        let selected = match &clause.peers {
            Peers::Any => true,
            Peers::Of(peers) => peers.iter().any(|peer| self.is(peer)),
        };
        if !selected {
            return Vec::new();
        }
        match &clause.ports {
            Ports::All => vec![None],
            Ports::Icmp(types) => match self.flow.icmp {
                Some((kind, _)) if types.contains(&kind) => vec![None],
                _ => Vec::new(),
            },
            Ports::List(rules) => rules
                .iter()
                .filter(|rule| rule.ports.iter().any(|port| self.on(port)))
                .map(|rule| rule.layer7.as_ref())
                .collect(),
        }
    }

    fn is(&self, peer: &Peer) -> bool {
        let flow = self.flow;
        let outside = has(self.labels, "world");
        match peer {
            Peer::Labels(selector) => selector.matches(self.labels),
            Peer::Entity(entity) => self.is_entity(*entity),
            Peer::Cidr { net, except } => {
                // Whatever has an identity of its own is not selected by its address.
                let node =
                    self.rules.set.cidrs_match_nodes && (has(self.labels, "host") || has(self.labels, "remote-node"));
                (outside || node)
                    && net.contains(&flow.remote)
                    && !except.iter().any(|except| except.contains(&flow.remote))
            }
            Peer::Name(pattern) => outside && self.rules.names.resolves(pattern, flow.remote),
            Peer::Addresses(addresses) => outside && addresses.contains(&flow.remote),
            Peer::Service(_) => false,
        }
    }

    fn is_entity(&self, entity: Entity) -> bool {
        let is = |name: &str| has(self.labels, name);
        match entity {
            Entity::All => true,
            Entity::World => is("world"),
            Entity::Host => is("host"),
            Entity::RemoteNode => is("remote-node"),
            Entity::KubeApiserver => is("kube-apiserver"),
            Entity::Init => is("init"),
            Entity::Health => is("health"),
            Entity::Unmanaged => is("unmanaged"),
            Entity::Ingress => is("ingress"),
            Entity::None => false,
            Entity::Cluster => {
                ["host", "remote-node", "init", "ingress", "health", "unmanaged"]
                    .iter()
                    .any(|name| is(name))
                    || self.labels.get(&format!("k8s:{CLUSTER}")) == Some(&self.rules.set.cluster)
            }
        }
    }

    fn on(&self, port: &Port) -> bool {
        let flow = self.flow;
        let protocol = match port.protocol {
            Transport::Tcp => flow.protocol == Protocol::Tcp,
            Transport::Udp => flow.protocol == Protocol::Udp,
            Transport::Sctp => flow.protocol == Protocol::Other(132),
            Transport::Icmp => flow.protocol == Protocol::Icmp,
            Transport::Any => matches!(flow.protocol, Protocol::Tcp | Protocol::Udp | Protocol::Other(132)),
        };
        protocol
            && match &port.number {
                PortNumber::All => true,
                PortNumber::Range(first, last) => (*first..=*last).contains(&flow.port),
                PortNumber::Named(name) => self.is_named(name),
            }
    }

    /// On the way in it is the endpoint's own name of a port, on the way out any pod's.
    fn is_named(&self, name: &str) -> bool {
        let set = &self.rules.set;
        let known = match self.flow.direction {
            Direction::Ingress => set.own_ports.get(&self.flow.endpoint).and_then(|ports| ports.get(name)),
            Direction::Egress => set.named_ports.get(name),
        };
        known.is_some_and(|numbers| numbers.contains(&(self.flow.protocol, self.flow.port)))
    }
}

/// Whether the labels have a reserved one of this name.
pub(super) fn has(labels: &SecurityLabels, reserved: &str) -> bool {
    labels.contains_key(&format!("reserved:{reserved}"))
}
