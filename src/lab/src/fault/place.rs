//! Where faults act is drawn: each fault meets clusters and nodes in an order of its own. The same seed gives the same
//! places.

use super::Fault;
use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};
use serde::{Deserialize, Serialize};

/// Seed of the places. 0 keeps the order of the topology, for tests that name what they break.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaceSeed(pub u64);

impl PlaceSeed {
    /// The positions of `count` things of this name in the order in which the fault meets them.
    pub fn order(self, fault: Fault, things: &str, count: usize) -> Vec<usize> {
        let mut positions: Vec<usize> = (0..count).collect();
        if self.0 != 0 {
            // FNV-1a: a stream of its own for each fault and kind of thing.
            let start = 0xcbf2_9ce4_8422_2325 ^ self.0;
            let bytes = fault.name().bytes().chain([0]).chain(things.bytes());
            let stream = bytes.fold(start, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            });
            positions.shuffle(&mut StdRng::seed_from_u64(stream));
        }
        positions
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_same_seed_gives_the_same_places_and_others_give_others() {
        let of = |seed| PlaceSeed(seed).order(Fault::LossCluster, "nodes of infra", 5);
        assert_eq!(of(7), of(7));
        let first: BTreeSet<usize> = (1..60).map(|seed| of(seed)[0]).collect();
        assert_eq!(first, BTreeSet::from([0, 1, 2, 3, 4]));
    }

    #[test]
    fn faults_are_placed_independently() {
        let of = |fault| -> Vec<usize> {
            (1..20)
                .map(|seed| PlaceSeed(seed).order(fault, "clusters", 2)[0])
                .collect()
        };
        assert_ne!(of(Fault::LossCluster), of(Fault::LatencyCluster));
    }

    #[test]
    fn without_a_seed_the_order_is_the_topologys() {
        assert_eq!(PlaceSeed::default().order(Fault::LossMesh, "clusters", 3), [0, 1, 2]);
    }
}
