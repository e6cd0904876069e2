//! Maglev consistent hashing (Eisenbud et al., NSDI 2016, section 3.4): a lookup table in which every backend has
//! almost the same share, and in which a backend's end moves few of the others' entries.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    net::SocketAddrV4,
};

fn hash(seed: u64, value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    (seed, value).hash(&mut hasher);
    hasher.finish()
}

/// Fills a table of `size` entries with indices into `backends`; the same backends give the same table in any order
/// on every node. Empty if there are no backends.
pub(super) fn table(backends: &[SocketAddrV4], size: u32) -> Vec<u16> {
    if backends.is_empty() {
        return Vec::new();
    }
    let size = u64::from(size.max(2));
    let mut order: Vec<usize> = (0..backends.len()).collect();
    order.sort_by_key(|index| backends[*index]);
    let steps: Vec<(u64, u64)> = order
        .iter()
        .map(|index| {
            (
                hash(1, backends[*index]) % size,
                hash(2, backends[*index]) % (size - 1) + 1,
            )
        })
        .collect();
    let mut next = vec![0u64; order.len()];
    let mut table = vec![u16::MAX; size as usize];
    let mut filled = 0;
    loop {
        for (place, index) in order.iter().enumerate() {
            let (offset, skip) = steps[place];
            // With a prime size each backend's walk meets every entry; with another size it might not, so it is
            // bounded and the entry after it is taken instead.
            let free = (0..size).map(|step| ((offset + (next[place] + step) * skip) % size, step + 1));
            let found = free.into_iter().find(|(entry, _)| table[*entry as usize] == u16::MAX);
            let (entry, walked) = match found {
                Some(found) => found,
                None => match table.iter().position(|entry| *entry == u16::MAX) {
                    Some(entry) => (entry as u64, 0),
                    None => return table,
                },
            };
            next[place] += walked;
            table[entry as usize] = *index as u16;
            filled += 1;
            if filled == size {
                return table;
            }
        }
    }
}

/// The table entry of a flow.
pub(super) fn entry(table: &[u16], flow: impl Hash) -> Option<usize> {
    let at = (hash(3, flow) % (table.len().max(1) as u64)) as usize;
    table.get(at).map(|index| usize::from(*index))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn backends(count: u8) -> Vec<SocketAddrV4> {
        (0..count)
            .map(|n| SocketAddrV4::new(Ipv4Addr::new(10, 244, 1, n), 80))
            .collect()
    }

    #[test]
    fn shares_are_even_and_complete() {
        let table = table(&backends(7), 1021);
        for backend in 0..7 {
            let share = table.iter().filter(|entry| **entry == backend).count();
            assert!(
                (140..=152).contains(&share),
                "backend {backend} has {share} of 1021 entries"
            );
        }
    }

    #[test]
    fn a_lost_backend_moves_few_other_entries() {
        let (before, after) = (table(&backends(7), 1021), table(&backends(6), 1021));
        let moved = before
            .iter()
            .zip(&after)
            .filter(|(was, is)| **was != 6 && was != is)
            .count();
        assert!(moved < 1021 / 5, "{moved} of 1021 entries moved");
    }

    #[test]
    fn a_size_that_is_no_prime_still_fills() {
        assert!(table(&backends(3), 100).iter().all(|entry| *entry < 3));
        assert_eq!(entry(&table(&[], 100), 1), None);
    }
}
