//! What names were looked up at a node and what they resolved to: the DNS proxy writes, `toFQDNs` reads.

use super::layer7::NamePattern;
use crate::sync::{read, write};
use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    sync::RwLock,
    time::{Duration, SystemTime},
};

/// A node's memory of names. What one endpoint looked up counts for all of the node, as an address has one identity.
#[derive(Debug, Default)]
pub(crate) struct Names(RwLock<BTreeMap<Key, Lookup>>);

type Key = (Ipv4Addr, String, Ipv4Addr);

#[derive(Clone, Copy, Debug)]
struct Lookup {
    at: SystemTime,
    ttl: Duration,
}

impl Lookup {
    fn holds(&self, now: SystemTime) -> bool {
        self.at + self.ttl > now
    }
}

/// A lookup that is still valid.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    /// Who asked.
    pub client: Ipv4Addr,
    /// For what, without the last dot.
    pub name: String,
    /// The answer.
    pub address: Ipv4Addr,
    /// When.
    pub at: SystemTime,
    /// For how long it is valid.
    pub ttl: Duration,
}

impl Names {
    /// Remembers an answer for its time to live.
    pub(crate) fn learn(&self, client: Ipv4Addr, name: &str, address: Ipv4Addr, ttl: Duration) {
        let at = SystemTime::now();
        let mut known = write(&self.0);
        known.retain(|_, lookup| lookup.holds(at));
        let name = name.trim_end_matches('.').to_lowercase();
        known.insert((client, name, address), Lookup { at, ttl });
    }

    /// Whether a name that matches resolved to the address.
    pub(crate) fn resolves(&self, pattern: &NamePattern, address: Ipv4Addr) -> bool {
        let now = SystemTime::now();
        let known = read(&self.0);
        known
            .iter()
            .any(|((_, name, known), lookup)| *known == address && lookup.holds(now) && pattern.matches(name))
    }

    /// Everything that is still valid.
    pub(crate) fn all(&self) -> Vec<Known> {
        let now = SystemTime::now();
        let known = read(&self.0);
        let valid = known.iter().filter(|(_, lookup)| lookup.holds(now));
        valid
            .map(|((client, name, address), lookup)| Known {
                client: *client,
                name: name.clone(),
                address: *address,
                at: lookup.at,
                ttl: lookup.ttl,
            })
            .collect()
    }
}
