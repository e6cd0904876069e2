//! A packet on its way through the switch.

use super::Source;
use crate::{
    flow::DropReason,
    identity::Identity,
    packet::{Headers, Packet, Tuple},
};
use std::{
    net::SocketAddrV4,
    time::{Duration, Instant},
};

/// A packet with what is known of it, on its way through.
pub(super) struct Transit {
    pub(super) now: Instant,
    pub(super) from: Source,
    pub(super) packet: Packet,
    pub(super) headers: Headers,
    /// Headers' tuple, with ports also in later fragments.
    pub(super) tuple: Tuple,
    pub(super) delay: Duration,
    /// Whether a fault sends it twice.
    pub(super) twice: bool,
    /// The smallest MTU that a fault allows on its way.
    pub(super) mtu: usize,
    /// Whether it goes past the encryption.
    pub(super) in_clear: bool,
    /// Identity to carry, where it is not the source's own.
    pub(super) identity: Option<Identity>,
    /// The service that another node was asked for, in whose name the answer goes straight to the client.
    pub(super) answers_as: Option<SocketAddrV4>,
}

impl Transit {
    pub(super) fn new(now: Instant, from: Source, packet: Packet, headers: Headers, tuple: Tuple) -> Self {
        Self {
            now,
            from,
            packet,
            headers,
            tuple,
            delay: Duration::ZERO,
            twice: false,
            mtu: usize::MAX,
            in_clear: false,
            identity: None,
            answers_as: None,
        }
    }
}

/// Why a packet does not go on, and what its sender gets to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Drop(DropReason),
    Reject(DropReason),
}
