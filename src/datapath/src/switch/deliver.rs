//! The last steps of a packet: translate, find the way, meet the faults on it, fit the MTU, and go.

use super::{
    Delivery, Protection, Refusal, Source, Switch, Target, Transit,
    conntrack::{FlowKey, Way},
    direction_of,
    topology::{PeerIndex, Way as Route},
};
use crate::{
    fault::{MtuSignal, Traffic},
    flow::{Direction, DropReason, FlowVerdict, Observation},
    impairment::{Fate, concerns, corrupt},
    packet::{
        Headers, IcmpError, Packet, Transport, Tuple, decrement_ttl, fragment, icmp_error, set_destination, set_source,
        tcp_reset,
    },
    policy::Identity,
};
use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

impl Switch {
    /// Translates a packet of a tracked flow and sends it on.
    pub(super) fn forward(
        &mut self,
        transit: &mut Transit,
        key: FlowKey,
        way: Way,
        is_notable: bool,
        out: &mut Vec<Delivery>,
    ) {
        let flow = self.conntrack.get(key);
        let before = transit.tuple;
        if flow.impersonates && way == Way::Original {
            transit.identity = Some(flow.source_identity);
        }
        let (source, destination, redirect) = match way {
            Way::Original => (flow.reply.destination, flow.reply.source, flow.redirect),
            Way::Reply => (flow.original.destination, flow.original.source, None),
        };
        let headers = transit.headers;
        let bytes = transit.packet.bytes_mut();
        if source != before.source {
            set_source(bytes, &headers, source);
        }
        if destination != before.destination {
            set_destination(bytes, &headers, destination);
        }
        if let (true, Some(port)) = (is_notable, redirect) {
            self.record(
                transit,
                before,
                false,
                Observation::ToHost,
                FlowVerdict::Redirected(port),
            );
        }
        let after = Tuple {
            protocol: before.protocol,
            source,
            destination,
        };
        if after != before {
            self.reread(transit);
        }
        self.send_on(transit, before, way == Way::Reply, is_notable, out);
    }

    /// Sends a packet on that belongs to no flow and opens none, if there is a way.
    pub(super) fn forward_untracked(&mut self, transit: &mut Transit, out: &mut Vec<Delivery>) -> Result<(), Refusal> {
        match self.topology.way_to(transit.headers.destination()) {
            Route::Service => return Err(Refusal::Drop(DropReason::ServiceBackendNotFound)),
            Route::NoEndpoint => return Err(Refusal::Drop(DropReason::NoEndpoint)),
            _ => {}
        }
        self.send_on(transit, transit.tuple, false, false, out);
        Ok(())
    }

    /// Reads the headers again after a translation.
    pub(super) fn reread(&self, transit: &mut Transit) {
        if let Ok(headers) = Headers::read(transit.packet.bytes()) {
            transit.headers = headers;
        }
    }

    /// Sends a translated packet on to where its destination is. `before` is its tuple as it came in.
    pub(super) fn send_on(
        &mut self,
        transit: &mut Transit,
        before: Tuple,
        is_reply: bool,
        is_notable: bool,
        out: &mut Vec<Delivery>,
    ) {
        let to = transit.headers.destination();
        let (target, observation) = match self.topology.way_to(to) {
            Route::Pod => (Target::Pod(to), Observation::ToEndpoint),
            Route::Host => (Target::Host, Observation::ToHost),
            Route::Peer(peer) => {
                let protection = self.protection(peer, transit, before, is_reply);
                let identity = self.carried_identity(transit, before);
                (
                    Target::Peer {
                        peer,
                        identity,
                        protection,
                    },
                    Observation::ToOverlay,
                )
            }
            Route::NoPeer if !self.may_leave_in_clear(&transit.headers) => {
                return self.note_drop(transit, DropReason::Unencrypted);
            }
            Route::Node(_) | Route::World | Route::NoPeer => (Target::Wire, Observation::ToNetwork),
            // The pod of an answered flow has gone meanwhile.
            Route::NoEndpoint | Route::Service => {
                return self.note_drop(transit, DropReason::NoEndpoint);
            }
        };
        if target != Target::Host {
            if transit.headers.ttl <= 1 {
                self.note_drop(transit, DropReason::TtlExceeded);
                return self.answer_icmp(transit, before, IcmpError::TimeExceeded, out);
            }
            decrement_ttl(transit.packet.bytes_mut());
            transit.headers.ttl -= 1;
        }
        if let Target::Peer { peer, .. } = target
            && !self.impair_path(peer, transit, before, out)
        {
            return;
        }
        if let Target::Pod(address) = target
            && !self.impair_endpoint(address, Direction::Ingress, transit, out)
        {
            return;
        }
        if is_notable {
            // Shown as the backend sees it: that is who really takes part.
            let shown = match is_reply {
                true => before,
                false => Tuple {
                    destination: transit.headers.tuple.destination,
                    ..before
                },
            };
            self.record(transit, shown, is_reply, observation, FlowVerdict::Forwarded);
        }
        let mtu = match target {
            Target::Peer { peer, .. } => {
                let learned = self.learned_mtu.get(peer.0).copied().flatten();
                learned.map_or(self.route_mtu, |learned| learned.min(self.route_mtu))
            }
            Target::Pod(_) | Target::Host | Target::Wire => self.device_mtu,
        };
        self.fit_and_push(transit, before, target, mtu.min(transit.mtu), out);
    }

    /// Whether a packet without a key for its destination leaves nevertheless.
    fn may_leave_in_clear(&self, headers: &Headers) -> bool {
        self.faults.strict_ignored || !self.topology.is_strict(headers.source(), headers.destination())
    }

    /// The same of an inner packet that is about to leave; one that may not is noted as dropped.
    pub(crate) fn lets_out_in_clear(&mut self, bytes: &[u8], now: Instant) -> bool {
        let Ok(headers) = Headers::read(bytes) else { return true };
        let lets = self.may_leave_in_clear(&headers);
        if !lets {
            let from = Source::Pod(headers.source());
            let transit = Transit::new(now, from, Packet::zeroed(0), headers, headers.tuple);
            self.note_drop(&transit, DropReason::Unencrypted);
        }
        lets
    }

    fn fit_and_push(
        &mut self,
        transit: &mut Transit,
        before: Tuple,
        target: Target,
        mtu: usize,
        out: &mut Vec<Delivery>,
    ) {
        if transit.headers.total_len > mtu && transit.headers.dont_fragment {
            self.note_drop(transit, DropReason::TooBig);
            return self.answer_icmp(transit, before, IcmpError::FragmentationNeeded { mtu: mtu as u16 }, out);
        }
        let direction = if matches!(target, Target::Pod(_)) {
            Direction::Ingress
        } else {
            direction_of(transit.from)
        };
        self.journal.count_forwarded(direction, transit.headers.total_len);
        let packet = std::mem::replace(&mut transit.packet, Packet::zeroed(0));
        for piece in fragment(packet, &transit.headers, mtu) {
            if transit.twice {
                out.push(Delivery {
                    target,
                    packet: piece.clone(),
                    delay: transit.delay,
                });
            }
            out.push(Delivery {
                target,
                packet: piece,
                delay: transit.delay,
            });
        }
    }

    fn protection(&self, peer: PeerIndex, transit: &Transit, before: Tuple, is_reply: bool) -> Protection {
        let translated = !is_reply && before.destination != transit.headers.tuple.destination;
        let stripped = self.faults.plaintext.get(peer.0).is_some_and(|traffic| {
            traffic.iter().any(|kind| match kind {
                Traffic::Translated => translated,
                // Only what a proxy sends carries the identity of somebody else.
                Traffic::Proxied => !is_reply && transit.identity.is_some(),
                kind => concerns(kind, transit.packet.bytes(), &transit.headers),
            })
        });
        if stripped {
            Protection::Stripped
        } else {
            Protection::Configured
        }
    }

    fn carried_identity(&self, transit: &Transit, before: Tuple) -> Identity {
        if let Some(identity) = transit.identity {
            return identity;
        }
        match transit.from {
            // To every other node this host is a remote one (`bpf/lib/encap.h`).
            Source::Host => Identity::REMOTE_NODE,
            Source::Tunnel(identity) => identity,
            Source::Pod(_) | Source::Wire => self.topology.identity_of(*before.source.ip()),
        }
    }

    /// Applies the faults on the way to a peer. `false` if the packet does not go on as it is.
    fn impair_path(&mut self, peer: PeerIndex, transit: &mut Transit, before: Tuple, out: &mut Vec<Delivery>) -> bool {
        let Some(impairments) = self.faults.paths.get(peer.0).filter(|faults| !faults.is_empty()) else {
            return true;
        };
        let fate = impairments.judge(transit.packet.bytes(), &transit.headers, &mut self.rng);
        self.suffer(fate, transit, before, out)
    }

    /// Applies the faults on a pod's link. `false` if the packet does not go on as it is.
    pub(super) fn impair_endpoint(
        &mut self,
        address: Ipv4Addr,
        direction: Direction,
        transit: &mut Transit,
        out: &mut Vec<Delivery>,
    ) -> bool {
        let known = self
            .faults
            .endpoints
            .iter()
            .find(|(a, d, _)| *a == address && *d == direction);
        let Some((_, _, impairments)) = known else { return true };
        let fate = impairments.judge(transit.packet.bytes(), &transit.headers, &mut self.rng);
        self.suffer(fate, transit, transit.tuple, out)
    }

    /// Notes what a fate means for a packet on its way. `false` if it does not go on.
    fn suffer(&mut self, fate: Fate, transit: &mut Transit, before: Tuple, out: &mut Vec<Delivery>) -> bool {
        match fate {
            Fate::Pass(passage) => {
                transit.delay += passage.delay;
                transit.twice |= passage.twice;
                if let Some(checksum) = passage.corrupt {
                    let headers = transit.headers;
                    corrupt(transit.packet.bytes_mut(), &headers, checksum);
                }
                return true;
            }
            // Whether it is fragmented or refused is decided where it leaves.
            Fate::TooBig {
                mtu,
                signal: MtuSignal::Icmp,
            } => {
                transit.mtu = transit.mtu.min(usize::from(mtu));
                return true;
            }
            Fate::Reset => {
                self.note_drop(transit, DropReason::Fault);
                self.answer_reset(transit, before, out);
            }
            Fate::Lost
            | Fate::TooBig {
                signal: MtuSignal::Silent,
                ..
            } => self.note_drop(transit, DropReason::Fault),
        }
        false
    }

    /// Refuses a packet as if nobody listened at its destination.
    pub(super) fn reject(&mut self, transit: &Transit, out: &mut Vec<Delivery>) {
        match transit.headers.transport {
            Transport::Tcp(_) => self.answer_reset(transit, transit.tuple, out),
            _ => self.answer_icmp(transit, transit.tuple, IcmpError::PortUnreachable, out),
        }
    }

    /// The packet as its sender wrote it.
    fn as_sent(&self, transit: &Transit, before: Tuple) -> (Packet, Headers) {
        let (mut packet, mut headers) = (transit.packet.clone(), transit.headers);
        set_source(packet.bytes_mut(), &headers, before.source);
        set_destination(packet.bytes_mut(), &headers, before.destination);
        headers.tuple = before;
        (packet, headers)
    }

    fn answer_icmp(&mut self, transit: &Transit, before: Tuple, error: IcmpError, out: &mut Vec<Delivery>) {
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

    fn answer_reset(&mut self, transit: &Transit, before: Tuple, out: &mut Vec<Delivery>) {
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
