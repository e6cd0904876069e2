//! A machine's way into the fabric: finds the receiver of each packet, applies the rule of the link to it, and writes
//! to the receiver's end. Each machine's thread owns one.

use super::{Fabric, Port, Table, mac};
use crate::{
    fault::{Effect, Fault, Impairment, MtuSignal, Traffic},
    impairment::{Fate, Impairments, corrupt},
    packet::{Headers, IcmpError, Packet, PacketPool, icmp_error, tcp_reset},
    reactor::DelayQueue,
    service::Protocol,
    socket::{Name, Outbox, PacketSocket},
};
use rand::{SeedableRng, rngs::SmallRng};
use std::{
    collections::HashMap,
    net::Ipv4Addr,
    sync::Arc,
    time::{Duration, Instant},
};

/// The rule of one ordered pair.
#[derive(Debug)]
struct Link {
    to: Arc<Port>,
    outbox: Outbox,
    /// To the receiver's second link.
    second: Option<Outbox>,
    latency: Duration,
    impairments: Impairments,
    queue: Queue,
}

/// What waits before a link that carries only so many bits a second: one packet goes after the other.
#[derive(Clone, Copy, Debug, Default)]
struct Queue {
    /// When all of it has gone.
    empty: Option<Instant>,
}

impl Queue {
    /// What has to wait longer is lost, as with netem's limit.
    const LONGEST: Duration = Duration::from_millis(100);

    /// How long a packet takes until it has left; none if there is no room for it.
    fn enter(&mut self, now: Instant, bytes: usize, rate: u64) -> Option<Duration> {
        let free = self.empty.map_or(now, |empty| empty.max(now));
        if free - now > Self::LONGEST {
            return None;
        }
        let gone = free + Duration::from_secs_f64(bytes as f64 * 8.0 / rate.max(1) as f64);
        self.empty = Some(gone);
        Some(gone - now)
    }
}

/// Something that the sender ought to know of a packet that did not cross.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// Packets of more than `mtu` bytes do not reach that machine.
    Mtu { to: Ipv4Addr, mtu: u16 },
}

/// One machine's sending side.
#[derive(Debug)]
pub(crate) struct Uplink {
    fabric: Fabric,
    own: Arc<Port>,
    table: Arc<Table>,
    links: HashMap<usize, Link>,
    /// Answers to this machine itself.
    back: Outbox,
    delayed: DelayQueue<(usize, Packet)>,
    rng: SmallRng,
}

impl Uplink {
    pub(crate) fn new(fabric: Fabric, own: Arc<Port>) -> Self {
        let seed = own
            .name
            .as_str()
            .bytes()
            .fold(fabric.config().seed, |seed, byte| seed.rotate_left(5) ^ u64::from(byte));
        let (table, back) = (fabric.table(), own.socket.outbox());
        Self {
            fabric,
            own,
            table,
            links: HashMap::new(),
            back,
            delayed: DelayQueue::default(),
            rng: SmallRng::seed_from_u64(seed),
        }
    }

    /// The fabric.
    pub(crate) fn fabric(&self) -> &Fabric {
        &self.fabric
    }

    /// Takes over a changed fabric; returns whether it had changed.
    pub(crate) fn refresh(&mut self) -> bool {
        if self.fabric.version() == self.table.version {
            return false;
        }
        let before = std::mem::replace(&mut self.table, self.fabric.table());
        self.links.clear();
        // Packets in flight arrive where they were going, if that is still there.
        let now_at = |to: usize| {
            let name = &before.ports.get(to)?.name;
            self.table.ports.iter().position(|port| port.name == *name)
        };
        self.delayed.retain_map(|(to, packet)| Some((now_at(to)?, packet)));
        true
    }

    /// MTU of the fabric's devices.
    pub(crate) fn mtu(&self) -> u16 {
        self.fabric.config().mtu
    }

    /// The view in use.
    pub(crate) fn table(&self) -> &Arc<Table> {
        &self.table
    }

    /// When the next packet in flight arrives.
    pub(crate) fn next_arrival(&self) -> Option<Instant> {
        self.delayed.next()
    }

    /// Takes a packet that left this machine's `eth0`.
    pub(crate) fn cross(&mut self, now: Instant, mut packet: Packet, notices: &mut Vec<Notice>) {
        let Ok(headers) = Headers::read(packet.bytes()) else {
            return;
        };
        let Some(to) = self.table.find(headers.destination()) else {
            return;
        };
        let link = self
            .links
            .entry(to)
            .or_insert_with(|| Link::between(&self.fabric, &self.table, &self.own, to));
        let fate = if link.impairments.is_empty() {
            Fate::Pass(Default::default())
        } else {
            link.impairments.judge(packet.bytes(), &headers, &mut self.rng)
        };
        match fate {
            Fate::Pass(passage) => {
                let waits = match passage.rate {
                    Some(rate) => link.queue.enter(now, headers.total_len, rate),
                    None => Some(Duration::ZERO),
                };
                let Some(waits) = waits else { return };
                let delay = link.latency + passage.delay + waits;
                if let Some(checksum) = passage.corrupt {
                    corrupt(packet.bytes_mut(), &headers, checksum);
                }
                if passage.twice {
                    self.send_after(now, delay, to, packet.clone());
                }
                self.send_after(now, delay, to, packet);
            }
            Fate::Lost
            | Fate::TooBig {
                signal: MtuSignal::Silent,
                ..
            } => {}
            Fate::TooBig {
                mtu,
                signal: MtuSignal::Icmp,
            } => {
                notices.push(Notice::Mtu {
                    to: link.to.address,
                    mtu,
                });
                let hop = link.to.address;
                self.answer(icmp_error(
                    packet.bytes(),
                    &headers,
                    hop,
                    IcmpError::FragmentationNeeded { mtu },
                ));
            }
            Fate::Reset => self.answer(tcp_reset(packet.bytes(), &headers)),
        }
    }

    /// Takes a packet that left this machine's second link: whatever is wrong with the first, it arrives.
    pub(crate) fn cross_second(&mut self, packet: Packet) {
        let headers = Headers::read(packet.bytes());
        let Some(to) = headers.ok().and_then(|headers| self.table.find(headers.destination())) else {
            return;
        };
        let link = self
            .links
            .entry(to)
            .or_insert_with(|| Link::between(&self.fabric, &self.table, &self.own, to));
        if let Some(second) = &mut link.second {
            // As on the first link: not for the receiver's stack.
            second.push(packet, Name::Link(mac(0xff, link.to.address)));
        }
    }

    fn answer(&mut self, answer: Option<Packet>) {
        if let Some(answer) = answer {
            self.back.push(answer, Name::Link(self.own.mac));
        }
    }

    fn send_after(&mut self, now: Instant, delay: Duration, to: usize, packet: Packet) {
        if delay.is_zero() {
            self.arrive(to, packet);
        } else {
            self.delayed.push(now + delay, (to, packet));
        }
    }

    fn arrive(&mut self, to: usize, packet: Packet) {
        let link = self
            .links
            .entry(to)
            .or_insert_with(|| Link::between(&self.fabric, &self.table, &self.own, to));
        let Ok(headers) = Headers::read(packet.bytes()) else {
            return;
        };
        let port = &link.to;
        let for_switch = port.switch.as_ref().is_some_and(|ports| ports.want(&headers));
        // Another MAC address than the device's keeps the receiver's stack from looking at it.
        let to = if for_switch { mac(0xff, port.address) } else { port.mac };
        link.outbox.push(packet, Name::Link(to));
    }

    /// Sends what is due. Returns how many packets were lost to full queues.
    pub(crate) fn flush(&mut self, now: Instant, pool: &mut PacketPool) -> u64 {
        while let Some((to, packet)) = self.delayed.pop_due(now) {
            self.arrive(to, packet);
        }
        let outboxes = self
            .links
            .values_mut()
            .flat_map(|link| [Some(&mut link.outbox), link.second.as_mut()])
            .flatten()
            .chain([&mut self.back]);
        outboxes
            .filter(|outbox| !outbox.is_empty())
            .map(|outbox| outbox.flush(pool))
            .sum()
    }
}

impl Link {
    fn between(fabric: &Fabric, table: &Table, from: &Port, to: usize) -> Self {
        let to = table.ports[to].clone();
        let config = fabric.config();
        let profile = match (&from.cluster, &to.cluster) {
            (Some(a), Some(b)) if a != b => config.between_clusters,
            _ => config.within_cluster,
        };
        let (from, name) = (&from.name, &to.name);
        let mut impairments = Vec::new();
        for (_, fault) in table.faults.iter() {
            match fault {
                Fault::Underlay {
                    from: senders,
                    to: receivers,
                    impairment,
                } if senders.contains(from) && receivers.contains(name) => {
                    impairments.push(impairment.clone());
                }
                Fault::TunnelDown {
                    from: senders,
                    to: receivers,
                } if senders.contains(from) && receivers.contains(name) => {
                    if let Some(port) = to.wireguard_port {
                        let traffic = Traffic::Port(Protocol::Udp, port);
                        impairments.push(Impairment {
                            traffic,
                            effect: Effect::Drop,
                        });
                    }
                }
                Fault::Cut { node } if node == from || node == name => {
                    impairments.push(Impairment::all(Effect::Drop));
                }
                _ => {}
            }
        }
        let outbox = to.socket.outbox();
        let second = to.second.as_ref().map(PacketSocket::outbox);
        Self {
            to,
            outbox,
            second,
            latency: profile.latency,
            impairments: Impairments(impairments),
            queue: Queue::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limited_link_carries_its_rate_and_loses_what_waits_too_long() {
        let (now, mut queue) = (Instant::now(), Queue::default());
        // 1250 bytes are 1 ms at 10 Mbit/s.
        let mut enter = |at| queue.enter(now + Duration::from_millis(at), 1250, 10_000_000);
        assert_eq!(enter(0), Some(Duration::from_millis(1)));
        assert_eq!(enter(0), Some(Duration::from_millis(2)));
        assert_eq!(enter(5), Some(Duration::from_millis(1)), "it is empty by then");
        let carried = (0..500).filter_map(|_| enter(6)).count();
        assert_eq!(carried, 101);
        assert!(enter(200).is_some());
    }
}
