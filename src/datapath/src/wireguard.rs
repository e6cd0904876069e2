//! The WireGuard side of a node: one boringtun tunnel per peer, datagrams in, packets out. No sockets: what has to be
//! sent is handed to the caller.

use crate::{
    config::{Peer, PublicKey, SecretKey},
    name::NodeName,
    packet::{Packet, PacketPool},
};
use boringtun::{
    noise::{Packet as Message, Tunn, TunnResult, handshake::parse_handshake_anon, rate_limiter::RateLimiter},
    x25519,
};
use ipnet::Ipv4Net;
use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddrV4},
    sync::Arc,
    time::SystemTime,
};

mod tunnel;

pub(crate) use tunnel::Outcome;
use tunnel::Tunnel;

/// Initiations per second that are answered without a cookie. Six nodes never come near; a stranger might.
const HANDSHAKE_LIMIT: u64 = 100;
/// WireGuard's data overhead, and the size of its largest handshake message.
const OVERHEAD: usize = 32;
const INITIATION: usize = 148;

/// A WireGuard peer as `wg show` would print it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// The peer's node.
    pub node: NodeName,
    /// Its public key as this node knows it.
    pub public_key: PublicKey,
    /// Where it listens.
    pub endpoint: std::net::SocketAddr,
    /// What may come out of the tunnel.
    pub allowed_ips: Vec<Ipv4Net>,
    /// The last completed handshake; `None` until there was one.
    pub last_handshake: Option<SystemTime>,
    /// Bytes of WireGuard messages received.
    pub rx_bytes: u64,
    /// Bytes of WireGuard messages sent.
    pub tx_bytes: u64,
}

/// All tunnels of a node.
pub(crate) struct WireGuard {
    secret: x25519::StaticSecret,
    public: x25519::PublicKey,
    limiter: Arc<RateLimiter>,
    tunnels: Vec<Option<Tunnel>>,
    /// Tunnels by the index that boringtun puts into the upper 24 bits of its session indices.
    by_index: HashMap<u32, usize>,
    next_index: u32,
}

impl WireGuard {
    pub(crate) fn new(secret: &SecretKey) -> Self {
        let public = x25519::PublicKey::from(&secret.0);
        Self {
            secret: secret.0.clone(),
            public,
            limiter: Arc::new(RateLimiter::new(&public, HANDSHAKE_LIMIT)),
            tunnels: Vec::new(),
            by_index: HashMap::new(),
            next_index: 1,
        }
    }

    /// Replaces the peers, in the order given; `None` keys make gaps. Tunnels to peers with unchanged keys live on.
    pub(crate) fn set_peers<'a>(
        &mut self,
        peers: impl IntoIterator<Item = (&'a Peer, Option<PublicKey>, Vec<Ipv4Net>)>,
    ) {
        let mut before: Vec<Tunnel> = self.tunnels.drain(..).flatten().collect();
        self.by_index.clear();
        for (peer, key, allowed_ips) in peers {
            let Some(key) = key else {
                self.tunnels.push(None);
                continue;
            };
            let endpoint = SocketAddrV4::new(peer.address, peer.wireguard_port);
            let kept = before
                .iter()
                .position(|tunnel| tunnel.node == peer.node && tunnel.key == key);
            let tunnel = match kept {
                Some(at) => Tunnel {
                    endpoint,
                    allowed_ips,
                    ..before.swap_remove(at)
                },
                None => self.new_tunnel(peer.node.clone(), key, endpoint, allowed_ips),
            };
            self.tunnels.push(Some(tunnel));
        }
        // A new index for every tunnel would end its sessions, so kept ones are found by what they were given.
        for (at, tunnel) in self.tunnels.iter().enumerate() {
            if let Some(tunnel) = tunnel {
                self.by_index.insert(tunnel.index, at);
            }
        }
    }

    fn new_tunnel(
        &mut self,
        node: NodeName,
        key: PublicKey,
        endpoint: SocketAddrV4,
        allowed_ips: Vec<Ipv4Net>,
    ) -> Tunnel {
        let index = self.next_index;
        self.next_index = (self.next_index + 1) & 0x00ff_ffff;
        let peer = x25519::PublicKey::from(key.0);
        let tunn = Tunn::new(self.secret.clone(), peer, None, None, index, Some(self.limiter.clone()));
        Tunnel {
            node,
            key,
            endpoint,
            allowed_ips,
            tunn,
            waiting: false,
            answered: false,
            last_handshake: None,
            rx_bytes: 0,
            tx_bytes: 0,
            index,
        }
    }

    /// Whether there is a tunnel to a peer.
    pub(crate) fn knows(&self, peer: usize) -> bool {
        matches!(self.tunnels.get(peer), Some(Some(_)))
    }

    /// Encrypts a packet for a peer; without a session it is queued and a handshake begins. `false` if the peer has no
    /// key.
    pub(crate) fn encrypt(&mut self, peer: usize, packet: &Packet, pool: &mut PacketPool, out: &mut Outcome) -> bool {
        let Some(Some(tunnel)) = self.tunnels.get_mut(peer) else {
            return false;
        };
        let mut room = pool.take();
        if room.len() < (packet.len() + OVERHEAD).max(INITIATION) {
            room = Packet::zeroed((packet.len() + OVERHEAD).max(INITIATION));
        }
        let result = tunnel.tunn.encapsulate(packet.bytes(), room.bytes_mut());
        if let TunnResult::WriteToNetwork(message) = result {
            let len = message.len();
            room.truncate(len);
            tunnel.send(room, out);
        }
        true
    }

    /// Takes a datagram in.
    pub(crate) fn receive(&mut self, from: SocketAddrV4, datagram: &Packet, pool: &mut PacketPool, out: &mut Outcome) {
        let Ok(message) = Tunn::parse_incoming_packet(datagram.bytes()) else {
            return;
        };
        let Some(peer) = self.tunnel_of(&message) else { return };
        let Some(Some(tunnel)) = self.tunnels.get_mut(peer) else {
            return;
        };
        tunnel.rx_bytes += datagram.len() as u64;
        let mut room = pool.take();
        match tunnel
            .tunn
            .decapsulate(Some(IpAddr::V4(*from.ip())), datagram.bytes(), room.bytes_mut())
        {
            TunnResult::WriteToNetwork(reply) => {
                let len = reply.len();
                match message {
                    Message::HandshakeInit(_) if datagram.len() == INITIATION => tunnel.answered = true,
                    Message::HandshakeResponse(_) => tunnel.note_handshake(),
                    _ => {}
                }
                room.truncate(len);
                tunnel.send(room, out);
            }
            TunnResult::WriteToTunnelV4(packet, source) => {
                let len = packet.len();
                tunnel.note_data();
                if tunnel.allows(source) {
                    room.truncate(len);
                    out.packets.push(room);
                }
            }
            TunnResult::Done if matches!(message, Message::PacketData(_)) => tunnel.note_data(),
            TunnResult::Err(error) => tracing::debug!(?error, node = %tunnel.node, "WireGuard message refused"),
            TunnResult::Done | TunnResult::WriteToTunnelV6(..) => {}
        }
        if tunnel.waiting {
            tunnel.flush(pool, out);
        }
    }

    fn tunnel_of(&self, message: &Message<'_>) -> Option<usize> {
        let index = match message {
            Message::HandshakeInit(init) => {
                let half = parse_handshake_anon(&self.secret, &self.public, init).ok()?;
                let is_theirs = |tunnel: &Option<Tunnel>| {
                    tunnel
                        .as_ref()
                        .is_some_and(|tunnel| tunnel.key.0 == half.peer_static_public)
                };
                return self.tunnels.iter().position(is_theirs);
            }
            Message::HandshakeResponse(response) => response.receiver_idx,
            Message::PacketCookieReply(reply) => reply.receiver_idx,
            Message::PacketData(data) => data.receiver_idx,
        };
        self.by_index.get(&(index >> 8)).copied()
    }

    /// Runs the timers: retries, rekeys, keepalives. To be called several times a second.
    pub(crate) fn tick(&mut self, pool: &mut PacketPool, out: &mut Outcome) {
        self.limiter.reset_count();
        for tunnel in self.tunnels.iter_mut().flatten() {
            let mut room = pool.take();
            if let TunnResult::WriteToNetwork(message) = tunnel.tunn.update_timers(room.bytes_mut()) {
                let len = message.len();
                room.truncate(len);
                tunnel.send(room, out);
            }
        }
    }

    /// Begins a handshake at once with every peer that waits for one, instead of when its retry is due: something
    /// that was in the way has been healed.
    pub(crate) fn retry(&mut self, pool: &mut PacketPool, out: &mut Outcome) {
        for tunnel in self.tunnels.iter_mut().flatten().filter(|tunnel| tunnel.waiting) {
            tunnel.initiate(pool, out);
        }
    }

    /// Begins a handshake with one peer.
    pub(crate) fn initiate(&mut self, peer: usize, pool: &mut PacketPool, out: &mut Outcome) {
        if let Some(Some(tunnel)) = self.tunnels.get_mut(peer) {
            tunnel.initiate(pool, out);
        }
    }

    /// The peers, those without a key left out.
    pub(crate) fn status(&self) -> Vec<PeerStatus> {
        let status = |tunnel: &Tunnel| PeerStatus {
            node: tunnel.node.clone(),
            public_key: tunnel.key,
            endpoint: tunnel.endpoint.into(),
            allowed_ips: tunnel.allowed_ips.clone(),
            last_handshake: tunnel.last_handshake,
            rx_bytes: tunnel.rx_bytes,
            tx_bytes: tunnel.tx_bytes,
        };
        self.tunnels.iter().flatten().map(status).collect()
    }
}

#[cfg(test)]
mod tests;
