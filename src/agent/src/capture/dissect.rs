//! What a packet's headers say. No I/O.

use etherparse::{LaxNetSlice, LaxSlicedPacket, TransportSlice};
use std::net::IpAddr;

/// VXLAN: Linux's and Cilium's port, and the registered one.
const VXLAN: [u16; 2] = [8472, 4789];
const GENEVE: u16 = 6081;
/// WireGuard's messages: <https://www.wireguard.com/protocol/>. Type, three zero bytes, then a fixed form.
const WIREGUARD_OVERHEAD: usize = 32;
/// IP protocol ESP, and its bytes besides the ciphertext: SPI and sequence number, nonce and tag of AES-GCM (RFC 4106).
const ESP: u8 = 50;
const ESP_OVERHEAD: usize = 32;
/// Messages that quote the packet they are about (RFC 792, 4443), after a header of 8 bytes.
const ICMP_ERRORS: [u8; 5] = [3, 4, 5, 11, 12];
const ICMPV6_ERRORS: std::ops::RangeInclusive<u8> = 1..=4;

/// Addresses and protocol of an IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Flow {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) protocol: u8,
}

/// A WireGuard datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wireguard {
    /// Transport data of so many bytes of ciphertext; 0 is a keepalive.
    Transport(u64),
    Handshake,
    /// On its port, and none of its messages.
    Other,
}

/// A packet's headers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Dissection {
    pub(super) outer: Option<Flow>,
    /// Inside an unencrypted tunnel.
    pub(super) inner: Option<Flow>,
    /// Of the packet that an ICMP error is about, and whether the error was inside a tunnel.
    pub(super) quoted: Option<(Flow, bool)>,
    /// The first message of a WireGuard datagram.
    pub(super) wireguard: Option<Wireguard>,
    /// Bytes of each message that the device has merged into one datagram; none if it carries one only.
    pub(super) merged: Option<usize>,
    /// Of an ESP packet, also one in a tunnel: between whom, and its bytes of ciphertext.
    pub(super) esp: Option<(Flow, u64)>,
}

/// Reads the headers of a packet that begins with its IP header; `wireguard` is that one's port, if it is of interest.
pub(super) fn dissect(packet: &[u8], wireguard: Option<u16>) -> Dissection {
    let Ok(sliced) = LaxSlicedPacket::from_ip(packet) else {
        return Dissection::default();
    };
    let mut dissection = Dissection {
        outer: sliced.net.as_ref().and_then(flow),
        quoted: quoted(&sliced).map(|flow| (flow, false)),
        ..Dissection::default()
    };
    dissection.esp = esp(&sliced);
    if let Some(TransportSlice::Udp(udp)) = &sliced.transport {
        let to = udp.destination_port();
        let payload = udp.payload();
        let inner = if VXLAN.contains(&to) {
            // RFC 7348: 8 bytes of header, then an Ethernet frame.
            payload
                .get(8..)
                .and_then(|frame| LaxSlicedPacket::from_ethernet(frame).ok())
        } else if to == GENEVE {
            geneve(payload)
        } else {
            None
        };
        if let Some(inner) = inner {
            dissection.inner = inner.net.as_ref().and_then(flow);
            dissection.quoted = quoted(&inner).map(|flow| (flow, true));
            // Encrypted first, then put into the tunnel.
            dissection.esp = esp(&inner);
        } else if wireguard.is_some_and(|port| to == port || udp.source_port() == port) {
            let first = merged(payload);
            dissection.wireguard = Some(wireguard_message(&payload[..first.unwrap_or(payload.len())]));
            dissection.merged = first;
        }
    }
    dissection
}

fn esp(sliced: &LaxSlicedPacket<'_>) -> Option<(Flow, u64)> {
    let net = sliced.net.as_ref()?;
    let flow = flow(net).filter(|flow| flow.protocol == ESP)?;
    let length = net.ip_payload_ref()?.payload.len();
    Some((flow, length.saturating_sub(ESP_OVERHEAD) as u64))
}

/// Addresses of the packet that an ICMP error quotes.
fn quoted(sliced: &LaxSlicedPacket<'_>) -> Option<Flow> {
    let message = match sliced.transport.as_ref()? {
        TransportSlice::Icmpv4(icmp) if ICMP_ERRORS.contains(&icmp.type_u8()) => icmp.slice(),
        TransportSlice::Icmpv6(icmp) if ICMPV6_ERRORS.contains(&icmp.type_u8()) => icmp.slice(),
        _ => return None,
    };
    let about = LaxSlicedPacket::from_ip(message.get(8..)?).ok()?;
    about.net.as_ref().and_then(flow)
}

/// The length of the first of several messages of transport data that a device has merged into one datagram, as it does
/// with what a process sends at once (UDP GSO) or receives: all but the last are of that length, and all begin with the
/// type and the receiver's index of the first.
fn merged(payload: &[u8]) -> Option<usize> {
    let begin: &[u8; 8] = payload.first_chunk()?;
    if begin[..4] != [4, 0, 0, 0] {
        return None;
    }
    let mut starts = (WIREGUARD_OVERHEAD..payload.len()).step_by(16);
    starts.find(|at| payload[*at..].starts_with(begin))
}

/// The messages in a datagram of merged ones, by their bytes of ciphertext.
pub(super) fn messages(length: usize, each: usize) -> impl Iterator<Item = u64> {
    let sizes = (0..length).step_by(each.max(1)).map(move |at| each.min(length - at));
    sizes.map(|size| size.saturating_sub(WIREGUARD_OVERHEAD) as u64)
}

fn flow(net: &LaxNetSlice<'_>) -> Option<Flow> {
    match net {
        LaxNetSlice::Ipv4(ip) => Some(Flow {
            source: ip.header().source_addr().into(),
            destination: ip.header().destination_addr().into(),
            protocol: ip.header().protocol().0,
        }),
        LaxNetSlice::Ipv6(ip) => Some(Flow {
            source: ip.header().source_addr().into(),
            destination: ip.header().destination_addr().into(),
            protocol: ip.payload().ip_number.0,
        }),
        LaxNetSlice::Arp(_) => None,
    }
}

/// RFC 8926: 8 bytes of header, options in words of 4 bytes, then what the protocol type says.
fn geneve(payload: &[u8]) -> Option<LaxSlicedPacket<'_>> {
    let header: &[u8; 8] = payload.first_chunk()?;
    let options = usize::from(header[0] & 0x3f) * 4;
    let inner = payload.get(8 + options..)?;
    match u16::from_be_bytes([header[2], header[3]]) {
        0x6558 => LaxSlicedPacket::from_ethernet(inner).ok(),
        _ => LaxSlicedPacket::from_ip(inner).ok(),
    }
}

fn wireguard_message(payload: &[u8]) -> Wireguard {
    match (payload.first_chunk::<4>(), payload.len()) {
        (Some([4, 0, 0, 0]), length) if length >= WIREGUARD_OVERHEAD => {
            Wireguard::Transport((length - WIREGUARD_OVERHEAD) as u64)
        }
        (Some([1, 0, 0, 0]), 148) | (Some([2, 0, 0, 0]), 92) | (Some([3, 0, 0, 0]), 64) => Wireguard::Handshake,
        _ => Wireguard::Other,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use etherparse::PacketBuilder;
    use proptest::prelude::*;

    /// A UDP packet between two hosts of 10.0.0.0/8.
    pub(crate) fn udp(from: [u8; 4], to: [u8; 4], port: u16, payload: &[u8]) -> Vec<u8> {
        let mut packet = Vec::new();
        PacketBuilder::ipv4(from, to, 64)
            .udp(40_000, port)
            .write(&mut packet, payload)
            .expect("writes");
        packet
    }

    fn between(from: [u8; 4], to: [u8; 4]) -> Flow {
        Flow {
            source: from.into(),
            destination: to.into(),
            protocol: 17,
        }
    }

    const NODES: ([u8; 4], [u8; 4]) = ([10, 25, 11, 11], [10, 25, 11, 14]);
    const PODS: ([u8; 4], [u8; 4]) = ([10, 244, 1, 2], [10, 246, 1, 3]);

    #[test]
    fn tunnels_that_hide_nothing_are_looked_into() {
        let inner = udp(PODS.0, PODS.1, 8082, b"x");
        let mut frame = Vec::new();
        PacketBuilder::ethernet2([2; 6], [3; 6])
            .ipv4(PODS.0, PODS.1, 64)
            .udp(1, 8082)
            .write(&mut frame, b"x")
            .expect("writes");
        let vxlan = [&[8, 0, 0, 0, 0, 0, 7, 0], &frame[..]].concat();
        let geneve_frame = [&[1, 0, 0x65, 0x58, 0, 0, 7, 0, 1, 2, 3, 4], &frame[..]].concat();
        let geneve_ip = [&[0, 0, 0x08, 0x00, 0, 0, 7, 0], &inner[..]].concat();
        for (port, payload) in [
            (8472, &vxlan),
            (4789, &vxlan),
            (6081, &geneve_frame),
            (6081, &geneve_ip),
        ] {
            let dissection = dissect(&udp(NODES.0, NODES.1, port, payload), Some(51871));
            assert_eq!(dissection.outer, Some(between(NODES.0, NODES.1)));
            assert_eq!(dissection.inner, Some(between(PODS.0, PODS.1)), "port {port}");
        }
    }

    #[test]
    fn wireguard_messages_are_distinguished() {
        let message = |kind: u8, length: usize| {
            let mut payload = vec![0; length];
            payload[0] = kind;
            dissect(&udp(NODES.0, NODES.1, 51871, &payload), Some(51871)).wireguard
        };
        assert_eq!(message(4, 32), Some(Wireguard::Transport(0)));
        assert_eq!(message(4, 1500), Some(Wireguard::Transport(1468)));
        assert_eq!(message(1, 148), Some(Wireguard::Handshake));
        assert_eq!(message(2, 92), Some(Wireguard::Handshake));
        assert_eq!(message(1, 100), Some(Wireguard::Other));
        assert_eq!(message(9, 100), Some(Wireguard::Other));
        let elsewhere = dissect(&udp(NODES.0, NODES.1, 53, &[4, 0, 0, 0]), Some(51871));
        assert_eq!(elsewhere.wireguard, None);
    }

    #[test]
    fn a_bare_syn_or_ping_between_pods_shows_its_addresses() {
        let mut syn = Vec::new();
        PacketBuilder::ipv4(PODS.0, PODS.1, 64)
            .tcp(1, 8081, 0, 1024)
            .syn()
            .write(&mut syn, &[])
            .expect("writes");
        let outer = dissect(&syn, None).outer.expect("addresses");
        assert_eq!((outer.source, outer.protocol), (PODS.0.into(), 6));
    }

    proptest! {
        #[test]
        fn garbage_never_panics(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            port in prop::sample::select(vec![8472u16, 6081, 51871]),
        ) {
            dissect(&bytes, Some(51871));
            dissect(&udp(NODES.0, NODES.1, port, &bytes), Some(51871));
        }
    }
}
