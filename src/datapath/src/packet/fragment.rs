//! Fragmentation of IPv4 packets (RFC 791, section 3.2).

use super::{buffer::Packet, header::Headers};
use etherparse::checksum::Sum16BitWords;

/// Splits a packet into fragments of at most `mtu` bytes each; one that fits comes back alone.
///
/// IP options are repeated in every fragment, which RFC 791 asks for only some of them: Linux drops none of the rest.
pub fn fragment(packet: Packet, headers: &Headers, mtu: usize) -> Vec<Packet> {
    if headers.total_len <= mtu {
        return vec![packet];
    }
    let bytes = packet.bytes();
    let header = &bytes[..headers.header_len];
    let step = (mtu.saturating_sub(headers.header_len) & !7).max(8);
    let flags = u16::from_be_bytes([bytes[6], bytes[7]]);
    let (first_offset, more_after) = (flags & 0x1fff, flags & 0x2000);
    let payload = &bytes[headers.header_len..headers.total_len];
    let pieces = payload.chunks(step).count();
    payload
        .chunks(step)
        .enumerate()
        .map(|(index, piece)| {
            let mut fragment = Packet::zeroed(headers.header_len + piece.len());
            let out = fragment.bytes_mut();
            out[..headers.header_len].copy_from_slice(header);
            out[headers.header_len..].copy_from_slice(piece);
            let total = (headers.header_len + piece.len()) as u16;
            out[2..4].copy_from_slice(&total.to_be_bytes());
            let more = if index + 1 < pieces { 0x2000 } else { more_after };
            let offset = first_offset + (index * step / 8) as u16;
            out[6..8].copy_from_slice(&(more | offset).to_be_bytes());
            out[10..12].fill(0);
            let checksum = Sum16BitWords::new()
                .add_slice(&out[..headers.header_len])
                .ones_complement()
                .to_be();
            out[10..12].copy_from_slice(&checksum.to_be_bytes());
            fragment
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::Fragment;
    use etherparse::{Ipv4HeaderSlice, PacketBuilder};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn fragments_fit_and_put_together_are_the_packet(
            len in 1usize..4000, mtu in 68usize..1500, again in 68usize..1500,
        ) {
            let payload: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let mut bytes = Vec::new();
            PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64).udp(5, 6).write(&mut bytes, &payload).unwrap();
            let whole = Headers::read(&bytes).unwrap();
            let mut rebuilt = vec![0; whole.total_len - 20];
            let mut last_seen = false;
            // Fragments of fragments must still fit together.
            for first in fragment(Packet::copy_of(&bytes), &whole, mtu) {
                let headers = Headers::read(first.bytes()).unwrap();
                for piece in fragment(first, &headers, again) {
                    let headers = Headers::read(piece.bytes()).unwrap();
                    prop_assert!(piece.len() <= mtu.min(again).max(28));
                    let ip = Ipv4HeaderSlice::from_slice(piece.bytes()).unwrap();
                    prop_assert_eq!(ip.header_checksum(), ip.to_header().calc_header_checksum());
                    let at = usize::from(ip.fragments_offset().value()) * 8;
                    rebuilt[at..at + piece.len() - 20].copy_from_slice(&piece.bytes()[20..]);
                    last_seen |= !ip.more_fragments();
                    if whole.total_len > mtu {
                        prop_assert_ne!(headers.fragment, Fragment::Whole);
                    }
                }
            }
            prop_assert!(last_seen);
            prop_assert_eq!(rebuilt.as_slice(), &bytes[20..]);
        }
    }
}
