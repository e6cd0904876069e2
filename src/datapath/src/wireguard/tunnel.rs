//! The tunnel to one peer: boringtun's state, and what has been seen of the peer.

use crate::{
    config::PublicKey,
    name::NodeName,
    packet::{Packet, PacketPool},
};
use boringtun::noise::{Tunn, TunnResult};
use ipnet::Ipv4Net;
use std::{
    net::{Ipv4Addr, SocketAddrV4},
    time::SystemTime,
};

/// What a datagram or a packet led to.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Datagrams to send.
    pub datagrams: Vec<(Packet, SocketAddrV4)>,
    /// Packets that came out of the tunnel.
    pub packets: Vec<Packet>,
}

/// The tunnel to one peer.
pub(super) struct Tunnel {
    pub(super) node: NodeName,
    pub(super) key: PublicKey,
    pub(super) endpoint: SocketAddrV4,
    pub(super) allowed_ips: Vec<Ipv4Net>,
    pub(super) tunn: Tunn,
    /// An initiation of ours is on its way, or packets wait for a session.
    pub(super) waiting: bool,
    /// The peer has initiated; the handshake counts once data comes through it.
    pub(super) answered: bool,
    pub(super) last_handshake: Option<SystemTime>,
    pub(super) rx_bytes: u64,
    pub(super) tx_bytes: u64,
    /// What boringtun marks this tunnel's sessions with.
    pub(super) index: u32,
}

impl Tunnel {
    pub(super) fn send(&mut self, datagram: Packet, out: &mut Outcome) {
        self.waiting |= datagram.bytes().first() == Some(&1);
        self.tx_bytes += datagram.len() as u64;
        out.datagrams.push((datagram, self.endpoint));
    }

    pub(super) fn initiate(&mut self, pool: &mut PacketPool, out: &mut Outcome) {
        let mut room = pool.take();
        if let TunnResult::WriteToNetwork(message) = self.tunn.format_handshake_initiation(room.bytes_mut(), true) {
            let len = message.len();
            room.truncate(len);
            self.send(room, out);
        }
    }

    /// Sends what was queued while there was no session.
    pub(super) fn flush(&mut self, pool: &mut PacketPool, out: &mut Outcome) {
        if self.tunn.time_since_last_handshake().is_none() {
            return;
        }
        loop {
            let mut room = pool.take();
            let TunnResult::WriteToNetwork(message) = self.tunn.decapsulate(None, &[], room.bytes_mut()) else {
                break;
            };
            let len = message.len();
            room.truncate(len);
            self.send(room, out);
        }
        self.waiting = false;
    }

    pub(super) fn note_handshake(&mut self) {
        self.last_handshake = Some(SystemTime::now());
    }

    pub(super) fn note_data(&mut self) {
        if std::mem::take(&mut self.answered) {
            self.note_handshake();
        }
    }

    pub(super) fn allows(&self, source: Ipv4Addr) -> bool {
        self.allowed_ips.iter().any(|prefix| prefix.contains(&source))
    }
}
