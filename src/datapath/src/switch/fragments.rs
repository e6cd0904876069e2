//! Ports of fragmented packets: only a packet's first fragment carries them, and the later ones are looked up here
//! (Cilium's `bpf-fragments-map`).

use crate::{
    packet::{Fragment, Headers, Tuple},
    service::Protocol,
};
use std::{
    collections::HashMap,
    net::Ipv4Addr,
    time::{Duration, Instant},
};

const LIFETIME: Duration = Duration::from_secs(30);

/// Remembers first fragments.
#[derive(Debug, Default)]
pub(super) struct FragmentTable {
    seen: HashMap<(Ipv4Addr, Ipv4Addr, Protocol, u16), (Tuple, Instant)>,
}

impl FragmentTable {
    /// The packet's tuple with ports, from its own header or from its first fragment's. `None` if that was not seen.
    pub(super) fn tuple(&mut self, now: Instant, headers: &Headers) -> Option<Tuple> {
        let key = (
            headers.source(),
            headers.destination(),
            headers.tuple.protocol,
            headers.identification,
        );
        match headers.fragment {
            Fragment::Whole => Some(headers.tuple),
            Fragment::First => {
                self.seen.insert(key, (headers.tuple, now + LIFETIME));
                Some(headers.tuple)
            }
            Fragment::Later => self
                .seen
                .get(&key)
                .filter(|(_, expires)| *expires > now)
                .map(|(tuple, _)| *tuple),
        }
    }

    pub(super) fn expire(&mut self, now: Instant) {
        self.seen.retain(|_, (_, expires)| *expires > now);
    }
}
