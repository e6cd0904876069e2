//! Packets between sockets, switch and tunnels, both ways.

use super::{FABRIC, HOST, SECOND, SECOND_FABRIC, VXLAN, WIRE, WIREGUARD, Worker};
use crate::{
    config::Routing,
    identity::Identity,
    packet::{Outer, Packet, decapsulate, encapsulate, inner_of},
    socket::Name,
    switch::{PeerIndex, Protection, Source, Target},
};
use std::{
    io,
    net::{Ipv4Addr, SocketAddrV4},
    time::Instant,
};

impl Worker {
    /// Reads one batch from a socket and sends each packet on.
    pub(super) fn carry(&mut self, token: u64) -> io::Result<()> {
        let now = Instant::now();
        match token {
            FABRIC => {
                let Self {
                    batch,
                    pool,
                    uplink,
                    notices,
                    port,
                    ..
                } = self;
                batch.receive(&port.socket, pool, |_, packet, _| uplink.cross(now, packet, notices))?;
                self.learn();
            }
            HOST => self.switch_batch(now, Source::Host, |worker| &worker.devices.host)?,
            WIRE => self.switch_batch(now, Source::Wire, |worker| &worker.devices.wire)?,
            SECOND => self.take_from_second_link(now)?,
            SECOND_FABRIC => {
                let Self {
                    batch,
                    pool,
                    uplink,
                    port,
                    ..
                } = self;
                if let Some(second) = &port.second {
                    batch.receive(second, pool, |_, packet, _| uplink.cross_second(packet))?;
                }
            }
            WIREGUARD => self.decrypt_batch(now)?,
            VXLAN => self.unwrap_batch(now)?,
            pod => {
                let Some(pod) = self.pods.get(&pod) else { return Ok(()) };
                let Self {
                    batch,
                    pool,
                    switch,
                    deliveries,
                    ..
                } = self;
                let from = Source::Pod(pod.address);
                batch.receive(&pod.socket, pool, |_, packet, _| {
                    switch.receive(now, from, packet, deliveries)
                })?;
                self.deliver(now);
            }
        }
        Ok(())
    }

    fn switch_batch(
        &mut self,
        now: Instant,
        from: Source,
        socket: impl FnOnce(&Self) -> &crate::socket::PacketSocket,
    ) -> io::Result<()> {
        let socket = socket(self).clone();
        let Self {
            batch,
            pool,
            switch,
            deliveries,
            ..
        } = self;
        batch.receive(&socket, pool, |_, packet, _| {
            switch.receive(now, from, packet, deliveries)
        })?;
        self.deliver(now);
        Ok(())
    }

    fn decrypt_batch(&mut self, now: Instant) -> io::Result<()> {
        let Self {
            batch,
            pool,
            devices,
            wireguard,
            outcome,
            ..
        } = self;
        let (Some(socket), Some(wireguard)) = (&devices.wireguard, wireguard) else {
            return Ok(());
        };
        batch.receive(socket, pool, |pool, datagram, from| {
            if let Some(from) = from {
                wireguard.receive(from, &datagram, pool, outcome);
            }
            pool.put(datagram);
        })?;
        for packet in std::mem::take(&mut self.outcome.packets) {
            self.take_from_tunnel(now, packet);
        }
        self.post_datagrams();
        self.deliver(now);
        Ok(())
    }

    /// What came in clear by `eth1`: in a tunnel, or as it is.
    fn take_from_second_link(&mut self, now: Instant) -> io::Result<()> {
        let socket = self.devices.second.clone();
        let mut packets = Vec::new();
        self.batch
            .receive(&socket, &mut self.pool, |_, packet, _| packets.push(packet))?;
        for packet in packets {
            match self.routing {
                Routing::Vxlan { .. } => self.take_from_tunnel(now, packet),
                Routing::Native => self.switch.receive(now, Source::Wire, packet, &mut self.deliveries),
            }
        }
        self.deliver(now);
        Ok(())
    }

    /// A packet that came out of WireGuard.
    fn take_from_tunnel(&mut self, now: Instant, mut packet: Packet) {
        let identity = match self.routing {
            Routing::Native => Some(Identity::UNKNOWN),
            Routing::Vxlan { port } => inner_of(&mut packet, port)
                .and_then(|_| decapsulate(&mut packet))
                .map(Identity),
        };
        if let Some(identity) = identity {
            self.switch
                .receive(now, Source::Tunnel(identity), packet, &mut self.deliveries);
        }
    }

    fn unwrap_batch(&mut self, now: Instant) -> io::Result<()> {
        let Self {
            batch,
            pool,
            devices,
            switch,
            deliveries,
            ..
        } = self;
        let Some(socket) = &devices.vxlan else { return Ok(()) };
        batch.receive(socket, pool, |_, mut packet, _| {
            if let Some(vni) = decapsulate(&mut packet) {
                switch.receive(now, Source::Tunnel(Identity(vni)), packet, deliveries);
            }
        })?;
        self.deliver(now);
        Ok(())
    }

    /// Carries out what the switch decided.
    fn deliver(&mut self, now: Instant) {
        let mut deliveries = std::mem::take(&mut self.deliveries);
        for delivery in deliveries.drain(..) {
            if delivery.delay.is_zero() {
                self.send(delivery.target, delivery.packet);
            } else {
                self.delayed
                    .push(now + delivery.delay, (delivery.target, delivery.packet));
            }
        }
        self.deliveries = deliveries;
    }

    pub(super) fn send(&mut self, target: Target, packet: Packet) {
        match target {
            Target::Pod(address) => {
                let pod = self.pod_tokens.get(&address).and_then(|token| self.pods.get_mut(token));
                if let Some(pod) = pod {
                    pod.outbox.push(packet, Name::Link(pod.mac));
                }
            }
            Target::Host => self.outboxes.host.push(packet, Name::Link(self.devices.host_mac)),
            Target::Wire => self.outboxes.wire.push(packet, Name::Link(self.devices.wire_mac)),
            Target::Peer {
                peer,
                identity,
                protection,
            } => self.send_to_peer(peer, identity, protection, packet),
        }
    }

    fn send_to_peer(&mut self, peer: PeerIndex, identity: Identity, protection: Protection, mut packet: Packet) {
        let Some(to) = self.peers.get(peer.0) else { return };
        let (destination, has_key) = (to.address, to.public_key.is_some());
        if protection == Protection::SecondLink {
            return self.send_by_second_link(destination, identity, packet);
        }
        let Some(wireguard) = self.wireguard.as_mut().filter(|_| protection == Protection::Configured) else {
            return self.send_in_clear(destination, identity, packet);
        };
        if !has_key || !wireguard.knows(peer.0) {
            if self.switch.lets_out_in_clear(packet.bytes(), Instant::now()) {
                self.send_in_clear(destination, identity, packet);
            }
            return;
        }
        if let Routing::Vxlan { port } = self.routing {
            encapsulate(
                &mut packet,
                identity.0,
                Some(Outer {
                    source: self.address,
                    destination,
                    port,
                }),
            );
        }
        wireguard.encrypt(peer.0, &packet, &mut self.pool, &mut self.outcome);
        self.pool.put(packet);
        self.post_datagrams();
    }

    fn send_by_second_link(&mut self, destination: Ipv4Addr, identity: Identity, mut packet: Packet) {
        if let Routing::Vxlan { port } = self.routing {
            let outer = Outer {
                source: self.address,
                destination,
                port,
            };
            encapsulate(&mut packet, identity.0, Some(outer));
        }
        self.outboxes.second.push(packet, Name::Link(self.devices.wire_mac));
    }

    fn send_in_clear(&mut self, to: Ipv4Addr, identity: Identity, mut packet: Packet) {
        match (self.routing, &mut self.outboxes.vxlan) {
            (Routing::Vxlan { port }, Some(outbox)) => {
                encapsulate(&mut packet, identity.0, None);
                outbox.push(packet, Name::Udp(SocketAddrV4::new(to, port)));
            }
            _ => self.outboxes.wire.push(packet, Name::Link(self.devices.wire_mac)),
        }
    }

    /// Queues what WireGuard wants sent.
    pub(super) fn post_datagrams(&mut self) {
        let Some(outbox) = &mut self.outboxes.wireguard else {
            return;
        };
        for (datagram, to) in self.outcome.datagrams.drain(..) {
            outbox.push(datagram, Name::Udp(to));
        }
    }
}
