//! What the switch itself answers to senders: ICMP errors and resets.

use super::{Delivery, Protection, Source, Switch, Target, Transit, topology::Way as Route};
use crate::{
    identity::Identity,
    packet::{Headers, IcmpError, Packet, Transport, Tuple, icmp_error, set_destination, set_source, tcp_reset},
};
use std::time::Duration;

impl Switch {
    /// Refuses a packet as if nobody listened at its destination.
    pub(super) fn reject(&mut self, transit: &Transit, out: &mut Vec<Delivery>) {
        match transit.headers.transport {
            Transport::Tcp(_) => self.answer_reset(transit, transit.tuple, out),
            _ => self.answer_icmp(transit, transit.tuple, IcmpError::PortUnreachable, out),
        }
    }

    /// The packet as its sender wrote it.
    pub(super) fn as_sent(&self, transit: &Transit, before: Tuple) -> (Packet, Headers) {
        let (mut packet, mut headers) = (transit.packet.clone(), transit.headers);
        set_source(packet.bytes_mut(), &headers, before.source);
        set_destination(packet.bytes_mut(), &headers, before.destination);
        headers.tuple = before;
        (packet, headers)
    }

    pub(super) fn answer_icmp(&mut self, transit: &Transit, before: Tuple, error: IcmpError, out: &mut Vec<Delivery>) {
        let (packet, headers) = self.as_sent(transit, before);
        // A refusal comes from whoever was asked; everything else from this hop.
        let hop = match error {
            IcmpError::PortUnreachable => headers.destination(),
            IcmpError::FragmentationNeeded { .. } | IcmpError::TimeExceeded => self.topology.router,
        };
        if let Some(answer) = icmp_error(packet.bytes(), &headers, hop, error) {
            self.answer(transit, answer, out);
        }
    }

    pub(super) fn answer_reset(&mut self, transit: &Transit, before: Tuple, out: &mut Vec<Delivery>) {
        let (packet, headers) = self.as_sent(transit, before);
        if let Some(answer) = tcp_reset(packet.bytes(), &headers) {
            self.answer(transit, answer, out);
        }
    }

    /// Sends an answer of the switch's own back to where the packet came from.
    fn answer(&self, transit: &Transit, packet: Packet, out: &mut Vec<Delivery>) {
        let target = match transit.from {
            Source::Pod(address) => Target::Pod(address),
            Source::Host => Target::Host,
            Source::Wire => Target::Wire,
            Source::Tunnel(_) => {
                let Ok(headers) = Headers::read(packet.bytes()) else {
                    return;
                };
                let Route::Peer(peer) = self.topology.way_to(headers.destination()) else {
                    return;
                };
                Target::Peer {
                    peer,
                    identity: Identity::REMOTE_NODE,
                    protection: Protection::Configured,
                }
            }
        };
        out.push(Delivery {
            target,
            packet,
            delay: Duration::ZERO,
        });
    }
}
