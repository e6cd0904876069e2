//! The last steps of a packet: translate, find the way, meet the faults on it, fit the MTU, and go.

use super::{
    Delivery, Protection, Refusal, Source, Switch, Target, Transit,
    conntrack::{FlowKey, Way},
    record::direction_of,
    topology::{PeerIndex, Way as Route},
};
use crate::{
    fault::Traffic,
    flow::{Direction, DropReason, FlowVerdict, Observation},
    identity::Identity,
    impairment::concerns,
    packet::{
        Headers, IcmpError, Packet, Transport, Tuple, add_dsr, decrement_ttl, fragment, set_destination, set_source,
        tcp,
    },
};
use std::{net::SocketAddrV4, time::Instant};

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
            Way::Reply => {
                let answers_as = flow.answers_as.unwrap_or(flow.original.destination);
                (answers_as, flow.original.source, None)
            }
        };
        let asked = (flow.returns_directly && way == Way::Original).then_some(flow.original.destination);
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
        if let Some(service) = asked {
            self.dispatch_directly(transit, service);
        }
        self.send_on(transit, before, way == Way::Reply, is_notable, out);
    }

    /// Tells the backend's node how to answer, with every packet that may be the first: a SYN, and any datagram.
    fn dispatch_directly(&self, transit: &mut Transit, service: SocketAddrV4) {
        transit.in_clear = true;
        if matches!(transit.headers.transport, Transport::Tcp(flags) if flags & tcp::SYN == 0) {
            return;
        }
        add_dsr(&mut transit.packet, service);
        self.reread(transit);
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
        let way = match self.topology.way_to(to) {
            // Encrypted nodes are reached as their pods are.
            Route::Node(peer) if self.encrypts_nodes(peer) => Route::Peer(peer),
            Route::Peer(peer) if transit.in_clear => Route::Node(peer),
            way => way,
        };
        let (target, observation) = match way {
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
            let shown = if is_reply {
                before
            } else {
                Tuple {
                    destination: transit.headers.tuple.destination,
                    ..before
                }
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

    /// Whether the node's own traffic to a peer is encrypted.
    fn encrypts_nodes(&self, peer: PeerIndex) -> bool {
        self.topology.node_encryption && !self.faults.nodes_in_clear.get(peer.0).is_some_and(|clear| *clear)
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
        if self.faults.second_link.get(peer.0).is_some_and(|taken| *taken) && transit.from != Source::Host {
            return Protection::SecondLink;
        }
        // Native routing encrypts what pods send each other; a tunnel, whatever it carries (semantics C1, C2).
        let own = transit.from == Source::Host && transit.identity.is_none();
        let spared = own && self.topology.native && !self.encrypts_nodes(peer);
        if stripped || spared {
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
}
