//! Answers to packets that cannot go on: ICMP errors (RFC 792, RFC 1191) and TCP resets (RFC 9293, section 3.5.2).

use super::{
    buffer::Packet,
    header::{Fragment, Headers, Transport, tcp},
};
use etherparse::{
    Icmpv4Type, PacketBuilder, TcpHeaderSlice,
    icmpv4::{DestUnreachableHeader, TimeExceededCode},
};
use std::net::Ipv4Addr;

/// Which error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IcmpError {
    /// Nobody listens on that port.
    PortUnreachable,
    /// Too large for the next hop, and not to be fragmented.
    FragmentationNeeded {
        /// What would fit.
        mtu: u16,
    },
    /// Time to live exceeded.
    TimeExceeded,
}

/// How much of the offending packet an error quotes: RFC 1812 allows up to 576 bytes in all.
const QUOTE: usize = 548;

/// The error about `packet`, from `hop` to its source. `None` where RFC 1122 forbids an answer: about an ICMP error or
/// a later fragment.
pub fn icmp_error(packet: &[u8], headers: &Headers, hop: Ipv4Addr, error: IcmpError) -> Option<Packet> {
    if matches!(headers.transport, Transport::IcmpError { .. }) || headers.fragment == Fragment::Later {
        return None;
    }
    let kind = match error {
        IcmpError::PortUnreachable => Icmpv4Type::DestinationUnreachable(DestUnreachableHeader::Port),
        IcmpError::FragmentationNeeded { mtu } => {
            Icmpv4Type::DestinationUnreachable(DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: mtu })
        }
        IcmpError::TimeExceeded => Icmpv4Type::TimeExceeded(TimeExceededCode::TtlExceededInTransit),
    };
    let quote = &packet[..headers.total_len.min(QUOTE)];
    let mut bytes = Vec::with_capacity(28 + quote.len());
    PacketBuilder::ipv4(hop.octets(), headers.source().octets(), 64)
        .icmpv4(kind)
        .write(&mut bytes, quote)
        .ok()?;
    Some(Packet::copy_of(&bytes))
}

/// The reset that answers `packet` as if its destination refused it. `None` for anything but whole TCP segments, and
/// for resets.
pub fn tcp_reset(packet: &[u8], headers: &Headers) -> Option<Packet> {
    let Transport::Tcp(flags) = headers.transport else {
        return None;
    };
    if flags & tcp::RST != 0 || headers.fragment != Fragment::Whole {
        return None;
    }
    let segment = TcpHeaderSlice::from_slice(&packet[headers.header_len..headers.total_len]).ok()?;
    let payload = headers.total_len - headers.header_len - segment.slice().len();
    let length = payload as u32 + u32::from(segment.syn()) + u32::from(segment.fin());
    let answer = PacketBuilder::ipv4(headers.destination().octets(), headers.source().octets(), 64);
    let (to, from) = (segment.source_port(), segment.destination_port());
    let mut bytes = Vec::with_capacity(40);
    if segment.ack() {
        answer
            .tcp(from, to, segment.acknowledgment_number(), 0)
            .rst()
            .write(&mut bytes, &[])
            .ok()?;
    } else {
        let acknowledged = segment.sequence_number().wrapping_add(length);
        answer
            .tcp(from, to, 0, 0)
            .rst()
            .ack(acknowledged)
            .write(&mut bytes, &[])
            .ok()?;
    }
    Some(Packet::copy_of(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_syn_is_refused_with_an_acknowledging_reset() {
        let mut bytes = Vec::new();
        PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
            .tcp(1000, 80, 41, 100)
            .syn()
            .write(&mut bytes, &[])
            .unwrap();
        let headers = Headers::read(&bytes).unwrap();
        let reset = tcp_reset(&bytes, &headers).expect("a reset");
        let answer = Headers::read(reset.bytes()).unwrap();
        assert_eq!(answer.tuple, headers.tuple.reversed());
        assert_eq!(answer.tcp_flags(), tcp::RST | tcp::ACK);
        assert_eq!(
            TcpHeaderSlice::from_slice(&reset.bytes()[20..])
                .unwrap()
                .acknowledgment_number(),
            42
        );
        assert!(
            tcp_reset(reset.bytes(), &answer).is_none(),
            "a reset is not answered with a reset"
        );
    }

    #[test]
    fn fragmentation_needed_quotes_the_packet_and_names_the_mtu() {
        let mut bytes = Vec::new();
        PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
            .udp(5, 6)
            .write(&mut bytes, &[7; 1400])
            .unwrap();
        let headers = Headers::read(&bytes).unwrap();
        let hop = Ipv4Addr::new(10, 0, 0, 254);
        let error = icmp_error(&bytes, &headers, hop, IcmpError::FragmentationNeeded { mtu: 1280 }).expect("an error");
        let answer = Headers::read(error.bytes()).unwrap();
        assert_eq!(answer.icmp(), Some((3, 4)));
        assert_eq!((answer.source(), answer.destination()), (hop, headers.source()));
        assert_eq!(&error.bytes()[26..28], 1280u16.to_be_bytes());
        assert_eq!(
            super::super::quoted_headers(error.bytes(), &answer).unwrap().tuple,
            headers.tuple
        );
        let about_it = icmp_error(error.bytes(), &answer, hop, IcmpError::TimeExceeded);
        assert!(about_it.is_none(), "an ICMP error about an ICMP error is forbidden");
    }
}
