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

/// What of a clause is about a flow, as one entry of the endpoint's policy map.
pub(super) struct Entry<'c> {
    pub(super) clause: &'c Clause,
    /// None for every port.
    pub(super) port: Option<&'c Port>,
    /// What a proxy has to look at.
    pub(super) layer7: Option<&'c Layer7>,
    /// How many bits of protocol and port it fixes.
    pub(super) prefix: u32,
    /// Whether it is for anybody.
    pub(super) anybody: bool,
    /// Whether it is for the peer's identity.
    pub(super) named: bool,
}

/// Bits of a protocol and of a port.
const PROTOCOL: u32 = 8;
const PORT: u32 = 16;

impl Peering<'_> {
    /// What of the clause is about the flow; nothing if it is about others.
    pub(super) fn matching<'c>(&self, clause: &'c Clause) -> Vec<Entry<'c>> {
        let (anybody, named) = match &clause.peers {
            Peers::Any => (true, false),
            Peers::Of(peers) => {
                let is_all = |peer: &&Peer| matches!(peer, Peer::Entity(Entity::All));
                let named = peers.iter().filter(|peer| !is_all(peer)).any(|peer| self.is(peer));
                (peers.iter().any(|peer| is_all(&peer)), named)
            }
        };
        if !anybody && !named {
            return Vec::new();
        }
        let entry = |port, layer7, prefix| Entry {
            clause,
            port,
            layer7,
            prefix,
            anybody,
            named,
        };
        match &clause.ports {
            Ports::All => vec![entry(None, None, 0)],
            Ports::Icmp(types) => match self.flow.icmp {
                Some((kind, _)) if types.contains(&kind) => vec![entry(None, None, PROTOCOL + PORT)],
                _ => Vec::new(),
            },
            Ports::List(rules) => {
                let ports = rules
                    .iter()
                    .flat_map(|rule| rule.ports.iter().map(move |port| (rule, port)));
                let on = ports.filter_map(|(rule, port)| Some((rule, port, self.on(port)?)));
                on.map(|(rule, port, prefix)| entry(Some(port), rule.layer7.as_ref(), prefix))
                    .collect()
            }
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
            Peer::Name(pattern) => {
                let (set, names) = (&self.rules.set, &self.rules.names);
                outside
                    && names.resolves(pattern, flow.remote)
                    && (!set.labels_once || names.labels_once(pattern, flow.remote))
            }
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
            Entity::KubeApiserver => self.is_api_server(),
            Entity::Init => is("init"),
            Entity::Health => is("health"),
            Entity::Unmanaged => is("unmanaged"),
            Entity::Ingress => is("ingress"),
            Entity::None => false,
            Entity::Cluster => {
                ["host", "remote-node", "init", "ingress", "health", "unmanaged"]
                    .iter()
                    .any(|name| is(name))
                    || self.is_api_server()
                    || self.labels.get(&format!("k8s:{CLUSTER}")) == Some(&self.rules.set.cluster)
            }
        }
    }

    /// The label is on addresses, of this node, of others and of what is outside (`pkg/ipcache/metadata.go`).
    fn is_api_server(&self) -> bool {
        has(self.labels, "kube-apiserver") || self.rules.set.api_servers.contains(&self.flow.remote)
    }

    /// How many bits the port fixes if it is the flow's.
    fn on(&self, port: &Port) -> Option<u32> {
        let flow = self.flow;
        let protocol = match port.protocol {
            Transport::Tcp => flow.protocol == Protocol::Tcp,
            Transport::Udp => flow.protocol == Protocol::Udp,
            Transport::Sctp => flow.protocol == Protocol::Other(132),
            Transport::Any => matches!(flow.protocol, Protocol::Tcp | Protocol::Udp | Protocol::Other(132)),
        };
        if !protocol {
            return None;
        }
        match &port.number {
            PortNumber::All => Some(PROTOCOL),
            PortNumber::Range(first, last) => {
                let held = (*first..=*last).contains(&flow.port);
                held.then(|| PROTOCOL + PORT - block(u32::from(*first), u32::from(*last), u32::from(flow.port)))
            }
            PortNumber::Named(name) => self.is_named(name).then_some(PROTOCOL + PORT),
        }
    }

    /// On the way in it is the endpoint's own name of a port; on the way out what the cluster's pods call so, if they
    /// agree on one number (`pkg/types/portmap.go`).
    fn is_named(&self, name: &str) -> bool {
        let (set, flow) = (&self.rules.set, self.flow);
        match flow.direction {
            Direction::Ingress => {
                let own = set.own_ports.get(&flow.endpoint).and_then(|ports| ports.get(name));
                own.is_some_and(|numbers| numbers.contains(&(flow.protocol, flow.port)))
            }
            Direction::Egress => {
                let known = set.named_ports.get(name).into_iter().flatten();
                let mut numbers = known.filter(|(protocol, _)| *protocol == flow.protocol);
                numbers.next().is_some_and(|(_, number)| *number == flow.port) && numbers.next().is_none()
            }
        }
    }
}

/// The size, as a power of two, of the largest aligned block of ports within a range that holds the port: the map
/// holds a range as such blocks.
fn block(first: u32, last: u32, port: u32) -> u32 {
    let within = |bits: &u32| {
        let begin = port >> bits << bits;
        begin >= first && begin + (1 << bits) - 1 <= last
    };
    (0..=PORT).rev().find(within).unwrap_or(0)
}

/// Whether the labels have a reserved one of this name.
pub(super) fn has(labels: &SecurityLabels, reserved: &str) -> bool {
    labels.contains_key(&format!("reserved:{reserved}"))
}
