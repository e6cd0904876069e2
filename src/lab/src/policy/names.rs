//! What names were looked up at a node and what they resolved to: the DNS proxy writes, `toFQDNs` reads.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

use super::layer7::NamePattern;

/// A node's memory of names.
#[derive(Debug, Default)]
pub(crate) struct Names(RwLock<BTreeMap<(String, Ipv4Addr), Instant>>);

impl Names {
    /// Remembers an answer for its time to live.
    pub(crate) fn learn(&self, name: &str, address: Ipv4Addr, ttl: Duration) {
        let now = Instant::now();
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, until| *until > now);
        let until = known
            .entry((name.trim_end_matches('.').to_lowercase(), address))
            .or_insert(now);
        *until = (*until).max(now + ttl);
    }

    /// Whether a name that matches resolved to the address.
    pub(crate) fn resolves(&self, pattern: &NamePattern, address: Ipv4Addr) -> bool {
        let now = Instant::now();
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        known
            .iter()
            .any(|((name, known), until)| *known == address && *until > now && pattern.matches(name))
    }

    /// Names, addresses and how long they are still believed.
    pub(crate) fn all(&self) -> Vec<(String, Ipv4Addr, Duration)> {
        let now = Instant::now();
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        known
            .iter()
            .filter(|(_, until)| **until > now)
            .map(|((name, address), until)| (name.clone(), *address, *until - now))
            .collect()
    }
}
