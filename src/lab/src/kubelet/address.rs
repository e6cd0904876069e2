//! Addresses for the pods of a node, out of its CIDR. A freed address rests as long as possible before it is used
//! again.

use ipnet::Ipv4Net;
use std::{collections::BTreeSet, net::Ipv4Addr};

/// The free and taken addresses of one node.
#[derive(Debug)]
pub(super) struct AddressPool {
    cidr: Ipv4Net,
    taken: BTreeSet<u32>,
    last: u32,
}

impl AddressPool {
    /// All of the CIDR but its network, its first (the node's router) and its broadcast address; of a whole node's CIDR
    /// (a /24) also without the two before the broadcast address, see [`NodeSpec::health_address`](crate::NodeSpec).
    pub(super) fn new(cidr: Ipv4Net) -> Self {
        let size = 1_u32.checked_shl(u32::from(32 - cidr.prefix_len())).unwrap_or_default();
        let reserved = if size >= 256 { size - 3..size - 1 } else { 0..0 };
        Self {
            cidr,
            taken: reserved.collect(),
            last: 1,
        }
    }

    /// An address nobody has; none when all are taken.
    pub(super) fn take(&mut self) -> Option<Ipv4Addr> {
        let size = 1_u32
            .checked_shl(u32::from(32 - self.cidr.prefix_len()))?
            .saturating_sub(1);
        let next = (1..size).map(|step| 2 + (self.last - 1 + step - 1) % size.saturating_sub(2).max(1));
        let offset = next
            .into_iter()
            .find(|offset| *offset < size && !self.taken.contains(offset))?;
        self.taken.insert(offset);
        self.last = offset;
        Some(Ipv4Addr::from(u32::from(self.cidr.network()) + offset))
    }

    /// Gives an address back.
    pub(super) fn give_back(&mut self, address: Ipv4Addr) {
        self.taken
            .remove(&(u32::from(address).wrapping_sub(u32::from(self.cidr.network()))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_unique_and_rest_after_use() {
        let mut pool = AddressPool::new("10.244.1.0/29".parse().unwrap());
        let all: Vec<_> = std::iter::from_fn(|| pool.take()).map(|a| a.to_string()).collect();
        assert_eq!(
            all,
            ["10.244.1.2", "10.244.1.3", "10.244.1.4", "10.244.1.5", "10.244.1.6"]
        );
        pool.give_back("10.244.1.5".parse().unwrap());
        pool.give_back("10.244.1.3".parse().unwrap());
        assert_eq!(pool.take().unwrap().to_string(), "10.244.1.3");
        pool.give_back("10.244.1.3".parse().unwrap());
        assert_eq!(
            pool.take().unwrap().to_string(),
            "10.244.1.5",
            "the one that rested longer"
        );
    }
}
