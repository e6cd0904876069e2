//! What the switch reads of a packet: addresses, ports, flags, fragmentation. Parsing itself is etherparse's.

use crate::service::Protocol;
use etherparse::{Ipv4HeaderSlice, icmpv4};
use std::{
    fmt,
    net::{Ipv4Addr, SocketAddrV4},
};

/// TCP flag bits.
pub mod tcp {
    /// Finish.
    pub const FIN: u8 = 1;
    /// Synchronise.
    pub const SYN: u8 = 2;
    /// Reset.
    pub const RST: u8 = 4;
    /// Acknowledge.
    pub const ACK: u8 = 16;
}

impl Protocol {
    /// From the IP header's number.
    pub fn from_number(number: u8) -> Self {
        match number {
            1 => Protocol::Icmp,
            6 => Protocol::Tcp,
            17 => Protocol::Udp,
            other => Protocol::Other(other),
        }
    }

    /// The IP header's number.
    pub fn number(self) -> u8 {
        match self {
            Protocol::Icmp => 1,
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
            Protocol::Other(number) => number,
        }
    }
}

/// What distinguishes one flow from another. An ICMP echo's identifier is the port of the side that asks; the other
/// side's port is 0, as are the ports of protocols without.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tuple {
    /// The protocol.
    pub protocol: Protocol,
    /// Who sends.
    pub source: SocketAddrV4,
    /// Who receives.
    pub destination: SocketAddrV4,
}

impl Tuple {
    /// The tuple of an answer.
    pub fn reversed(self) -> Self {
        Self {
            protocol: self.protocol,
            source: self.destination,
            destination: self.source,
        }
    }
}

impl fmt::Display for Tuple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {} -> {}", self.protocol, self.source, self.destination)
    }
}

/// Whether a packet is part of a larger one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fragment {
    /// It is whole.
    Whole,
    /// It has the transport header; more follow.
    First,
    /// It has no transport header.
    Later,
}

/// What the transport header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP with these flags.
    Tcp(u8),
    /// UDP.
    Udp,
    /// An ICMP message that asks or answers (echo).
    IcmpEcho {
        /// Type.
        kind: u8,
    },
    /// An ICMP error, which quotes the packet it is about.
    IcmpError {
        /// Type.
        kind: u8,
        /// Code.
        code: u8,
    },
    /// Any other ICMP message.
    IcmpOther {
        /// Type.
        kind: u8,
        /// Code.
        code: u8,
    },
    /// Not looked into: another protocol or a later fragment.
    Opaque,
}

/// Why a packet cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The version is not 4.
    #[error("not an IPv4 packet")]
    NotIpv4,
    /// Lengths disagree or the packet ends early.
    #[error("malformed IPv4 packet")]
    Malformed,
}

/// The fields that the switch needs, by value, so that the packet can be changed meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers {
    /// Addresses and ports; ports are 0 in later fragments.
    pub tuple: Tuple,
    /// Length of the IP header.
    pub header_len: usize,
    /// Length of the IP packet.
    pub total_len: usize,
    /// IP identification, the same in all fragments.
    pub identification: u16,
    /// Whether it is part of a larger packet.
    pub fragment: Fragment,
    /// Whether routers must not fragment it.
    pub dont_fragment: bool,
    /// Time to live.
    pub ttl: u8,
    /// What the transport header says.
    pub transport: Transport,
}

impl Headers {
    /// Reads an IPv4 packet; bytes behind its total length are ignored.
    ///
    /// # Errors
    /// When it is not IPv4 or too short for what it claims to be.
    pub fn read(bytes: &[u8]) -> Result<Self, HeaderError> {
        let headers = Self::read_quoted(bytes)?;
        if headers.total_len > bytes.len() || headers.total_len < headers.header_len {
            return Err(HeaderError::Malformed);
        }
        let needed = match headers.transport {
            Transport::Opaque => 0,
            Transport::Tcp(_) => 20,
            _ => 8,
        };
        if headers.total_len < headers.header_len + needed {
            return Err(HeaderError::Malformed);
        }
        Ok(headers)
    }

    /// Reads what an ICMP error quotes: an IP header and at least eight bytes behind it.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_quoted(bytes: &[u8]) -> Result<Self, HeaderError> {
        if bytes.first().is_none_or(|first| first >> 4 != 4) {
            return Err(HeaderError::NotIpv4);
        }
        let ip = Ipv4HeaderSlice::from_slice(bytes).map_err(|_| HeaderError::Malformed)?;
        let header_len = ip.slice().len();
        let protocol = Protocol::from_number(ip.protocol().0);
        let fragment = match (ip.fragments_offset().value(), ip.more_fragments()) {
            (0, false) => Fragment::Whole,
            (0, true) => Fragment::First,
            _ => Fragment::Later,
        };
        let payload = &bytes[header_len..];
        let (transport, source_port, destination_port) = if fragment == Fragment::Later {
            (Transport::Opaque, 0, 0)
        } else {
            read_transport(protocol, payload)?
        };
        Ok(Self {
            tuple: Tuple {
                protocol,
                source: SocketAddrV4::new(ip.source_addr(), source_port),
                destination: SocketAddrV4::new(ip.destination_addr(), destination_port),
            },
            header_len,
            total_len: usize::from(ip.total_len()),
            identification: ip.identification(),
            fragment,
            dont_fragment: ip.dont_fragment(),
            ttl: ip.ttl(),
            transport,
        })
    }

    /// Source address.
    pub fn source(&self) -> Ipv4Addr {
        *self.tuple.source.ip()
    }

    /// Destination address.
    pub fn destination(&self) -> Ipv4Addr {
        *self.tuple.destination.ip()
    }

    /// TCP flags, 0 for everything else.
    pub fn tcp_flags(&self) -> u8 {
        match self.transport {
            Transport::Tcp(flags) => flags,
            _ => 0,
        }
    }

    /// ICMP type and code.
    pub fn icmp(&self) -> Option<(u8, u8)> {
        match self.transport {
            Transport::IcmpEcho { kind } => Some((kind, 0)),
            Transport::IcmpError { kind, code } | Transport::IcmpOther { kind, code } => Some((kind, code)),
            _ => None,
        }
    }
}

fn read_transport(protocol: Protocol, payload: &[u8]) -> Result<(Transport, u16, u16), HeaderError> {
    let word = |at: usize| u16::from_be_bytes([payload[at], payload[at + 1]]);
    match protocol {
        Protocol::Tcp | Protocol::Udp | Protocol::Icmp if payload.len() < 8 => Err(HeaderError::Malformed),
        Protocol::Tcp => Ok((Transport::Tcp(payload.get(13).copied().unwrap_or(0)), word(0), word(2))),
        Protocol::Udp => Ok((Transport::Udp, word(0), word(2))),
        Protocol::Icmp => {
            let (kind, code) = (payload[0], payload[1]);
            Ok(match kind {
                icmpv4::TYPE_ECHO_REQUEST => (Transport::IcmpEcho { kind }, word(4), 0),
                icmpv4::TYPE_ECHO_REPLY => (Transport::IcmpEcho { kind }, 0, word(4)),
                icmpv4::TYPE_DEST_UNREACH | icmpv4::TYPE_TIME_EXCEEDED | icmpv4::TYPE_PARAMETER_PROBLEM => {
                    (Transport::IcmpError { kind, code }, 0, 0)
                }
                _ => (Transport::IcmpOther { kind, code }, 0, 0),
            })
        }
        Protocol::Other(_) => Ok((Transport::Opaque, 0, 0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::PacketBuilder;
    use proptest::prelude::*;

    #[test]
    fn reads_what_etherparse_wrote() {
        let mut bytes = Vec::new();
        PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
            .tcp(1000, 80, 5, 100)
            .syn()
            .write(&mut bytes, b"hello")
            .unwrap();
        let headers = Headers::read(&bytes).unwrap();
        assert_eq!(headers.tuple.to_string(), "Tcp 10.0.0.1:1000 -> 10.0.0.2:80");
        assert_eq!(headers.tcp_flags(), tcp::SYN);
        assert_eq!((headers.header_len, headers.total_len), (20, 45));
        assert_eq!(headers.fragment, Fragment::Whole);
    }

    #[test]
    fn an_echo_reply_is_the_reversed_tuple_of_its_request() {
        let (mut request, mut reply) = (Vec::new(), Vec::new());
        PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
            .icmpv4_echo_request(77, 1)
            .write(&mut request, b"ping")
            .unwrap();
        PacketBuilder::ipv4([10, 0, 0, 2], [10, 0, 0, 1], 64)
            .icmpv4_echo_reply(77, 1)
            .write(&mut reply, b"ping")
            .unwrap();
        assert_eq!(
            Headers::read(&request).unwrap().tuple.reversed(),
            Headers::read(&reply).unwrap().tuple
        );
    }

    #[test]
    fn a_truncated_packet_is_malformed() {
        let mut bytes = Vec::new();
        PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
            .udp(1, 2)
            .write(&mut bytes, b"hello")
            .unwrap();
        for len in 1..bytes.len() {
            assert_eq!(
                Headers::read(&bytes[..len]),
                Err(HeaderError::Malformed),
                "cut to {len} bytes"
            );
        }
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = Headers::read(&bytes);
            let _ = Headers::read_quoted(&bytes);
        }
    }
}
