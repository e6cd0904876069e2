//! What a packet's headers say. No I/O.

use etherparse::{LaxNetSlice, LaxSlicedPacket, TransportSlice};
use std::net::IpAddr;

/// VXLAN: Linux's and Cilium's port, and the registered one.
const VXLAN: [u16; 2] = [8472, 4789];
const GENEVE: u16 = 6081;
/// WireGuard's messages: <https://www.wireguard.com/protocol/>. Type, three zero bytes, then a fixed form.
const WIREGUARD_OVERHEAD: usize = 32;

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
    pub(super) wireguard: Option<Wireguard>,
}

/// Reads the headers of a packet that begins with its IP header; `wireguard` is that one's port, if it is of interest.
pub(super) fn dissect(packet: &[u8], wireguard: Option<u16>) -> Dissection {
    let Ok(sliced) = LaxSlicedPacket::from_ip(packet) else {
        return Dissection::default();
    };
    let mut dissection = Dissection {
        outer: sliced.net.as_ref().and_then(flow),
        ..Dissection::default()
    };
    if let Some(TransportSlice::Udp(udp)) = &sliced.transport {
        let to = udp.destination_port();
        let payload = udp.payload();
        if VXLAN.contains(&to) {
            // RFC 7348: 8 bytes of header, then an Ethernet frame.
            dissection.inner = payload.get(8..).and_then(inner_of_frame);
        } else if to == GENEVE {
            dissection.inner = geneve(payload);
        } else if wireguard.is_some_and(|port| to == port || udp.source_port() == port) {
            dissection.wireguard = Some(wireguard_message(payload));
        }
    }
    dissection
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

fn inner_of_frame(frame: &[u8]) -> Option<Flow> {
    LaxSlicedPacket::from_ethernet(frame).ok()?.net.as_ref().and_then(flow)
}

/// RFC 8926: 8 bytes of header, options in words of 4 bytes, then what the protocol type says.
fn geneve(payload: &[u8]) -> Option<Flow> {
    let header: &[u8; 8] = payload.first_chunk()?;
    let options = usize::from(header[0] & 0x3f) * 4;
    let inner = payload.get(8 + options..)?;
    match u16::from_be_bytes([header[2], header[3]]) {
        0x6558 => inner_of_frame(inner),
        _ => LaxSlicedPacket::from_ip(inner).ok()?.net.as_ref().and_then(flow),
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
