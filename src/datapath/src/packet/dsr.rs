//! The IP option by which the node that was asked tells the backend's node how to answer (`DSR_IPV4_OPT_32` in Cilium's
//! `bpf/lib/common.h`): type and length, the port and the address of the service.

use super::{Packet, rewrite::fix_ip_checksum};
use std::net::{Ipv4Addr, SocketAddrV4};

const TYPE: u8 = 0x9a;
const LENGTH: usize = 8;
/// An IPv4 header without options.
const BARE: usize = 20;

/// Adds the option to a packet without options; any other stays as it is.
pub fn add_dsr(packet: &mut Packet, service: SocketAddrV4) {
    if packet.bytes().first() != Some(&0x45) {
        return;
    }
    packet.prepend(LENGTH);
    let bytes = packet.bytes_mut();
    bytes.copy_within(LENGTH..LENGTH + BARE, 0);
    bytes[BARE..BARE + 2].copy_from_slice(&[TYPE, LENGTH as u8]);
    bytes[BARE + 2..BARE + 4].copy_from_slice(&service.port().to_be_bytes());
    bytes[BARE + 4..BARE + 8].copy_from_slice(&service.ip().octets());
    set_length(bytes, BARE + LENGTH);
}

/// Takes the option off and returns whose answer the packet wants; none if it has no such option.
pub fn take_dsr(packet: &mut Packet) -> Option<SocketAddrV4> {
    let bytes = packet.bytes();
    let has_it = bytes.first() == Some(&0x47) && bytes.get(BARE..BARE + 2)? == [TYPE, LENGTH as u8];
    let option: [u8; LENGTH] = bytes.get(BARE..BARE + LENGTH)?.try_into().ok()?;
    if !has_it {
        return None;
    }
    let [_, _, high, low, a, b, c, d] = option;
    packet.bytes_mut().copy_within(0..BARE, LENGTH);
    packet.strip(LENGTH);
    set_length(packet.bytes_mut(), BARE);
    Some(SocketAddrV4::new(
        Ipv4Addr::new(a, b, c, d),
        u16::from_be_bytes([high, low]),
    ))
}

/// Writes the length of the header, and with it that of the packet and the header's checksum.
fn set_length(bytes: &mut [u8], header: usize) {
    bytes[0] = 0x40 | (header / 4) as u8;
    let total = bytes.len() as u16;
    bytes[2..4].copy_from_slice(&total.to_be_bytes());
    fix_ip_checksum(bytes, header);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::Headers;
    use etherparse::PacketBuilder;

    #[test]
    fn the_option_comes_and_goes() {
        let mut bytes = Vec::new();
        let builder = PacketBuilder::ipv4([10, 244, 1, 7], [10, 246, 1, 7], 64).udp(4000, 8080);
        builder.write(&mut bytes, b"ping").unwrap();
        let original = Packet::copy_of(&bytes);
        let mut packet = original.clone();
        assert_eq!(take_dsr(&mut packet), None);
        let service = SocketAddrV4::new([10, 25, 11, 14].into(), 30_080);
        add_dsr(&mut packet, service);
        let headers = Headers::read(packet.bytes()).unwrap();
        assert_eq!((headers.header_len, headers.total_len), (28, original.len() + 8));
        assert_eq!(headers.tuple, Headers::read(original.bytes()).unwrap().tuple);
        assert_eq!(take_dsr(&mut packet), Some(service));
        assert_eq!(packet.bytes(), original.bytes());
    }
}
