//! What a switch is given: pods, peers, services, identities, policy, faults.

use super::{
    Switch,
    topology::{Endpoint, PeerIndex},
};
use crate::{
    config::{Peer, PodConfig},
    fault::{Fault, FaultId, Nodes, Traffic},
    flow::Direction,
    identity::Identity,
    impairment::Impairments,
    policy::Policy,
    service::Service,
};
use ipnet::Ipv4Net;
use std::{net::Ipv4Addr, time::Duration};

/// The faults that act in this switch.
#[derive(Debug, Default)]
pub(super) struct SwitchFaults {
    pub endpoints: Vec<(Ipv4Addr, Direction, Impairments)>,
    /// By peer.
    pub paths: Vec<Impairments>,
    pub masquerade: Vec<bool>,
    /// Between two pods of this node.
    pub masquerade_local: bool,
    pub plaintext: Vec<Vec<Traffic>>,
    /// By peer: whether pods' packets take the second link.
    pub second_link: Vec<bool>,
    /// By peer: whether the node's own traffic goes there unencrypted.
    pub nodes_in_clear: Vec<bool>,
    pub strict_ignored: bool,
    /// After how long without a packet TCP connections are dropped.
    pub idle_dropped: Option<Duration>,
}

impl Switch {
    /// Adds a pod, or changes its name and identity.
    pub fn add_pod(&mut self, pod: &PodConfig) {
        let endpoint = Endpoint {
            name: pod.name.clone(),
            identity: pod.identity,
        };
        if self.topology.endpoints.insert(pod.address, endpoint).is_none() {
            self.conntrack.forget_address(pod.address);
        }
    }

    /// Removes a pod and forgets its flows.
    pub fn remove_pod(&mut self, address: Ipv4Addr) {
        self.topology.endpoints.remove(&address);
        self.conntrack.forget_address(address);
    }

    /// Gives a pod another identity; its flows are asked about again.
    pub fn set_pod_identity(&mut self, address: Ipv4Addr, identity: Identity) {
        if let Some(endpoint) = self.topology.endpoints.get_mut(&address) {
            endpoint.identity = identity;
            self.policy_revision += 1;
        }
    }

    /// Replaces the peers. Call [`set_faults`](Self::set_faults) afterwards: faults are kept by peer.
    pub fn set_peers(&mut self, peers: Vec<Peer>) {
        self.learned_mtu = vec![None; peers.len()];
        self.topology.set_peers(peers);
    }

    /// Replaces the services.
    pub fn set_services(&mut self, services: Vec<Service>) {
        self.wire_ports.set_services(&services);
        self.services.set_services(services);
    }

    /// Replaces what is known about remote addresses.
    pub fn set_identities(&mut self, identities: Vec<(Ipv4Net, Identity)>) {
        self.topology.set_identities(identities);
        self.policy_revision += 1;
    }

    /// Replaces the policy.
    pub fn set_policy(&mut self, policy: Box<dyn Policy>) {
        self.policy = policy;
        self.policy_revision += 1;
    }

    /// Replaces the faults; those that do not act in this switch are ignored.
    pub fn set_faults(&mut self, faults: &[(FaultId, Fault)]) {
        let peers = self.topology.peers.len();
        let mut acting = SwitchFaults {
            endpoints: Vec::new(),
            paths: vec![Impairments::default(); peers],
            masquerade: vec![false; peers],
            masquerade_local: false,
            plaintext: vec![Vec::new(); peers],
            second_link: vec![false; peers],
            nodes_in_clear: vec![false; peers],
            strict_ignored: false,
            idle_dropped: None,
        };
        let mut overrides = Vec::new();
        let name = &self.name;
        for (_, fault) in faults {
            let towards = |nodes: &Nodes| -> Vec<usize> {
                let peers = self.topology.peers.iter().enumerate();
                peers
                    .filter(|(_, peer)| nodes.contains(&peer.node))
                    .map(|(index, _)| index)
                    .collect()
            };
            match fault {
                Fault::Path { from, to, impairment } if from.contains(name) => {
                    towards(to)
                        .into_iter()
                        .for_each(|peer| acting.paths[peer].0.push(impairment.clone()));
                }
                Fault::Masquerade { from, to } if from.contains(name) => {
                    towards(to).into_iter().for_each(|peer| acting.masquerade[peer] = true);
                    acting.masquerade_local |= to.contains(name);
                }
                Fault::Plaintext { from, to, traffic } if from.contains(name) => {
                    towards(to)
                        .into_iter()
                        .for_each(|peer| acting.plaintext[peer].push(traffic.clone()));
                }
                Fault::SecondLink { from, to } if from.contains(name) => {
                    towards(to).into_iter().for_each(|peer| acting.second_link[peer] = true);
                }
                Fault::NodesInClear { from, to } if from.contains(name) => {
                    towards(to)
                        .into_iter()
                        .for_each(|peer| acting.nodes_in_clear[peer] = true);
                }
                Fault::Endpoint {
                    address,
                    direction,
                    impairment,
                } => {
                    let known = acting
                        .endpoints
                        .iter_mut()
                        .find(|(a, d, _)| a == address && d == direction);
                    match known {
                        Some((_, _, impairments)) => impairments.0.push(impairment.clone()),
                        None => acting
                            .endpoints
                            .push((*address, *direction, Impairments(vec![impairment.clone()]))),
                    }
                }
                Fault::StrictIgnored { nodes } if nodes.contains(name) => acting.strict_ignored = true,
                Fault::IdleDropped { nodes, after } if nodes.contains(name) => acting.idle_dropped = Some(*after),
                Fault::Service { nodes, service, change } if nodes.contains(name) => {
                    overrides.push((service.clone(), change.clone()));
                }
                _ => {}
            }
        }
        self.faults = acting;
        self.services.set_overrides(overrides);
        self.learned_mtu.fill(None);
    }

    /// Notes that packets of more than `mtu` bytes do not reach a peer; senders will learn it.
    pub fn learn_mtu(&mut self, peer: PeerIndex, mtu: usize) {
        if let Some(learned) = self.learned_mtu.get_mut(peer.0) {
            *learned = Some(learned.map_or(mtu, |known| known.min(mtu)));
        }
    }
}
