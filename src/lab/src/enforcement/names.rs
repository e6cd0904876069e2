//! What names were looked up at a node and what they resolved to: the DNS proxy writes, `toFQDNs` reads.

use super::layer7::NamePattern;
use crate::sync::{read, write};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    sync::RwLock,
    time::{Duration, SystemTime},
};

/// A node's memory of names. What one endpoint looked up counts for all of the node, as an address has one identity.
#[derive(Debug, Default)]
pub(crate) struct Names {
    lookups: RwLock<BTreeMap<Key, Lookup>>,
    labels: RwLock<Labels>,
}

/// The labels of addresses as Cilium before 1.18.5 gives them: all selectors in force at the first lookup of a name, or
/// of another one with the same address, and none that comes later (semantics A31b).
#[derive(Debug, Default)]
struct Labels {
    in_force: Vec<NamePattern>,
    of: BTreeMap<Ipv4Addr, Labelled>,
}

#[derive(Debug, Default)]
struct Labelled {
    names: BTreeSet<String>,
    selectors: Vec<NamePattern>,
}

impl Labels {
    fn learn(&mut self, name: &str, address: Ipv4Addr) {
        if !self.in_force.iter().any(|selector| selector.matches(name)) {
            return;
        }
        let labelled = self.of.entry(address).or_default();
        if labelled.names.insert(name.to_owned()) {
            let selects = |selector: &&NamePattern| labelled.names.iter().any(|name| selector.matches(name));
            labelled.selectors = self.in_force.iter().filter(selects).cloned().collect();
        }
    }
}

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
        let mut known = write(&self.lookups);
        known.retain(|_, lookup| lookup.holds(at));
        let name = name.trim_end_matches('.').to_lowercase();
        write(&self.labels).learn(&name, address);
        known.insert((client, name, address), Lookup { at, ttl });
    }

    /// Whether a name that matches resolved to the address.
    pub(crate) fn resolves(&self, pattern: &NamePattern, address: Ipv4Addr) -> bool {
        let now = SystemTime::now();
        let known = read(&self.lookups);
        known
            .iter()
            .any(|((_, name, known), lookup)| *known == address && lookup.holds(now) && pattern.matches(name))
    }

    /// Whether the address has the label of this selector, if none is added to an address that has some.
    pub(crate) fn labels_once(&self, pattern: &NamePattern, address: Ipv4Addr) -> bool {
        let labels = read(&self.labels);
        let labelled = labels.of.get(&address);
        labelled.is_some_and(|labelled| labelled.selectors.contains(pattern))
    }

    /// The selectors in force from now on.
    pub(crate) fn select(&self, selectors: impl Iterator<Item = NamePattern>) {
        write(&self.labels).in_force = selectors.collect();
    }

    /// Everything that is still valid.
    pub(crate) fn all(&self) -> Vec<Known> {
        let now = SystemTime::now();
        let known = read(&self.lookups);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_that_comes_later_labels_no_address_that_has_labels() {
        let names = Names::default();
        let (client, host) = (Ipv4Addr::new(10, 244, 1, 5), Ipv4Addr::new(198, 51, 100, 10));
        let (one, all) = (
            NamePattern::Exact("one.example".to_owned()),
            NamePattern::Pattern("*.example".to_owned()),
        );
        let labelled = || [&one, &all].map(|selector| names.labels_once(selector, host));
        let learn = |name: &str| names.learn(client, name, host, Duration::from_secs(60));
        learn("one.example");
        assert_eq!(labelled(), [false, false], "no selector was in force");
        names.select([one.clone()].into_iter());
        learn("one.example.");
        names.select([one.clone(), all.clone()].into_iter());
        learn("one.example");
        assert_eq!(labelled(), [true, false], "the second came later");
        assert!(names.resolves(&all, host), "as it should be");
        learn("two.example");
        assert_eq!(labelled(), [true, true], "another name has all labels computed again");
    }
}
