//! Connection tracking with translation, as one entry per flow found from both directions. It decides nothing: the
//! switch sets flows up, this table finds, ages and forgets them.

use crate::{
    flow::ProxyPort,
    identity::Identity,
    packet::{Headers, Tuple, tcp},
    service::{Frontend, Protocol},
};
use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddrV4},
    ops::RangeInclusive,
    time::{Duration, Instant},
};

/// Cilium's `bpf-ct-timeout-regular-tcp-syn`.
const TCP_SYN: Duration = Duration::from_secs(60);
/// Cilium's `bpf-ct-timeout-regular-tcp`.
const TCP: Duration = Duration::from_secs(8000);
/// Cilium's `bpf-ct-timeout-regular-tcp-fin`.
const TCP_CLOSED: Duration = Duration::from_secs(10);
/// Cilium's `bpf-ct-timeout-regular-any`.
const ANY: Duration = Duration::from_secs(60);

/// Which way a packet of a flow goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// As the first packet went.
    Original,
    /// Back.
    Reply,
}

/// Names a flow in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FlowKey(usize);

/// Between two SYNs of one socket at most, but for the fourth and later retries (1, 2 and 4 s; RFC 6298): what comes
/// after more is another socket with the same port.
const RETRY_GAP: Duration = Duration::from_secs(5);

/// How far a TCP connection has come; flows of other protocols stay `Open`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing came back yet.
    Opening,
    /// It did.
    Open,
    /// One side is done.
    HalfClosed(Way),
    /// Both sides are done, or one has reset it.
    Closed,
}

/// The service's choice that a flow rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Binding {
    /// The service's frontend.
    pub frontend: Frontend,
    /// Who was chosen.
    pub backend: SocketAddrV4,
    /// Revision of the service table at the last check.
    pub revision: u64,
}

/// One flow.
#[derive(Clone, Debug)]
pub(super) struct Flow {
    /// The first packet's tuple as its sender wrote it.
    pub original: Tuple,
    /// The tuple of an answer as its sender writes it.
    pub reply: Tuple,
    /// The service that was asked, if any.
    pub service: Option<Binding>,
    /// In whose name it is answered, where that is not whom its sender wrote to: this node is its backend's, another
    /// was asked.
    pub answers_as: Option<SocketAddrV4>,
    /// Whether its answers take another way, straight to the client.
    pub returns_directly: bool,
    /// The proxy that it was handed to.
    pub redirect: Option<ProxyPort>,
    /// Revision of the policy that allowed it.
    pub policy_revision: u64,
    /// Whether no policy applies: a pod reaching itself, or what a destination's own proxy let through.
    pub exempt: bool,
    /// Whether a proxy of the host opened it on a client's behalf.
    pub impersonates: bool,
    /// Identity of who opened it.
    pub source_identity: Identity,
    /// Identity of whom it was opened to.
    pub destination_identity: Identity,
    /// Whether a process of this node, in a pod or not, opened it.
    pub from_socket: bool,
    /// How far it has come.
    pub phase: Phase,
    /// When it is forgotten.
    pub expires: Instant,
}

impl Flow {
    /// Notes a packet. Returns whether the flow's phase changed: worth an event.
    pub(super) fn observe(&mut self, now: Instant, way: Way, headers: &Headers) -> bool {
        let before = self.phase;
        if self.original.protocol == Protocol::Tcp {
            let flags = headers.tcp_flags();
            self.phase = match (self.phase, way) {
                (_, _) if flags & tcp::RST != 0 => Phase::Closed,
                (Phase::HalfClosed(first), way) if flags & tcp::FIN != 0 && first != way => Phase::Closed,
                (Phase::Open | Phase::Opening, way) if flags & tcp::FIN != 0 => Phase::HalfClosed(way),
                (Phase::Opening, Way::Reply) => Phase::Open,
                (phase, _) => phase,
            };
        } else if way == Way::Reply {
            self.phase = Phase::Open;
        }
        self.expires = now + self.lifetime();
        before != self.phase
    }

    pub(super) fn lifetime(&self) -> Duration {
        match (self.original.protocol, self.phase) {
            (Protocol::Tcp, Phase::Opening) => TCP_SYN,
            (Protocol::Tcp, Phase::Closed) => TCP_CLOSED,
            (Protocol::Tcp, Phase::Open | Phase::HalfClosed(_)) => TCP,
            _ => ANY,
        }
    }

    /// Whether it is an open TCP connection without a packet for longer than this.
    pub(super) fn is_idle(&self, now: Instant, than: Duration) -> bool {
        let is_open = self.original.protocol == Protocol::Tcp && self.phase == Phase::Open;
        is_open && self.expires + than < now + self.lifetime()
    }

    /// Whether this packet opens a new flow on an entry that is only waiting to be forgotten: the old one is over, or
    /// it was never answered and its socket has long stopped to try.
    pub(super) fn is_reused_by(&self, now: Instant, headers: &Headers) -> bool {
        let opens = headers.tcp_flags() & (tcp::SYN | tcp::ACK) == tcp::SYN;
        let gave_up = self.phase == Phase::Opening && self.expires + RETRY_GAP < now + self.lifetime();
        opens && (self.phase == Phase::Closed || gave_up)
    }

    fn involves(&self, address: Ipv4Addr) -> bool {
        [
            self.original.source,
            self.original.destination,
            self.reply.source,
            self.reply.destination,
        ]
        .iter()
        .any(|side| *side.ip() == address)
    }
}

/// The table.
#[derive(Debug)]
pub(super) struct Conntrack {
    flows: Vec<Option<Flow>>,
    free: Vec<usize>,
    index: HashMap<Tuple, (usize, Way)>,
    capacity: usize,
}

impl Conntrack {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            flows: Vec::new(),
            free: Vec::new(),
            index: HashMap::new(),
            capacity,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.flows.len() - self.free.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.len() >= self.capacity
    }

    /// The flow that a packet with this tuple belongs to. An expired one is not found.
    pub(super) fn find(&self, now: Instant, tuple: &Tuple) -> Option<(FlowKey, Way)> {
        let (slot, way) = *self.index.get(tuple)?;
        (self.flows[slot].as_ref()?.expires > now).then_some((FlowKey(slot), way))
    }

    pub(super) fn get(&self, key: FlowKey) -> &Flow {
        self.flows[key.0]
            .as_ref()
            .expect("a key is used only while its flow lives")
    }

    pub(super) fn get_mut(&mut self, key: FlowKey) -> &mut Flow {
        self.flows[key.0]
            .as_mut()
            .expect("a key is used only while its flow lives")
    }

    /// Forgets the flows that are wanted, and returns them.
    pub(super) fn take(&mut self, is_wanted: impl Fn(&Flow) -> bool) -> Vec<Flow> {
        let taken: Vec<_> = self
            .flows
            .iter()
            .flatten()
            .filter(|flow| is_wanted(flow))
            .cloned()
            .collect();
        if !taken.is_empty() {
            self.forget(is_wanted);
        }
        taken
    }

    /// Whether a live flow already receives answers, or is opened, under this tuple. Closed and expired ones yield.
    pub(super) fn is_taken(&self, now: Instant, tuple: &Tuple) -> bool {
        self.index.get(tuple).is_some_and(|(slot, _)| {
            self.flows[*slot]
                .as_ref()
                .is_some_and(|flow| flow.expires > now && flow.phase != Phase::Closed)
        })
    }

    /// Adds a flow. Whatever dead flow held one of its tuples is forgotten; the caller has seen to it that no live one
    /// does.
    pub(super) fn insert(&mut self, flow: Flow) -> FlowKey {
        for tuple in [flow.original, flow.reply] {
            if let Some((slot, _)) = self.index.get(&tuple).copied() {
                self.remove(FlowKey(slot));
            }
        }
        let (original, reply) = (flow.original, flow.reply);
        let slot = match self.free.pop() {
            Some(slot) => {
                self.flows[slot] = Some(flow);
                slot
            }
            None => {
                self.flows.push(Some(flow));
                self.flows.len() - 1
            }
        };
        self.index.insert(reply, (slot, Way::Reply));
        self.index.insert(original, (slot, Way::Original));
        FlowKey(slot)
    }

    pub(super) fn remove(&mut self, key: FlowKey) {
        let Some(flow) = self.flows[key.0].take() else { return };
        for tuple in [flow.original, flow.reply] {
            if self.index.get(&tuple).is_some_and(|(slot, _)| *slot == key.0) {
                self.index.remove(&tuple);
            }
        }
        self.free.push(key.0);
    }

    /// Forgets what has expired.
    pub(super) fn expire(&mut self, now: Instant) {
        self.forget(|flow| flow.expires <= now);
    }

    /// Forgets every flow from or to an address, so that a pod that gets it next meets none of them.
    pub(super) fn forget_address(&mut self, address: Ipv4Addr) {
        self.forget(|flow| flow.involves(address));
    }

    fn forget(&mut self, unwanted: impl Fn(&Flow) -> bool) {
        for slot in 0..self.flows.len() {
            if self.flows[slot].as_ref().is_some_and(&unwanted) {
                self.remove(FlowKey(slot));
            }
        }
    }

    /// A source for a new flow to `destination` at `address` whose answers reach nobody else: `preferred`, or a port
    /// of the range that is not reserved. `None` if all are taken.
    pub(super) fn free_source(
        &self,
        now: Instant,
        protocol: Protocol,
        address: Ipv4Addr,
        preferred: u16,
        (range, reserved): (&RangeInclusive<u16>, &[u16]),
        destination: SocketAddrV4,
    ) -> Option<SocketAddrV4> {
        let is_free = |port: &u16| {
            if reserved.contains(port) {
                return false;
            }
            let source = SocketAddrV4::new(address, *port);
            !self.is_taken(
                now,
                &Tuple {
                    protocol,
                    source: destination,
                    destination: source,
                },
            )
        };
        let span = u32::from(range.end() - range.start()) + 1;
        // Spread by the wish, so that many flows to one place do not all search from the start.
        let from = u32::from(preferred) % span;
        let candidates = (0..span).map(|step| range.start() + ((from + step) % span) as u16);
        let wish = (range.contains(&preferred)).then_some(preferred);
        wish.into_iter()
            .chain(candidates)
            .find(is_free)
            .map(|port| SocketAddrV4::new(address, port))
    }
}
