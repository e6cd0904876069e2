//! Payloads that need no memory: both ends of a comparison generate the same bytes from a seed.

use std::hash::{BuildHasher, Hasher, RandomState};

/// What fills a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pattern {
    /// Pseudo-random bytes from this seed.
    Random(u64),
    /// A marker over and over, so that every segment and every fragment of 31 bytes or more contains it whole.
    Marker([u8; 16]),
}

/// An unpredictable number; no cryptography rests on it.
pub(crate) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

impl Pattern {
    /// Bytes that nobody else sends.
    pub(crate) fn fresh() -> Self {
        Pattern::Random(random())
    }

    /// Writes the payload's bytes from `offset` on into `buffer`.
    pub(crate) fn fill(self, offset: u64, buffer: &mut [u8]) {
        match self {
            Pattern::Marker(marker) => {
                for (i, byte) in buffer.iter_mut().enumerate() {
                    *byte = marker[((offset + i as u64) % 16) as usize];
                }
            }
            Pattern::Random(seed) => {
                let mut at = offset;
                let mut rest = buffer;
                while !rest.is_empty() {
                    let word = split_mix(seed.wrapping_add((at / 8).wrapping_mul(GOLDEN))).to_le_bytes();
                    let skip = (at % 8) as usize;
                    let n = (8 - skip).min(rest.len());
                    let (head, tail) = rest.split_at_mut(n);
                    head.copy_from_slice(&word[skip..skip + n]);
                    rest = tail;
                    at += n as u64;
                }
            }
        }
    }

    /// The payload's bytes from `offset` on, `length` of them.
    pub(crate) fn bytes(self, offset: u64, length: usize) -> Vec<u8> {
        let mut buffer = vec![0; length];
        self.fill(offset, &mut buffer);
        buffer
    }

    /// Position of the first byte of `received` (which begins at `offset`) that is not the payload's.
    pub(crate) fn difference(self, offset: u64, received: &[u8]) -> Option<u64> {
        let mut expected = [0; 1024];
        let mut at = offset;
        for chunk in received.chunks(expected.len()) {
            let expected = &mut expected[..chunk.len()];
            self.fill(at, expected);
            if let Some(i) = chunk.iter().zip(expected.iter()).position(|(a, b)| a != b) {
                return Some(at + i as u64);
            }
            at += chunk.len() as u64;
        }
        None
    }
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// SplitMix64 (Steele, Lea, Flood 2014): a word of output for each word of input.
fn split_mix(state: u64) -> u64 {
    let z = state.wrapping_add(GOLDEN);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// FNV-1a, 64 bit: tells apart what the network garbled, not what somebody forged.
pub(crate) fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_cut_yields_the_same_bytes(seed: u64, cut in 0usize..4000, length in 4000usize..5000) {
            for pattern in [Pattern::Random(seed), Pattern::Marker(u128::from(seed).to_be_bytes())] {
                let whole = pattern.bytes(0, length);
                prop_assert_eq!(&pattern.bytes(cut as u64, length - cut), &whole[cut..]);
                prop_assert_eq!(pattern.difference(cut as u64, &whole[cut..]), None);
            }
        }

        #[test]
        fn one_wrong_bit_is_found(seed: u64, at in 0usize..3000, bit in 0u8..8) {
            let pattern = Pattern::Random(seed);
            let mut bytes = pattern.bytes(0, 3000);
            bytes[at] ^= 1 << bit;
            prop_assert_eq!(pattern.difference(0, &bytes), Some(at as u64));
        }
    }

    #[test]
    fn two_fresh_payloads_differ() {
        assert_ne!(Pattern::fresh().bytes(0, 64), Pattern::fresh().bytes(0, 64));
    }
}
