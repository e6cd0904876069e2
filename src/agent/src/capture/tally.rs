//! What was seen on one device, counted; bounded however much passes. No I/O.

use super::{
    dissect::{Dissection, Flow, Wireguard, dissect, messages},
    needles::NeedleSet,
};
use ipnet::IpNet;
use meshproof_contract::{
    CaptureSpec,
    capture::{ClearFlow, DeviceCapture, EspFlow, MessageSize, NeedleHit, Sighting, WireguardFlow, hex},
};
use std::{
    collections::{BTreeMap, HashMap},
    io,
    net::IpAddr,
    sync::Arc,
};

const MOST_FLOWS: usize = 1024;
/// Multiples of 16 up to the MTU of a jumbo frame.
const MOST_SIZES: usize = 640;
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
    sizes: bool,
    device: String,
    packets: u64,
    bytes: u64,
    dropped: u64,
    broken: Option<String>,
    more_clear: u64,
    hits: BTreeMap<u32, NeedleHit>,
    clear: HashMap<Readable, ClearFlow>,
    wireguard: BTreeMap<(IpAddr, IpAddr), WireguardFlow>,
    esp: BTreeMap<(IpAddr, IpAddr), EspFlow>,
}

/// Addresses that were readable.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Readable {
    flow: Flow,
    tunnel: bool,
    quoted: bool,
}

impl DeviceTally {
    pub(super) fn new(device: &str, needles: Arc<NeedleSet>, spec: &CaptureSpec) -> Self {
        Self {
            needles,
            pods: spec.pods.clone(),
            port: spec.wireguard,
            sizes: spec.sizes,
            device: device.to_owned(),
            packets: 0,
            bytes: 0,
            dropped: 0,
            broken: None,
            more_clear: 0,
            hits: BTreeMap::new(),
            clear: HashMap::new(),
            wireguard: BTreeMap::new(),
            esp: BTreeMap::new(),
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
        for readable in readable(&seen) {
            if !self.is_pod(readable.flow.source) && !self.is_pod(readable.flow.destination) {
                continue;
            }
            let room = self.clear.len() < MOST_FLOWS;
            match self.clear.get_mut(&readable) {
                Some(known) => known.packets += 1,
                None if room => {
                    let new = ClearFlow {
                        source: readable.flow.source,
                        destination: readable.flow.destination,
                        protocol: readable.flow.protocol,
                        tunnel: readable.tunnel,
                        quoted: readable.quoted,
                        packets: 1,
                        first: sighting(),
                    };
                    self.clear.insert(readable, new);
                }
                None => self.more_clear += 1,
            }
        }
        let Some(outer) = seen.outer else { return };
        match (seen.wireguard, seen.merged) {
            // The IP header and UDP's are no part of the messages.
            (Some(_), Some(each)) => {
                let header = if outer.source.is_ipv4() { 28 } else { 48 };
                let length = packet.bytes.len().saturating_sub(header);
                messages(length, each).for_each(|size| self.wireguard(Wireguard::Transport(size), outer));
            }
            (Some(message), None) => self.wireguard(message, outer),
            (None, _) => {}
        }
        if let Some((flow, bytes)) = seen.esp {
            self.esp(bytes, flow);
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
            sizes: Vec::new(),
        });
        match message {
            Wireguard::Transport(0) => peer.keepalives += 1,
            Wireguard::Transport(bytes) => {
                peer.transport += 1;
                peer.transport_bytes += bytes;
                if self.sizes {
                    count(&mut peer.sizes, bytes);
                }
            }
            Wireguard::Handshake => peer.handshakes += 1,
            Wireguard::Other => peer.other += 1,
        }
    }

    fn esp(&mut self, bytes: u64, flow: Flow) {
        let key = (flow.source, flow.destination);
        if self.esp.len() >= MOST_FLOWS && !self.esp.contains_key(&key) {
            return;
        }
        let peer = self.esp.entry(key).or_insert(EspFlow {
            source: flow.source,
            destination: flow.destination,
            packets: 0,
            bytes: 0,
        });
        peer.packets += 1;
        peer.bytes += bytes;
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
        clear.sort_by_key(|flow| (flow.source, flow.destination, flow.protocol, flow.tunnel, flow.quoted));
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
            esp: self.esp.values().cloned().collect(),
        }
    }
}

/// Counts one more message of a size; the sizes are in order.
fn count(sizes: &mut Vec<MessageSize>, bytes: u64) {
    match sizes.binary_search_by_key(&bytes, |size| size.bytes) {
        Ok(at) => sizes[at].messages += 1,
        Err(at) if sizes.len() < MOST_SIZES => sizes.insert(at, MessageSize { bytes, messages: 1 }),
        Err(_) => {}
    }
}

/// All addresses that a packet shows.
fn readable(seen: &Dissection) -> impl Iterator<Item = Readable> {
    let of = |flow: Option<Flow>, tunnel, quoted| flow.map(|flow| Readable { flow, tunnel, quoted });
    let (quoted, tunnel) = seen.quoted.unzip();
    let all = [
        of(seen.outer, false, false),
        of(seen.inner, true, false),
        of(quoted, tunnel.unwrap_or_default(), true),
    ];
    all.into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::{super::dissect::tests::udp, *};
    use meshproof_contract::{Marker, Needle};

    #[test]
    fn markers_and_pod_addresses_in_clear_are_evidence_and_ciphertext_is_counted() {
        let marker = Marker([0xab; 16]);
        let needles = NeedleSet::new(&[Needle::raw(Marker([1; 16])), Needle::raw(marker)]);
        let spec = CaptureSpec {
            pods: vec![
                "10.244.0.0/16".parse().expect("a net"),
                "10.246.0.0/16".parse().expect("a net"),
            ],
            wireguard: Some(51871),
            sizes: true,
            ..CaptureSpec::default()
        };
        let mut tally = DeviceTally::new("eth0", Arc::new(needles), &spec);
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
        let shown: Vec<_> = report.clear.iter().map(|flow| (flow.packets, flow.tunnel)).collect();
        assert_eq!(shown, [(1, false), (2, false)], "kubelet to pod, and pod to pod");
        assert_eq!(
            (report.wireguard[0].transport, report.wireguard[0].transport_bytes),
            (1, 72)
        );
        assert_eq!(report.wireguard[0].sizes, [MessageSize { bytes: 72, messages: 1 }]);
    }

    #[test]
    fn merged_messages_are_counted_one_by_one() {
        let spec = CaptureSpec {
            wireguard: Some(51871),
            sizes: true,
            ..CaptureSpec::default()
        };
        let mut tally = DeviceTally::new("eth0", Arc::new(NeedleSet::new(&[])), &spec);
        let message = |counter: u8, length: usize| {
            let mut bytes = vec![counter.wrapping_mul(37); length];
            bytes[..16].copy_from_slice(&[4, 0, 0, 0, 9, 8, 7, 6, counter, 0, 0, 0, 0, 0, 0, 0]);
            bytes
        };
        let merged = [message(1, 96 + 32), message(2, 96 + 32), message(3, 48 + 32)].concat();
        let bytes = udp([10, 25, 11, 11], [10, 25, 11, 14], 51871, &merged);
        tally.packet(Packet {
            bytes: &bytes,
            outgoing: true,
            at: 5,
        });
        let report = tally.report();
        let sizes: Vec<_> = report.wireguard[0]
            .sizes
            .iter()
            .map(|size| (size.bytes, size.messages))
            .collect();
        assert_eq!(sizes, [(48, 1), (96, 2)]);
        assert_eq!(report.wireguard[0].transport_bytes, 240);
    }

    #[test]
    fn an_icmp_error_shows_the_packet_that_it_is_about() {
        let spec = CaptureSpec {
            pods: vec!["10.244.1.2/32".parse().expect("a net")],
            ..CaptureSpec::default()
        };
        let mut tally = DeviceTally::new("eth0", Arc::new(NeedleSet::new(&[])), &spec);
        let about = udp([10, 244, 1, 2], [10, 246, 1, 3], 8082, b"x");
        let mut bytes = Vec::new();
        etherparse::PacketBuilder::ipv4([10, 25, 11, 14], [10, 25, 11, 11], 64)
            .icmpv4_raw(3, 3, [0; 4])
            .write(&mut bytes, &about)
            .expect("writes");
        tally.packet(Packet {
            bytes: &bytes,
            outgoing: false,
            at: 5,
        });
        let report = tally.report();
        assert_eq!(report.clear.len(), 1);
        let shown = &report.clear[0];
        assert_eq!(
            (shown.quoted, shown.source, shown.protocol),
            (true, [10, 244, 1, 2].into(), 17)
        );
    }

    #[test]
    fn esp_is_counted_by_node() {
        let mut tally = DeviceTally::new("eth0", Arc::new(NeedleSet::new(&[])), &CaptureSpec::default());
        let mut bytes = Vec::new();
        etherparse::PacketBuilder::ipv4([10, 25, 11, 11], [10, 25, 11, 14], 64)
            .write(&mut bytes, etherparse::IpNumber(50), &[7; 132])
            .expect("writes");
        for _ in 0..2 {
            tally.packet(Packet {
                bytes: &bytes,
                outgoing: true,
                at: 5,
            });
        }
        let report = tally.report();
        assert_eq!((report.esp[0].packets, report.esp[0].bytes), (2, 200));
    }
}
