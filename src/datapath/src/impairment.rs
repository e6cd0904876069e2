//! What the impairments of one link do to one packet. Pure: the fabric and the switch ask, and act on the answer.

use crate::{
    fault::{Checksum, Effect, Impairment, MtuSignal, Traffic},
    packet::{Fragment, Headers, Transport, fix_checksums, tcp},
    service::Protocol,
};
use rand::{Rng, rngs::SmallRng};
use std::time::Duration;

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fate {
    /// It goes on.
    Pass(Passage),
    /// It is lost.
    Lost,
    /// It does not fit.
    TooBig { mtu: u16, signal: MtuSignal },
    /// Its sender gets a TCP reset.
    Reset,
}

/// How it goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Passage {
    pub delay: Duration,
    pub twice: bool,
    pub corrupt: Option<Checksum>,
    /// Bits a second.
    pub rate: Option<u64>,
}

/// The impairments in force at one place, in the order of injection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Impairments(pub Vec<Impairment>);

impl Impairments {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Applies each impairment that concerns the packet; the first that stops it decides.
    pub(crate) fn judge(&self, bytes: &[u8], headers: &Headers, rng: &mut SmallRng) -> Fate {
        let mut passage = Passage::default();
        for Impairment { traffic, effect } in &self.0 {
            if !concerns(traffic, bytes, headers) {
                continue;
            }
            match *effect {
                Effect::Drop => return Fate::Lost,
                Effect::Loss(share) if hits(rng, share) => return Fate::Lost,
                Effect::Mtu { bytes: mtu, signal } if headers.total_len > usize::from(mtu) => {
                    return Fate::TooBig { mtu, signal };
                }
                Effect::Reset if headers.tuple.protocol == Protocol::Tcp && headers.tcp_flags() & tcp::SYN == 0 => {
                    return Fate::Reset;
                }
                Effect::Delay(by) => passage.delay += by,
                Effect::Jitter(up_to) => passage.delay += up_to.mul_f64(rng.random()),
                Effect::Corrupt { share, checksum } if hits(rng, share) => passage.corrupt = Some(checksum),
                Effect::Rate(bits) => passage.rate = Some(passage.rate.map_or(bits, |rate| rate.min(bits))),
                Effect::Duplicate(share) => passage.twice |= hits(rng, share),
                Effect::Reorder { share, by } if hits(rng, share) => passage.delay += by,
                Effect::Loss(_)
                | Effect::Mtu { .. }
                | Effect::Reset
                | Effect::Corrupt { .. }
                | Effect::Reorder { .. } => {}
            }
        }
        Fate::Pass(passage)
    }
}

fn hits(rng: &mut SmallRng, share: f64) -> bool {
    rng.random::<f64>() < share
}

/// Whether traffic of this kind includes the packet. Later fragments carry no port and match no port.
pub(crate) fn concerns(traffic: &Traffic, bytes: &[u8], headers: &Headers) -> bool {
    match traffic {
        Traffic::All => true,
        Traffic::Protocol(protocol) => headers.tuple.protocol == *protocol,
        Traffic::Port(protocol, port) => {
            headers.tuple.protocol == *protocol && headers.tuple.destination.port() == *port
        }
        Traffic::LargerThan(len) => headers.total_len > usize::from(*len),
        Traffic::Fragments => headers.fragment != Fragment::Whole,
        Traffic::Handshake => is_handshake(bytes, headers),
        Traffic::BareSegments => is_bare(bytes, headers),
        Traffic::IcmpErrors => matches!(headers.transport, Transport::IcmpError { .. }),
        // Headers do not show it.
        Traffic::Translated | Traffic::Proxied => false,
        Traffic::To(address) => headers.destination() == *address,
        Traffic::Address(address) => headers.source() == *address || headers.destination() == *address,
    }
}

fn is_bare(bytes: &[u8], headers: &Headers) -> bool {
    let offset = bytes
        .get(headers.header_len + 12)
        .map(|byte| usize::from(byte >> 4) * 4);
    matches!(headers.transport, Transport::Tcp(_))
        && offset.is_some_and(|len| headers.header_len + len >= headers.total_len)
}

/// WireGuard messages of types 1 to 3: a type byte and three zero bytes, with the lengths of the protocol's paper.
fn is_handshake(bytes: &[u8], headers: &Headers) -> bool {
    let Some(payload) = bytes.get(headers.header_len + 8..headers.total_len) else {
        return false;
    };
    headers.transport == Transport::Udp
        && matches!(
            (payload.get(..4), payload.len()),
            (Some([1, 0, 0, 0]), 148) | (Some([2, 0, 0, 0]), 92) | (Some([3, 0, 0, 0]), 64)
        )
}

/// Inverts the last byte of the payload.
pub(crate) fn corrupt(bytes: &mut [u8], headers: &Headers, checksum: Checksum) {
    if let Some(last) = bytes[headers.header_len..headers.total_len].last_mut() {
        *last ^= 0xff;
    }
    if checksum == Checksum::Recomputed {
        fix_checksums(bytes, headers);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::PacketBuilder;
    use rand::SeedableRng;

    fn udp(payload: &[u8]) -> (Vec<u8>, Headers) {
        let mut bytes = Vec::new();
        PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
            .udp(5, 51871)
            .write(&mut bytes, payload)
            .unwrap();
        let headers = Headers::read(&bytes).unwrap();
        (bytes, headers)
    }

    fn judge(impairments: &[Impairment], payload: &[u8]) -> Fate {
        let (bytes, headers) = udp(payload);
        Impairments(impairments.to_vec()).judge(&bytes, &headers, &mut SmallRng::seed_from_u64(1))
    }

    #[test]
    fn delays_add_up_and_other_protocols_pass() {
        let second = Duration::from_secs(1);
        let delay = Impairment::all(Effect::Delay(second));
        let tcp_only = Impairment::of(Protocol::Tcp, Effect::Drop);
        let fate = judge(&[delay.clone(), tcp_only, delay], b"x");
        assert_eq!(
            fate,
            Fate::Pass(Passage {
                delay: 2 * second,
                ..Passage::default()
            })
        );
        assert_eq!(judge(&[Impairment::of(Protocol::Udp, Effect::Drop)], b"x"), Fate::Lost);
    }

    #[test]
    fn a_handshake_is_told_from_data() {
        let drop = [Impairment {
            traffic: Traffic::Handshake,
            effect: Effect::Drop,
        }];
        let mut init = [0; 148];
        init[0] = 1;
        assert_eq!(judge(&drop, &init), Fate::Lost);
        init[0] = 4;
        assert_eq!(judge(&drop, &init), Fate::Pass(Passage::default()));
    }

    #[test]
    fn a_bare_segment_has_no_payload() {
        for (payload, bare) in [(&b""[..], true), (b"x", false)] {
            let mut bytes = Vec::new();
            PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
                .tcp(5, 6, 1, 2)
                .write(&mut bytes, payload)
                .unwrap();
            let headers = Headers::read(&bytes).unwrap();
            assert_eq!(concerns(&Traffic::BareSegments, &bytes, &headers), bare);
        }
        let (bytes, headers) = udp(b"");
        assert!(!concerns(&Traffic::BareSegments, &bytes, &headers));
    }

    #[test]
    fn loss_is_about_its_share() {
        let (bytes, headers) = udp(b"x");
        let loss = Impairments(vec![Impairment::all(Effect::Loss(0.05))]);
        let mut rng = SmallRng::seed_from_u64(7);
        let lost = (0..10_000)
            .filter(|_| loss.judge(&bytes, &headers, &mut rng) == Fate::Lost)
            .count();
        assert!((400..600).contains(&lost), "5 % of 10,000 expected, {lost} lost");
    }

    #[test]
    fn the_mtu_is_the_largest_that_passes() {
        let mtu = [Impairment::all(Effect::Mtu {
            bytes: 128,
            signal: MtuSignal::Silent,
        })];
        assert_eq!(judge(&mtu, &[0; 100]), Fate::Pass(Passage::default()));
        assert_eq!(
            judge(&mtu, &[0; 101]),
            Fate::TooBig {
                mtu: 128,
                signal: MtuSignal::Silent
            }
        );
    }
}
