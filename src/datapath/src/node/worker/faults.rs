//! Faults of a node's peers: what the node has wrong about them.

use super::Worker;
use crate::{
    config::{Peer, PublicKey, Routing},
    fault::Fault,
};
use ipnet::Ipv4Net;
use std::collections::HashMap;

impl Worker {
    /// Takes over the faults in force and the peers as these change them.
    pub(super) fn apply_faults(&mut self) {
        let faults = self.uplink.table().faults.clone();
        self.switch.set_faults(&faults);
        self.tell_sockets();
        let healed = self
            .faults_in_force
            .iter()
            .any(|id| !faults.iter().any(|(known, _)| known == id));
        self.faults_in_force = faults.iter().map(|(id, _)| *id).collect();
        let Some(wireguard) = &mut self.wireguard else { return };
        let name = &self.port.name;
        let known_key = |peer: &Peer| -> Option<PublicKey> {
            let is_wrong = faults.iter().any(|(_, fault)| {
                matches!(fault, Fault::WrongKey { node, peer: about } if node.contains(name) && *about == peer.node)
            });
            let is_unknown = faults.iter().any(|(_, fault)| {
                matches!(fault, Fault::UnknownPeer { node, peer: about } if node.contains(name) && *about == peer.node)
            });
            let key = peer.public_key.filter(|_| !is_unknown)?;
            Some(if is_wrong {
                PublicKey(key.0.map(|byte| byte ^ 0x55))
            } else {
                key
            })
        };
        let before: HashMap<_, _> = wireguard
            .status()
            .into_iter()
            .map(|peer| (peer.node, peer.public_key))
            .collect();
        let routing = self.routing;
        let allowed = |peer: &Peer| {
            let changed = faults.iter().rev().find_map(|(_, fault)| match fault {
                Fault::AllowedIps {
                    node,
                    peer: about,
                    allowed,
                } if node.contains(name) && *about == peer.node => Some(allowed.clone()),
                _ => None,
            });
            changed.unwrap_or_else(|| allowed_ips(peer, routing))
        };
        wireguard.set_peers(self.peers.iter().map(|peer| (peer, known_key(peer), allowed(peer))));
        for (index, peer) in self.peers.iter().enumerate() {
            // The other side still has a session that this side has just forgotten.
            let key_changed = before
                .get(&peer.node)
                .is_some_and(|known| Some(*known) != known_key(peer));
            if key_changed {
                wireguard.initiate(index, &mut self.pool, &mut self.outcome);
            }
        }
        if healed {
            wireguard.retry(&mut self.pool, &mut self.outcome);
        }
        self.post_datagrams();
        self.flush();
    }
}

/// What may come out of a peer's tunnel: in tunnel mode only the node itself, which wraps everything else.
fn allowed_ips(peer: &Peer, routing: Routing) -> Vec<Ipv4Net> {
    let mut allowed = vec![Ipv4Net::from(peer.address)];
    if routing == Routing::Native {
        allowed.push(Ipv4Net::from(peer.router));
        allowed.extend(&peer.pod_cidrs);
    }
    allowed
}
