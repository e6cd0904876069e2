//! Many byte strings looked for at once in every packet. No I/O.

use meshproof_contract::Needle;
use std::collections::HashMap;

/// Needles by their first bytes: nearly every position of a packet is passed by with one look at a table of 8 KiB.
#[derive(Debug)]
pub(super) struct NeedleSet {
    first_pairs: Vec<u64>,
    by_prefix: HashMap<[u8; 4], Vec<u32>>,
    needles: Vec<Needle>,
}

impl NeedleSet {
    pub(super) fn new(needles: &[Needle]) -> Self {
        let mut set = Self {
            first_pairs: vec![0; 1024],
            by_prefix: HashMap::new(),
            needles: needles.to_vec(),
        };
        for (number, needle) in (0u32..).zip(needles) {
            if let Some(prefix) = needle.bytes().first_chunk::<4>() {
                let pair = usize::from(u16::from_be_bytes([prefix[0], prefix[1]]));
                set.first_pairs[pair / 64] |= 1 << (pair % 64);
                set.by_prefix.entry(*prefix).or_default().push(number);
            }
        }
        set
    }

    /// Calls `found` with the number of each needle in these bytes, as often as it occurs there.
    pub(super) fn search(&self, bytes: &[u8], mut found: impl FnMut(u32)) {
        if self.needles.is_empty() {
            return;
        }
        for (at, window) in bytes.windows(4).enumerate() {
            let pair = usize::from(u16::from_be_bytes([window[0], window[1]]));
            if self.first_pairs[pair / 64] & 1 << (pair % 64) == 0 {
                continue;
            }
            let prefix = [window[0], window[1], window[2], window[3]];
            for number in self.by_prefix.get(&prefix).into_iter().flatten() {
                if bytes[at..].starts_with(self.needles[*number as usize].bytes()) {
                    found(*number);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn it_finds_what_a_plain_search_finds(
            needles in proptest::collection::vec(proptest::collection::vec(0u8..3, 4..8), 0..20),
            hay in proptest::collection::vec(0u8..3, 0..200),
        ) {
            let needles = needles.into_iter().map(|bytes| Needle::new(bytes).expect("long enough"));
            let needles: Vec<Needle> = needles.collect();
            let mut found = BTreeSet::new();
            NeedleSet::new(&needles).search(&hay, |number| { found.insert(number); });
            let expected: BTreeSet<u32> = (0u32..)
                .zip(&needles)
                .filter(|(_, needle)| hay.windows(needle.bytes().len()).any(|window| window == needle.bytes()))
                .map(|(number, _)| number)
                .collect();
            prop_assert_eq!(found, expected);
        }
    }
}
