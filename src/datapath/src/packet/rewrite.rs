//! Address translation in place, with checksums updated incrementally (RFC 1624), also inside ICMP quotes.

use super::header::{Fragment, HeaderError, Headers, Transport, Tuple};
use crate::service::Protocol;
use etherparse::checksum::Sum16BitWords;
use std::net::SocketAddrV4;

const IP_CHECKSUM: usize = 10;
const IP_SOURCE: usize = 12;
const IP_DESTINATION: usize = 16;

/// RFC 1624, equation 3: HC' = ~(~HC + ~m + m').
fn adjust(checksum: u16, old: &[u8], new: &[u8]) -> u16 {
    let word = |bytes: &[u8]| u32::from(u16::from_be_bytes([bytes[0], bytes[1]]));
    let mut sum = u32::from(!checksum);
    for (old, new) in old.chunks_exact(2).zip(new.chunks_exact(2)) {
        sum += (!word(old) & 0xffff) + word(new);
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn word_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn put_word(bytes: &mut [u8], at: usize, word: u16) {
    bytes[at..at + 2].copy_from_slice(&word.to_be_bytes());
}

/// Where the transport checksum is, if this part of the packet has one in use.
fn transport_checksum(bytes: &[u8], headers: &Headers) -> Option<usize> {
    if headers.fragment == Fragment::Later {
        return None;
    }
    let at = headers.header_len
        + match headers.tuple.protocol {
            Protocol::Tcp => 16,
            Protocol::Udp => 6,
            _ => return None,
        };
    // A UDP checksum of zero means that there is none (RFC 768).
    (at + 2 <= bytes.len() && (headers.tuple.protocol == Protocol::Tcp || word_at(bytes, at) != 0)).then_some(at)
}

/// Where the port is that belongs to this side, if this part of the packet has one.
fn port_offset(headers: &Headers, side: Side) -> Option<usize> {
    let offset = match (headers.transport, side) {
        (Transport::Tcp(_) | Transport::Udp, Side::Source) => 0,
        (Transport::Tcp(_) | Transport::Udp, Side::Destination) => 2,
        (
            Transport::IcmpEcho {
                kind: etherparse::icmpv4::TYPE_ECHO_REQUEST,
            },
            Side::Source,
        ) => 4,
        (
            Transport::IcmpEcho {
                kind: etherparse::icmpv4::TYPE_ECHO_REPLY,
            },
            Side::Destination,
        ) => 4,
        _ => return None,
    };
    Some(headers.header_len + offset)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Source,
    Destination,
}

fn set(bytes: &mut [u8], headers: &Headers, side: Side, to: SocketAddrV4) {
    let at = if side == Side::Source {
        IP_SOURCE
    } else {
        IP_DESTINATION
    };
    let old: [u8; 4] = bytes[at..at + 4].try_into().expect("the header was read");
    let new = to.ip().octets();
    if old != new {
        let checksum = adjust(word_at(bytes, IP_CHECKSUM), &old, &new);
        put_word(bytes, IP_CHECKSUM, checksum);
        bytes[at..at + 4].copy_from_slice(&new);
        if let Some(at) = transport_checksum(bytes, headers) {
            let checksum = adjust(word_at(bytes, at), &old, &new);
            put_transport_checksum(bytes, at, headers, checksum);
        }
    }
    let Some(at) = port_offset(headers, side) else { return };
    let old = [bytes[at], bytes[at + 1]];
    let new = to.port().to_be_bytes();
    if old != new {
        bytes[at..at + 2].copy_from_slice(&new);
        let checksum_at = match headers.tuple.protocol {
            Protocol::Icmp => Some(headers.header_len + 2),
            _ => transport_checksum(bytes, headers),
        };
        if let Some(at) = checksum_at {
            let checksum = adjust(word_at(bytes, at), &old, &new);
            put_transport_checksum(bytes, at, headers, checksum);
        }
    }
}

fn put_transport_checksum(bytes: &mut [u8], at: usize, headers: &Headers, checksum: u16) {
    let checksum = if headers.tuple.protocol == Protocol::Udp && checksum == 0 {
        0xffff
    } else {
        checksum
    };
    put_word(bytes, at, checksum);
}

/// Changes source address and port. `headers` must have been read from `bytes`; its tuple is not needed afterwards.
pub fn set_source(bytes: &mut [u8], headers: &Headers, to: SocketAddrV4) {
    set(bytes, headers, Side::Source, to);
}

/// Changes destination address and port.
pub fn set_destination(bytes: &mut [u8], headers: &Headers, to: SocketAddrV4) {
    set(bytes, headers, Side::Destination, to);
}

/// Takes one off the time to live; `headers.ttl` must be above 0.
pub fn decrement_ttl(bytes: &mut [u8]) {
    let old = [bytes[8], bytes[9]];
    bytes[8] = bytes[8].saturating_sub(1);
    let checksum = adjust(word_at(bytes, IP_CHECKSUM), &old, &[bytes[8], bytes[9]]);
    put_word(bytes, IP_CHECKSUM, checksum);
}

/// Computes the checksum of an IP header of this length anew.
pub(super) fn fix_ip_checksum(bytes: &mut [u8], header_len: usize) {
    put_word(bytes, IP_CHECKSUM, 0);
    let checksum = Sum16BitWords::new()
        .add_slice(&bytes[..header_len])
        .ones_complement()
        .to_be();
    put_word(bytes, IP_CHECKSUM, checksum);
}

/// Computes all checksums of a whole packet afresh.
pub fn fix_checksums(bytes: &mut [u8], headers: &Headers) {
    fix_ip_checksum(bytes, headers.header_len);
    if headers.fragment != Fragment::Whole {
        return;
    }
    let at = match headers.tuple.protocol {
        Protocol::Icmp => headers.header_len + 2,
        _ => match transport_checksum(bytes, headers) {
            Some(at) => at,
            None => return,
        },
    };
    put_word(bytes, at, 0);
    let segment = &bytes[headers.header_len..headers.total_len];
    let mut sum = Sum16BitWords::new().add_slice(segment);
    if headers.tuple.protocol != Protocol::Icmp {
        sum = sum
            .add_4bytes(headers.source().octets())
            .add_4bytes(headers.destination().octets())
            .add_2bytes([0, headers.tuple.protocol.number()])
            .add_2bytes((segment.len() as u16).to_be_bytes());
    }
    let checksum = sum.ones_complement().to_be();
    put_transport_checksum(bytes, at, headers, checksum);
}

/// The headers of the packet that an ICMP error quotes.
///
/// # Errors
/// When the quote is too short.
pub fn quoted_headers(bytes: &[u8], headers: &Headers) -> Result<Headers, HeaderError> {
    let quote = bytes
        .get(headers.header_len + 8..headers.total_len)
        .ok_or(HeaderError::Malformed)?;
    Headers::read_quoted(quote)
}

/// Rewrites the quoted packet's tuple inside an ICMP error, and the error's own checksum.
pub fn translate_quote(bytes: &mut [u8], headers: &Headers, quoted: &Headers, to: Tuple) {
    let start = headers.header_len + 8;
    let quote = &mut bytes[start..headers.total_len];
    set_source(quote, quoted, to.source);
    set_destination(quote, quoted, to.destination);
    let at = headers.header_len + 2;
    put_word(bytes, at, 0);
    let checksum = Sum16BitWords::new()
        .add_slice(&bytes[headers.header_len..headers.total_len])
        .ones_complement()
        .to_be();
    put_word(bytes, at, checksum);
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{PacketBuilder, SlicedPacket, TransportSlice};
    use proptest::prelude::*;
    use std::net::Ipv4Addr;

    /// Recomputes every checksum with etherparse and compares.
    fn assert_checksums(bytes: &[u8]) {
        let packet = SlicedPacket::from_ip(bytes).expect("still a packet");
        let Some(etherparse::NetSlice::Ipv4(ip)) = &packet.net else {
            panic!("not IPv4")
        };
        let header = ip.header();
        assert_eq!(
            header.header_checksum(),
            header.to_header().calc_header_checksum(),
            "IP header checksum"
        );
        match packet.transport.expect("a transport header") {
            TransportSlice::Tcp(tcp) => {
                let expected = tcp.calc_checksum_ipv4(header.source(), header.destination()).unwrap();
                assert_eq!(tcp.checksum(), expected, "TCP checksum");
            }
            TransportSlice::Udp(udp) => {
                let expected = udp
                    .to_header()
                    .calc_checksum_ipv4(&header.to_header(), udp.payload())
                    .unwrap();
                assert_eq!(udp.checksum(), expected, "UDP checksum");
            }
            TransportSlice::Icmpv4(icmp) => {
                let expected = icmp.icmp_type().calc_checksum(icmp.payload());
                assert_eq!(icmp.checksum(), expected, "ICMP checksum");
            }
            other => panic!("unexpected {other:?}"),
        }
    }

    fn packet(protocol: u8, source: SocketAddrV4, destination: SocketAddrV4, payload: &[u8]) -> Vec<u8> {
        let builder = PacketBuilder::ipv4(source.ip().octets(), destination.ip().octets(), 64);
        let mut bytes = Vec::new();
        match protocol {
            0 => builder
                .tcp(source.port(), destination.port(), 1, 2)
                .write(&mut bytes, payload)
                .unwrap(),
            1 => builder
                .udp(source.port(), destination.port())
                .write(&mut bytes, payload)
                .unwrap(),
            _ => builder
                .icmpv4_echo_request(source.port(), 1)
                .write(&mut bytes, payload)
                .unwrap(),
        }
        bytes
    }

    fn address() -> impl Strategy<Value = SocketAddrV4> {
        (any::<u32>(), any::<u16>()).prop_map(|(ip, port)| SocketAddrV4::new(Ipv4Addr::from(ip), port))
    }

    proptest! {
        #[test]
        fn checksums_stay_valid_after_translation(
            protocol in 0u8..3, from in address(), to in address(), new_from in address(), new_to in address(),
            payload in proptest::collection::vec(any::<u8>(), 0..100),
        ) {
            let mut bytes = packet(protocol, from, to, &payload);
            let headers = Headers::read(&bytes).unwrap();
            set_source(&mut bytes, &headers, new_from);
            set_destination(&mut bytes, &headers, new_to);
            decrement_ttl(&mut bytes);
            assert_checksums(&bytes);
            let after = Headers::read(&bytes).unwrap();
            prop_assert_eq!(after.source(), *new_from.ip());
            prop_assert_eq!(after.destination(), *new_to.ip());
            prop_assert_eq!(after.ttl, 63);
            if protocol < 2 {
                prop_assert_eq!(after.tuple.destination.port(), new_to.port());
            }
            prop_assert_eq!(after.tuple.source.port(), new_from.port());
        }

        #[test]
        fn fixed_checksums_are_etherparses(
            protocol in 0u8..3, from in address(), to in address(),
            payload in proptest::collection::vec(any::<u8>(), 1..100),
        ) {
            let mut bytes = packet(protocol, from, to, &payload);
            let headers = Headers::read(&bytes).unwrap();
            let last = bytes.len() - 1;
            bytes[last] ^= 0xff;
            fix_checksums(&mut bytes, &headers);
            assert_checksums(&bytes);
        }
    }

    #[test]
    fn a_udp_packet_without_checksum_keeps_none() {
        let from = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 1), 1);
        let mut bytes = packet(1, from, from, b"x");
        bytes[26..28].fill(0);
        let headers = Headers::read(&bytes).unwrap();
        set_destination(&mut bytes, &headers, SocketAddrV4::new(Ipv4Addr::new(10, 9, 9, 9), 9));
        assert_eq!(&bytes[26..28], [0, 0]);
    }
}
