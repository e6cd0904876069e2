//! One node's switch: a pure state machine. A packet comes in from a pod, the host, a peer or the wire; deliveries come
//! out. It has no sockets and no clock of its own, and does not know how peers are reached or whether they are
//! encrypted.
//!
//! The order of things follows Cilium's (`bpf/bpf_lxc.c`): service translation, policy at the source, policy at the
//! destination, routing; answers and established flows pass by connection tracking.

mod answer;
mod balance;
mod conntrack;
mod deliver;
mod fragments;
mod impair;
mod journal;
mod maglev;
mod ports;
mod proxy;
mod record;
mod related;
mod settings;
mod setup;
mod sockets;
mod topology;
mod transit;
mod wire;

use crate::{
    config::{Dispatch, Encryption, NodeConfig, Routing},
    flow::{Counters, Direction, DropReason, FlowEvent},
    name::NodeName,
    packet::{HeaderError, Headers, Packet, Transport, Tuple, take_dsr},
    policy::{AllowAll, Policy},
    service::Protocol,
};
use balance::{Keep, ServiceTable};
use conntrack::{Conntrack, FlowKey, Way};
use fragments::FragmentTable;
use journal::Journal;
use rand::{SeedableRng, rngs::SmallRng};
use record::direction_of;
use settings::SwitchFaults;
use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddrV4},
    ops::RangeInclusive,
    time::{Duration, Instant},
};
use topology::Topology;
use transit::{Refusal, Transit};
pub(crate) use wire::WirePorts;

pub use ports::{Delivery, Protection, ProxiedFlow, Source, Target, Upstream};
pub use topology::PeerIndex;

/// Ports that translated sources get: above the host's own ephemeral ports, as set up by the node.
pub(crate) const TRANSLATED_PORTS: RangeInclusive<u16> = 49152..=65535;
/// Cilium's `ipv4-service-loopback-address`: the source that a pod sees when it reaches itself through a service.
pub(crate) const LOOPBACK: Ipv4Addr = Ipv4Addr::new(169, 254, 42, 1);

const CONNTRACK_CAPACITY: usize = 1 << 18;
const EXPIRE_EVERY: Duration = Duration::from_secs(2);

/// The state machine.
pub struct Switch {
    name: NodeName,
    topology: Topology,
    wire_ports: WirePorts,
    reserved_ports: Vec<u16>,
    dispatch: Dispatch,
    /// Whether backends are chosen at the socket, for good.
    socket_balancing: bool,
    device_mtu: usize,
    route_mtu: usize,
    services: ServiceTable,
    conntrack: Conntrack,
    fragments: FragmentTable,
    journal: Journal,
    policy: Box<dyn Policy>,
    policy_revision: u64,
    faults: SwitchFaults,
    /// Flows that proxies are about to open.
    upstreams: HashMap<(Protocol, SocketAddrV4), Upstream>,
    /// Inner MTU that the path to a peer was found to have, until the faults change.
    learned_mtu: Vec<Option<usize>>,
    rng: SmallRng,
    next_expiry: Instant,
}

impl Switch {
    /// A switch without pods, peers or services. `link_mtu` is the MTU of the devices.
    pub fn new(config: &NodeConfig, link_mtu: u16, seed: u64, now: Instant) -> Self {
        let mut reserved_ports = Vec::new();
        if let Encryption::WireGuard { port } = config.encryption {
            reserved_ports.push(port);
        }
        if let Routing::Vxlan { port } = config.routing {
            reserved_ports.push(port);
        }
        Self {
            name: config.name.clone(),
            topology: Topology::new(config),
            wire_ports: WirePorts::new(config.address, config.node_ports.clone(), reserved_ports.clone()),
            reserved_ports,
            dispatch: config.dispatch,
            socket_balancing: config.socket_balancing.is_some(),
            device_mtu: usize::from(link_mtu),
            route_mtu: usize::from(config.route_mtu(link_mtu)),
            services: ServiceTable::default(),
            conntrack: Conntrack::new(CONNTRACK_CAPACITY),
            fragments: FragmentTable::default(),
            journal: Journal::new(config.flow_capacity, now),
            policy: Box::new(AllowAll),
            policy_revision: 0,
            faults: SwitchFaults::default(),
            upstreams: HashMap::new(),
            learned_mtu: Vec::new(),
            rng: SmallRng::seed_from_u64(seed),
            next_expiry: now + EXPIRE_EVERY,
        }
    }

    /// What of its own address is the switch's.
    pub(crate) fn wire_ports(&self) -> WirePorts {
        self.wire_ports.clone()
    }

    /// Counts since the start.
    pub fn counters(&self) -> Counters {
        Counters {
            conntrack_entries: self.conntrack.len(),
            ..self.journal.counters.clone()
        }
    }

    /// Remembered flow events from this sequence number on.
    pub fn flows(&self, from: u64) -> Vec<FlowEvent> {
        self.journal.since(from)
    }

    /// Takes a packet in; deliveries are appended to `out`.
    pub fn receive(&mut self, now: Instant, from: Source, mut packet: Packet, out: &mut Vec<Delivery>) {
        if now >= self.next_expiry {
            self.next_expiry = now + EXPIRE_EVERY;
            self.conntrack.expire(now);
            self.fragments.expire(now);
            self.services.expire(now);
        }
        let answers_as = match from {
            Source::Wire if self.dispatch == Dispatch::Dsr => take_dsr(&mut packet),
            _ => None,
        };
        let headers = match Headers::read(packet.bytes()) {
            Ok(headers) => headers,
            Err(error) => {
                let reason = match error {
                    HeaderError::NotIpv4 => DropReason::UnsupportedL3,
                    HeaderError::Malformed => DropReason::InvalidPacket,
                };
                return self.journal.count_dropped(reason, direction_of(from));
            }
        };
        packet.truncate(headers.total_len);
        let Some(tuple) = self.fragments.tuple(now, &headers) else {
            return self
                .journal
                .count_dropped(DropReason::FragmentNotFound, direction_of(from));
        };
        let mut transit = Transit::new(now, from, packet, headers, tuple);
        transit.answers_as = answers_as;
        if let Err(refusal) = self.pass(&mut transit, out) {
            self.refuse(&transit, refusal, out);
        }
    }

    fn pass(&mut self, transit: &mut Transit, out: &mut Vec<Delivery>) -> Result<(), Refusal> {
        if let Source::Pod(address) = transit.from {
            if transit.headers.source() != address {
                return Err(Refusal::Drop(DropReason::InvalidSource));
            }
            if !self.impair_endpoint(address, Direction::Egress, transit, out) {
                return Ok(());
            }
        }
        if matches!(transit.headers.transport, Transport::IcmpError { .. }) && self.pass_related(transit, out)? {
            return Ok(());
        }
        let (key, way, is_new) = match self.established(transit)? {
            Some((key, way)) => (key, way, false),
            None => match self.set_up(transit)? {
                Some(key) => (key, Way::Original, true),
                None => return self.forward_untracked(transit, out),
            },
        };
        let flow = self.conntrack.get_mut(key);
        let changed = flow.observe(transit.now, way, &transit.headers);
        self.forward(transit, key, way, is_new || changed, out);
        Ok(())
    }

    /// The live flow that the packet belongs to, after asking again what may have changed since.
    fn established(&mut self, transit: &Transit) -> Result<Option<(FlowKey, Way)>, Refusal> {
        let found = self
            .conntrack
            .find(transit.now, &transit.tuple)
            .or_else(|| self.find_by_other_address(transit));
        let Some((key, way)) = found else { return Ok(None) };
        if self.conntrack.get(key).is_reused_by(transit.now, &transit.headers) {
            self.conntrack.remove(key);
            return Ok(None);
        }
        if self
            .faults
            .idle_dropped
            .is_some_and(|after| self.conntrack.get(key).is_idle(transit.now, after))
        {
            return Err(Refusal::Drop(DropReason::Fault));
        }
        if way == Way::Reply {
            return Ok(Some((key, way)));
        }
        if let Some(binding) = self.conntrack.get(key).service {
            match self.services.keeps(&binding) {
                Keep::Yes(revision) => {
                    let binding = conntrack::Binding { revision, ..binding };
                    self.conntrack.get_mut(key).service = Some(binding);
                }
                // A socket was given its backend when it connected, and nobody asks again (semantics B4).
                Keep::BackendGone | Keep::ServiceGone if self.is_pinned(key) => {}
                // As Cilium's lb4_local: a flow whose backend is gone is given another one.
                Keep::BackendGone => {
                    self.conntrack.remove(key);
                    return Ok(None);
                }
                Keep::ServiceGone => {
                    self.conntrack.remove(key);
                    return Err(Refusal::Drop(DropReason::ServiceBackendNotFound));
                }
            }
        }
        if self.conntrack.get(key).policy_revision != self.policy_revision {
            self.ask_again(key, transit)?;
        }
        Ok(Some((key, way)))
    }

    /// A UDP server of the host that listens on every address answers from the address of its route, `cilium_host`'s,
    /// whichever of the two was asked.
    fn find_by_other_address(&self, transit: &Transit) -> Option<(FlowKey, Way)> {
        if transit.from != Source::Host || *transit.tuple.source.ip() != self.topology.router {
            return None;
        }
        let source = SocketAddrV4::new(self.topology.address, transit.tuple.source.port());
        let found = self.conntrack.find(
            transit.now,
            &Tuple {
                source,
                ..transit.tuple
            },
        );
        found.filter(|(_, way)| *way == Way::Reply)
    }

    fn refuse(&mut self, transit: &Transit, refusal: Refusal, out: &mut Vec<Delivery>) {
        let (Refusal::Drop(reason) | Refusal::Reject(reason)) = refusal;
        self.note_drop(transit, reason);
        if let Refusal::Reject(_) = refusal {
            self.reject(transit, out);
        }
    }
}

impl std::fmt::Debug for Switch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Switch")
            .field("name", &self.name)
            .field("flows", &self.conntrack.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
