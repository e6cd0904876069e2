//! What was seen on one device, counted; bounded however much passes. No I/O.

use super::{
    dissect::{Flow, Wireguard, dissect},
    needles::NeedleSet,
};
use ipnet::IpNet;
use meshproof_contract::capture::{ClearFlow, DeviceCapture, NeedleHit, Sighting, WireguardFlow, hex};
use std::{
    collections::{BTreeMap, HashMap},
    io,
    net::IpAddr,
    sync::Arc,
};

const MOST_FLOWS: usize = 1024;
const EVIDENCE: usize = 128;

/// A packet as it was taken from the kernel, from the IP header on.
pub(super) struct Packet<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) outgoing: bool,
    pub(super) at: u64,
}

/// The counts of a device.
pub(super) struct DeviceTally {
    needles: Arc<NeedleSet>,
    pods: Vec<IpNet>,
    port: Option<u16>,
    device: String,
    packets: u64,
    bytes: u64,
    dropped: u64,
    broken: Option<String>,
    more_clear: u64,
    hits: BTreeMap<u32, NeedleHit>,
    clear: HashMap<(Flow, bool), ClearFlow>,
    wireguard: BTreeMap<(IpAddr, IpAddr), WireguardFlow>,
}

impl DeviceTally {
    pub(super) fn new(device: &str, needles: Arc<NeedleSet>, pods: Vec<IpNet>, wireguard: Option<u16>) -> Self {
        Self {
            needles,
            pods,
            port: wireguard,
            device: device.to_owned(),
            packets: 0,
            bytes: 0,
            dropped: 0,
            broken: None,
            more_clear: 0,
            hits: BTreeMap::new(),
            clear: HashMap::new(),
            wireguard: BTreeMap::new(),
        }
    }

    /// Counts a packet.
    pub(super) fn packet(&mut self, packet: Packet<'_>) {
        self.packets += 1;
        self.bytes += packet.bytes.len() as u64;
        let seen = dissect(packet.bytes, self.port);
        let sighting = || Sighting {
            at: packet.at,
            source: seen.outer.map(|flow| flow.source),
            destination: seen.outer.map(|flow| flow.destination),
            outgoing: packet.outgoing,
            length: packet.bytes.len() as u32,
            head: hex(&packet.bytes[..packet.bytes.len().min(EVIDENCE)]),
        };
        let hits = &mut self.hits;
        let mut here: Vec<u32> = Vec::new();
        self.needles.search(packet.bytes, |needle| {
            if !here.contains(&needle) {
                here.push(needle);
            }
        });
        for needle in here {
            hits.entry(needle)
                .or_insert_with(|| NeedleHit {
                    needle,
                    packets: 0,
                    first: sighting(),
                })
                .packets += 1;
        }
        for (flow, tunnel) in [(seen.outer, false), (seen.inner, true)] {
            let Some(flow) = flow.filter(|flow| self.is_pod(flow.source) && self.is_pod(flow.destination)) else {
                continue;
            };
            let room = self.clear.len() < MOST_FLOWS;
            match self.clear.get_mut(&(flow, tunnel)) {
                Some(known) => known.packets += 1,
                None if room => {
                    let new = ClearFlow {
                        source: flow.source,
                        destination: flow.destination,
                        protocol: flow.protocol,
                        tunnel,
                        packets: 1,
                        first: sighting(),
                    };
                    self.clear.insert((flow, tunnel), new);
                }
                None => self.more_clear += 1,
            }
        }
        if let Some((message, flow)) = seen.wireguard.zip(seen.outer) {
            self.wireguard(message, flow);
        }
    }

    fn is_pod(&self, address: IpAddr) -> bool {
        self.pods.iter().any(|network| network.contains(&address))
    }

    fn wireguard(&mut self, message: Wireguard, flow: Flow) {
        let key = (flow.source, flow.destination);
        if self.wireguard.len() >= MOST_FLOWS && !self.wireguard.contains_key(&key) {
            return;
        }
        let peer = self.wireguard.entry(key).or_insert(WireguardFlow {
            source: flow.source,
            destination: flow.destination,
            transport: 0,
            transport_bytes: 0,
            keepalives: 0,
            handshakes: 0,
            other: 0,
        });
        match message {
            Wireguard::Transport(0) => peer.keepalives += 1,
            Wireguard::Transport(bytes) => {
                peer.transport += 1;
                peer.transport_bytes += bytes;
            }
            Wireguard::Handshake => peer.handshakes += 1,
            Wireguard::Other => peer.other += 1,
        }
    }

    /// So many more packets were dropped by the kernel.
    pub(super) fn dropped(&mut self, packets: u64) {
        self.dropped += packets;
    }

    /// The capture broke off.
    pub(super) fn broken(&mut self, error: &io::Error) {
        self.broken.get_or_insert_with(|| error.to_string());
    }

    pub(super) fn report(&self) -> DeviceCapture {
        let mut clear: Vec<ClearFlow> = self.clear.values().cloned().collect();
        clear.sort_by_key(|flow| (flow.source, flow.destination, flow.protocol, flow.tunnel));
        DeviceCapture {
            device: self.device.clone(),
            packets: self.packets,
            bytes: self.bytes,
            dropped: self.dropped,
            broken: self.broken.clone(),
            hits: self.hits.values().cloned().collect(),
            clear,
            more_clear: self.more_clear,
            wireguard: self.wireguard.values().cloned().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::dissect::tests::udp, *};
    use meshproof_contract::{Marker, Needle};

    #[test]
    fn markers_and_pod_addresses_in_clear_are_evidence_and_ciphertext_is_counted() {
        let marker = Marker([0xab; 16]);
        let needles = NeedleSet::new(&[Needle::raw(Marker([1; 16])), Needle::raw(marker)]);
        let pods = vec![
            "10.244.0.0/16".parse().expect("net"),
            "10.246.0.0/16".parse().expect("net"),
        ];
        let mut tally = DeviceTally::new("eth0", Arc::new(needles), pods, Some(51871));
        let mut see = |bytes: &[u8]| {
            tally.packet(Packet {
                bytes,
                outgoing: true,
                at: 5,
            })
        };
        let clear = udp([10, 244, 1, 2], [10, 246, 1, 3], 8082, &marker.0.repeat(3));
        see(&clear);
        see(&clear);
        see(&udp(
            [10, 25, 11, 11],
            [10, 25, 11, 14],
            51871,
            &[&[4, 0, 0, 0][..], &[7; 100]].concat(),
        ));
        see(&udp([10, 25, 11, 11], [10, 244, 1, 2], 10250, b"kubelet"));
        see(b"not IP");
        let report = tally.report();
        assert_eq!(report.packets, 5);
        assert_eq!(
            report
                .hits
                .iter()
                .map(|hit| (hit.needle, hit.packets))
                .collect::<Vec<_>>(),
            [(1, 2)]
        );
        assert!(report.hits[0].first.head.contains("abababab"));
        assert_eq!(report.clear.len(), 1, "node to pod is not pod to pod");
        assert_eq!((report.clear[0].packets, report.clear[0].tunnel), (2, false));
        assert_eq!(
            (report.wireguard[0].transport, report.wireguard[0].transport_bytes),
            (1, 72)
        );
    }
}
