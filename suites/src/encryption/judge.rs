//! What a window proves: the six conditions under which "not seen in clear" means something, and what was seen otherwise.
//! Pure.

use super::claim::{Claimed, Mode};
use crate::kit::cilium::nodes::{MeshNode, place};
use super::window::{Flow, Watch, Window};
use meshproof_contract::capture::{CaptureReport, ClearFlow, DeviceCapture, NeedleHit, Sighting, WireguardFlow};
use meshproof_contract::{ClusterName, Outcome, Tally};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// How many leaks are told one by one.
const TOLD: usize = 12;

/// A window, taken apart.
pub struct Reading<'a> {
    window: &'a Window,
    seen: Vec<(&'a Watch, &'a CaptureReport)>,
    /// What keeps absence from proving anything.
    blind: Vec<String>,
    leaks: Vec<Leak>,
    /// Flows that did not arrive, with why.
    lost: Vec<String>,
}

/// Something that was readable between nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leak {
    /// Whose, `infra-1 -> infra-2, TCP`.
    pub what: String,
    /// What was readable: the payload, or the pods' addresses.
    pub how: String,
    /// The packet.
    pub packet: String,
}

impl<'a> Reading<'a> {
    /// Reads a window.
    pub fn of(window: &'a Window) -> Self {
        let mut reading = Self {
            window,
            seen: Vec::new(),
            blind: Vec::new(),
            leaks: Vec::new(),
            lost: Vec::new(),
        };
        reading.check_instrument();
        reading.check_delivery();
        reading.find_payloads();
        reading.find_headers();
        reading
    }

    /// Whether another window might say more: something was lost, or the instrument saw too little.
    pub fn wants_another(&self) -> bool {
        self.leaks.is_empty() && !(self.blind.is_empty() && self.lost.is_empty())
    }

    /// Concludes. Traffic that is claimed to be encrypted must not have been readable anywhere; traffic that is claimed to be
    /// in clear must have been.
    pub fn conclude(&self, claimed: &Claimed, subject: &str, tally: &mut Tally) -> Vec<String> {
        match claimed.mode {
            Mode::None => self.conclude_clear(claimed, subject, tally),
            Mode::WireGuard | Mode::Ipsec => self.conclude_encrypted(claimed, subject, tally),
        }
    }

    fn conclude_encrypted(&self, claimed: &Claimed, subject: &str, tally: &mut Tally) -> Vec<String> {
        let mut by_what: BTreeMap<(&str, &str), Vec<&Leak>> = BTreeMap::new();
        for leak in &self.leaks {
            by_what.entry((&leak.what, &leak.how)).or_default().push(leak);
        }
        for ((what, how), leaks) in by_what.iter().take(TOLD) {
            tally.finding(
                *what,
                format!("nothing readable between nodes: {}", claimed.by),
                format!("{how} in clear: {}", leaks[0].packet),
            );
        }
        if by_what.len() > TOLD {
            tally.finding(
                subject,
                format!("nothing readable between nodes: {}", claimed.by),
                format!("{} further flows were in clear; see the evidence", by_what.len() - TOLD),
            );
        }
        for why in self.blind.iter().chain(&self.lost) {
            tally.unknown(why);
        }
        if claimed.mode == Mode::Ipsec {
            tally.unknown("ciphertext is not accounted for with IPsec, so nothing readable proves too little; check `cilium-dbg encrypt status` and `ip -s xfrm state` on the nodes");
        } else {
            self.account(tally);
        }
        if self.leaks.is_empty() && self.blind.is_empty() && self.lost.is_empty() {
            let (withheld, sent): (Vec<&Flow>, Vec<&Flow>) = self
                .window
                .flows
                .iter()
                .map(|(flow, ..)| flow)
                .partition(|flow| flow.withheld);
            if !withheld.is_empty() {
                tally.witness(format!(
                    "{} probes from {subject} that nobody could have decrypted reached nobody, and not one of their packets was seen on {}",
                    withheld.len(),
                    self.devices(),
                ));
            }
            tally.witness(format!(
                "{} flows of {subject} arrived, {} of them on another node, and none was readable on {}",
                sent.len(),
                self.crossing().count(),
                self.devices(),
            ));
            tally.witness(format!(
                "{} controls sent in clear were seen on the same devices by the same matcher, and the kernels dropped no packet of {}",
                self.window.controls.len(),
                self.packets(),
            ));
        }
        self.leaks
            .iter()
            .map(|leak| format!("{}: {}", leak.what, leak.packet))
            .collect()
    }

    fn conclude_clear(&self, claimed: &Claimed, subject: &str, tally: &mut Tally) -> Vec<String> {
        for why in self.blind.iter().chain(&self.lost) {
            tally.unknown(why);
        }
        let readable: BTreeSet<&str> = self.leaks.iter().map(|leak| leak.what.as_str()).collect();
        // What stayed on its node was not on the wire.
        let marked: Vec<_> = self
            .crossing()
            .map(|(flow, _, _)| flow)
            .filter(|flow| flow.needle.is_some())
            .collect();
        let hidden: Vec<&str> = marked
            .iter()
            .map(|flow| flow.what.as_str())
            .filter(|what| !readable.contains(what))
            .collect();
        if self.blind.is_empty() && self.lost.is_empty() && !hidden.is_empty() {
            tally.finding(
                subject,
                format!("readable between nodes: {}", claimed.by),
                format!(
                    "{} of {} flows arrived and were not readable on any device, among them {}",
                    hidden.len(),
                    marked.len(),
                    hidden[0]
                ),
            );
        }
        if hidden.is_empty() && !self.leaks.is_empty() {
            tally.witness(format!(
                "plaintext by design ({}): {} flows of {subject} were read on {}, as were the controls",
                claimed.by,
                marked.len().max(readable.len()),
                self.devices()
            ));
        } else if marked.is_empty() && self.blind.is_empty() && self.lost.is_empty() {
            tally.finding(
                subject,
                format!("readable between nodes: {}", claimed.by),
                "not one packet between the pods was readable on any device",
            );
        }
        Vec::new()
    }

    /// The devices watched, as `eth0 of infra-1, eth0 of infra-2`.
    fn devices(&self) -> String {
        let one =
            |(watch, _): &(&Watch, &CaptureReport)| format!("{} of {}", watch.devices.join("+"), watch.node.place());
        self.seen.iter().map(one).collect::<Vec<_>>().join(", ")
    }

    fn packets(&self) -> u64 {
        self.seen
            .iter()
            .flat_map(|(_, report)| &report.devices)
            .map(|device| device.packets)
            .sum()
    }

    fn check_instrument(&mut self) {
        for (watch, report) in &self.window.watches {
            match report {
                Ok(report) => self.seen.push((watch, report)),
                Err(error) => self
                    .blind
                    .push(format!("{}: could not capture: {error}", watch.node.place())),
            }
        }
        for (watch, report) in &self.seen {
            let at = watch.node.place();
            if report.ended {
                self.blind
                    .push(format!("{at}: the capture ended before the traffic did"));
            }
            for device in &report.devices {
                if device.dropped > 0 {
                    self.blind.push(format!(
                        "{at}: the kernel dropped {} of {} packets on {}, which nobody looked at",
                        device.dropped,
                        device.packets + device.dropped,
                        device.device
                    ));
                }
                if let Some(why) = &device.broken {
                    self.blind
                        .push(format!("{at}: the capture on {} broke off: {why}", device.device));
                }
            }
        }
        for control in &self.window.controls {
            for (end, outgoing) in [(Some(control.from), true), (control.to, false)] {
                let Some((watch, report)) = end.map(|at| &self.window.watches[at]) else {
                    continue;
                };
                let Ok(report) = report else { continue };
                let hits: Vec<&NeedleHit> = report.devices.iter().flat_map(|d| &d.hits).collect();
                if !hits.iter().any(|hit| hit.needle == control.needle) {
                    let way = if outgoing { "sent" } else { "received" };
                    self.blind.push(format!(
                        "{}: the control, {way} there in clear on purpose, was not seen on {}: the capture does not look where packets are, or node encryption is on",
                        watch.node.place(),
                        watch.devices.join(", ")
                    ));
                }
            }
        }
        self.blind.sort();
        self.blind.dedup();
    }

    fn check_delivery(&mut self) {
        for (flow, outcome, _) in &self.window.flows {
            match outcome {
                Ok(outcome) if (flow.arrived)(outcome) => {}
                Ok(outcome) if flow.withheld => self.lost.push(format!(
                    "{}: it was to reach nobody, and proves nothing: {outcome}",
                    flow.what
                )),
                Ok(outcome) => self.lost.push(format!(
                    "{}: it did not arrive, so it proves nothing: {outcome}",
                    flow.what
                )),
                Err(error) => self.lost.push(format!("{}: {error}", flow.what)),
            }
        }
    }

    fn hits(&self) -> impl Iterator<Item = (&'a Watch, &'a DeviceCapture, &'a NeedleHit)> {
        let seen = self.seen.clone();
        seen.into_iter().flat_map(|(watch, report)| {
            let devices = report.devices.iter();
            devices.flat_map(move |device| device.hits.iter().map(move |hit| (watch, device, hit)))
        })
    }

    fn find_payloads(&mut self) {
        let mut leaks = Vec::new();
        for (watch, device, hit) in self.hits() {
            let flow = self
                .window
                .flows
                .iter()
                .find(|(_, _, needle)| *needle == Some(hit.needle));
            if let Some((flow, ..)) = flow {
                leaks.push(Leak {
                    what: flow.what.clone(),
                    how: "its payload was".to_owned(),
                    packet: packet(watch, device, &hit.first, hit.packets),
                });
            }
        }
        self.leaks.extend(leaks);
    }

    fn find_headers(&mut self) {
        let own = self.own_addresses();
        let mut leaks = Vec::new();
        for (watch, report) in &self.seen {
            for device in &report.devices {
                for flow in &device.clear {
                    let is_own = own.contains(&flow.source) && own.contains(&flow.destination);
                    if !is_own {
                        continue;
                    }
                    leaks.push(Leak {
                        what: format!("{} -> {}, {}", flow.source, flow.destination, protocol(flow)),
                        how: match flow.tunnel {
                            true => "its addresses were, in a tunnel that hides nothing,".to_owned(),
                            false => "its addresses were".to_owned(),
                        },
                        packet: packet(watch, device, &flow.first, flow.packets),
                    });
                }
            }
        }
        self.leaks.extend(leaks);
    }

    /// The pods that the flows are between.
    fn own_addresses(&self) -> BTreeSet<IpAddr> {
        let mut own: BTreeSet<IpAddr> = self.window.flows.iter().map(|(flow, ..)| flow.from.address).collect();
        own.extend(
            self.window
                .flows
                .iter()
                .flat_map(|(flow, ..)| flow.others.iter().copied()),
        );
        own
    }

    /// Condition 4: between the two nodes of every flow, ciphertext of at least the payload's volume, both ways, on each node
    /// that was watched.
    fn account(&self, tally: &mut Tally) {
        let mut expected: BTreeMap<(usize, usize), u64> = BTreeMap::new();
        for (flow, a, b) in self.crossing() {
            *expected.entry((a, b)).or_default() += flow.bytes;
            *expected.entry((b, a)).or_default() += flow.bytes;
        }
        let (mut pairs, mut total) = (0, 0);
        for ((from, to), bytes) in expected {
            let (sender, receiver) = (&self.window.watches[from], &self.window.watches[to]);
            let mut enough = true;
            for (watch, report) in [sender, receiver] {
                let Ok(report) = report else { continue };
                let seen: u64 = report
                    .devices
                    .iter()
                    .flat_map(|device| &device.wireguard)
                    .filter(|flow| is_between(flow, &sender.0.node, &receiver.0.node))
                    .map(|flow| flow.transport_bytes)
                    .sum();
                if seen < bytes.max(1) {
                    enough = false;
                    tally.unknown(format!(
                        "{}: {seen} bytes of WireGuard's ciphertext from {} to {} were seen, and at least {bytes} of payload went that way: it took a way that is not watched",
                        watch.node.place(),
                        sender.0.node.place(),
                        receiver.0.node.place()
                    ));
                }
            }
            pairs += usize::from(enough);
            total += bytes;
        }
        if pairs > 0 {
            tally.witness(format!(
                "ciphertext for at least the {total} bytes of payload was seen on both sides of all {pairs} ordered pairs of nodes (WireGuard messages of type 4)"
            ));
        } else if self.blind.is_empty() {
            tally.unknown("no flow went from one watched node to another");
        }
    }

    /// The flows that went from one watched node to another, with the positions of both.
    fn crossing(&self) -> impl Iterator<Item = (&Flow, usize, usize)> {
        self.window.flows.iter().filter_map(|(flow, outcome, _)| {
            let outcome = outcome.as_ref().ok().filter(|outcome| (flow.arrived)(outcome))?;
            let near = self.watch_of(flow.from.id.cluster.as_str(), flow.from.node.as_str())?;
            let far = self.far_end(flow, outcome)?;
            (near != far).then_some((flow, near, far))
        })
    }

    /// Whether something went from a node of one cluster to a node of the other.
    pub fn crossed(&self, from: &ClusterName, to: &ClusterName) -> bool {
        let cluster = |at: usize| &self.window.watches[at].0.node.cluster;
        self.crossing()
            .any(|(_, near, far)| cluster(near) == from && cluster(far) == to)
    }

    fn far_end(&self, flow: &Flow, outcome: &Outcome) -> Option<usize> {
        match (&flow.to, outcome.served_by()) {
            (Some((cluster, node)), _) => self.watch_of(cluster.as_str(), node.as_str()),
            (None, Some(identity)) => self.watch_of(&identity.cluster, &identity.node),
            (None, None) => None,
        }
    }

    fn watch_of(&self, cluster: &str, node: &str) -> Option<usize> {
        let is = |watch: &Watch| watch.node.cluster.as_str() == cluster && watch.node.name.as_str() == node;
        self.window.watches.iter().position(|(watch, _)| is(watch))
    }
}

fn is_between(flow: &WireguardFlow, from: &MeshNode, to: &MeshNode) -> bool {
    from.has(flow.source) && to.has(flow.destination)
}

fn protocol(flow: &ClearFlow) -> String {
    match flow.protocol {
        1 => "ICMP".to_owned(),
        6 => "TCP".to_owned(),
        17 => "UDP".to_owned(),
        58 => "ICMPv6".to_owned(),
        other => format!("protocol {other}"),
    }
}

/// A packet as evidence: where, whence, whither, how long, and its first bytes.
fn packet(watch: &Watch, device: &DeviceCapture, first: &Sighting, packets: u64) -> String {
    let address = |address: Option<IpAddr>| address.map_or("?".to_owned(), |a| a.to_string());
    format!(
        "{packets} packets on {} of {}, the first {} from {} to {}, {} B: {}",
        device.device,
        place(&watch.node.cluster, &watch.node.name),
        if first.outgoing { "leaving," } else { "arriving," },
        address(first.source),
        address(first.destination),
        first.length,
        first.head
    )
}
