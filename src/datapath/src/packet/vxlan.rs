//! VXLAN (RFC 7348): an Ethernet frame behind a VXLAN header, alone for a UDP socket or with outer UDP and IPv4 headers
//! for WireGuard. Cilium carries the source's identity as VNI.

use super::{
    buffer::Packet,
    header::{Headers, Transport},
};
use crate::service::Protocol;
use etherparse::{IpNumber, Ipv4Header, UdpHeader};
use std::net::Ipv4Addr;

/// VXLAN and inner Ethernet headers: what precedes the pod's packet in the UDP payload.
pub const VXLAN_HEADERS: usize = 8 + 14;

const VALID_VNI: u8 = 0x08;

/// The outer headers that WireGuard carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outer {
    /// This node.
    pub source: Ipv4Addr,
    /// The peer.
    pub destination: Ipv4Addr,
    /// VXLAN's UDP port.
    pub port: u16,
}

/// Puts VXLAN and Ethernet headers in front of a pod's packet and, if `outer` says so, UDP and IPv4 headers.
pub fn encapsulate(packet: &mut Packet, vni: u32, outer: Option<Outer>) {
    let ethernet = packet.prepend(14);
    // Cilium's tunnel has no use for the inner MAC addresses either.
    ethernet[..12].copy_from_slice(&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2]);
    ethernet[12..].copy_from_slice(&[0x08, 0x00]);
    let vxlan = packet.prepend(8);
    vxlan[0] = VALID_VNI;
    vxlan[1..4].fill(0);
    vxlan[4..].copy_from_slice(&(vni << 8).to_be_bytes());
    let Some(outer) = outer else { return };
    let length = (packet.len() + UdpHeader::LEN) as u16;
    // The checksum may be left out over IPv4 (RFC 7348, section 5), as Linux does.
    let udp = UdpHeader {
        source_port: outer.port,
        destination_port: outer.port,
        length,
        checksum: 0,
    };
    packet.prepend(UdpHeader::LEN).copy_from_slice(&udp.to_bytes());
    let mut ip = Ipv4Header::new(
        length,
        64,
        IpNumber::UDP,
        outer.source.octets(),
        outer.destination.octets(),
    )
    .expect("a pod's packet is far smaller than 64 KiB");
    ip.dont_fragment = false;
    ip.header_checksum = ip.calc_header_checksum();
    packet.prepend(Ipv4Header::MIN_LEN).copy_from_slice(&ip.to_bytes());
}

/// Strips VXLAN and Ethernet headers off a UDP payload; returns the VNI, or `None` if it is not VXLAN with IPv4 inside
/// (the packet is then unchanged).
pub fn decapsulate(packet: &mut Packet) -> Option<u32> {
    let bytes = packet.bytes();
    if bytes.len() < VXLAN_HEADERS || bytes[0] & VALID_VNI == 0 || bytes[20..22] != [0x08, 0x00] {
        return None;
    }
    let vni = u32::from_be_bytes([0, bytes[4], bytes[5], bytes[6]]);
    packet.strip(VXLAN_HEADERS);
    Some(vni)
}

/// Strips outer IPv4 and UDP headers off what came out of WireGuard, if they are VXLAN's; returns the outer source.
pub fn inner_of(packet: &mut Packet, port: u16) -> Option<Ipv4Addr> {
    let headers = Headers::read(packet.bytes()).ok()?;
    let is_vxlan = headers.tuple.protocol == Protocol::Udp
        && headers.transport == Transport::Udp
        && headers.tuple.destination.port() == port;
    if !is_vxlan {
        return None;
    }
    packet.truncate(headers.total_len);
    packet.strip(headers.header_len + UdpHeader::LEN);
    Some(headers.source())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out_and_costs_fifty_bytes() {
        let mut packet = Packet::copy_of(&[0x45; 64]);
        let outer = Outer {
            source: [10, 25, 11, 11].into(),
            destination: [10, 25, 11, 12].into(),
            port: 8472,
        };
        encapsulate(&mut packet, 0xabcdef, Some(outer));
        assert_eq!(packet.len(), 64 + 50);
        let headers = Headers::read(packet.bytes()).unwrap();
        assert_eq!(headers.tuple.to_string(), "Udp 10.25.11.11:8472 -> 10.25.11.12:8472");
        assert_eq!(inner_of(&mut packet, 8472), Some(outer.source));
        assert_eq!(decapsulate(&mut packet), Some(0xabcdef));
        assert_eq!(packet.bytes(), [0x45; 64]);
    }

    #[test]
    fn other_datagrams_are_no_vxlan() {
        let mut packet = Packet::copy_of(&[0; 64]);
        assert_eq!(decapsulate(&mut packet), None);
        assert_eq!(packet.len(), 64);
    }
}
