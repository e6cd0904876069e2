//! What the switch notes of the packets that pass or do not.

use super::{Source, Switch, transit::Transit};
use crate::{
    flow::{Direction, DropReason, FlowEvent, FlowVerdict, Observation, Party},
    identity::Identity,
    packet::Tuple,
};
use std::net::SocketAddrV4;

impl Switch {
    pub(super) fn note_drop(&mut self, transit: &Transit, reason: DropReason) {
        self.journal.count_dropped(reason, direction_of(transit.from));
        self.record(
            transit,
            transit.tuple,
            false,
            Observation::Drop,
            FlowVerdict::Dropped(reason),
        );
    }

    pub(super) fn record(
        &mut self,
        transit: &Transit,
        tuple: Tuple,
        is_reply: bool,
        observation: Observation,
        verdict: FlowVerdict,
    ) {
        let event = FlowEvent {
            sequence: 0,
            time: self.journal.time_of(transit.now),
            observation,
            verdict,
            direction: match observation {
                Observation::ToEndpoint => Direction::Ingress,
                _ => direction_of(transit.from),
            },
            protocol: tuple.protocol,
            source: self.party(tuple.source, transit.from),
            destination: self.party(tuple.destination, Source::Host),
            is_reply,
            tcp_flags: transit.headers.tcp_flags(),
            icmp: transit.headers.icmp(),
            length: transit.headers.total_len as u16,
        };
        self.journal.record(event);
    }

    pub(super) fn party(&self, side: SocketAddrV4, from: Source) -> Party {
        let identity = match from {
            Source::Tunnel(identity) if identity != Identity::UNKNOWN => identity,
            _ => self.topology.identity_of(*side.ip()),
        };
        let endpoint = self
            .topology
            .endpoints
            .get(side.ip())
            .map(|endpoint| endpoint.name.clone());
        Party {
            address: *side.ip(),
            port: side.port(),
            identity,
            endpoint,
        }
    }
}

pub(super) fn direction_of(from: Source) -> Direction {
    match from {
        Source::Pod(_) | Source::Host => Direction::Egress,
        Source::Tunnel(_) | Source::Wire => Direction::Ingress,
    }
}
