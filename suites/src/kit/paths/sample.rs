//! Which pairs of nodes are observed where there are too many for all: work grows with nodes and not with pairs.
//!
//! Up to [`ALL_PAIRS_NODES`] nodes on each side that is every pair. Beyond, nodes are put on a ring in an order that a
//! seed draws, and each is paired with those that follow it. So every node is source and target of at least
//! [`partners`] others, and the pairs of another night are others. Pairs are added until every class of pair occurs:
//! nodes are of one class that have the same kernel and are in the same network.

use meshproof_contract::{AgentFacts, ClusterName, Facts, NodeName, facts::ALL_PAIRS_NODES};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
};

/// Partners that every node has at least, as source and as target.
const PARTNERS: usize = 2;
/// The pairs of [`ALL_PAIRS_NODES`] nodes: as long as there is room among so many, nodes have more partners.
const ROOM: usize = ALL_PAIRS_NODES * ALL_PAIRS_NODES;

/// How many partners every node has at least, as source and as target, where the larger side has so many nodes.
pub fn partners(nodes: usize) -> usize {
    PARTNERS.max(ROOM / nodes.max(1))
}

/// Nodes of which each is asked for itself, in the order of the cluster: all of them, or, where there are more than
/// `most`, so many that the seed draws.
pub fn nodes(facts: &Facts, cluster: &ClusterName, most: usize) -> Vec<NodeName> {
    let all = facts.cluster(cluster).map_or(&[][..], |found| &found.nodes);
    let mut order: Vec<usize> = (0..all.len()).collect();
    if all.len() > most {
        order.sort_by_cached_key(|at| (drawn(facts.generation.sample_seed, cluster, &all[*at].name), *at));
        order.truncate(most);
        order.sort_unstable();
    }
    order.into_iter().map(|at| all[at].name.clone()).collect()
}

/// What was left out of a matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Pairs that are observed.
    pub observed: usize,
    /// Pairs that there are.
    pub possible: usize,
    /// How often every node is at least source, and how often target.
    pub partners: usize,
    /// The seed that drew them.
    pub seed: u64,
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {} pairs; every node is source and target of {}; --sample-seed {}",
            self.observed, self.possible, self.partners, self.seed
        )
    }
}

/// An ordered pair of agents.
pub type Pair<'a> = (&'a AgentFacts, &'a AgentFacts);
/// A node that is source or target.
pub type End<'a> = (&'a ClusterName, &'a NodeName);

/// The pairs of these agents that are observed, in the order of sources and targets, of those that are `allowed`; and
/// what was left out, unless it is every pair.
pub fn pairs<'a>(
    facts: &Facts,
    sources: &[&'a AgentFacts],
    targets: &[&'a AgentFacts],
    allowed: impl Fn(&AgentFacts, &AgentFacts) -> bool,
) -> (Vec<Pair<'a>>, Option<Sample>) {
    let ends =
        |agents: &[&'a AgentFacts]| -> Vec<End<'a>> { agents.iter().map(|a| (&a.id.cluster, &a.node)).collect() };
    let allowed = |source: usize, target: usize| allowed(sources[source], targets[target]);
    let (positions, sample) = positions(facts, &ends(sources), &ends(targets), allowed);
    let named = positions.into_iter().map(|(s, t)| (sources[s], targets[t]));
    (named.collect(), sample)
}

/// The same by the positions of sources and targets.
pub fn positions(
    facts: &Facts,
    sources: &[End<'_>],
    targets: &[End<'_>],
    allowed: impl Fn(usize, usize) -> bool,
) -> (BTreeSet<(usize, usize)>, Option<Sample>) {
    let at = |source: usize| (0..targets.len()).map(move |target| (source, target));
    let all = (0..sources.len()).flat_map(at);
    let all: BTreeSet<(usize, usize)> = all.filter(|(s, t)| allowed(*s, *t)).collect();
    let nodes = sources.len().max(targets.len());
    if nodes <= ALL_PAIRS_NODES {
        return (all, None);
    }
    let seed = facts.generation.sample_seed;
    let classes = |ends: &[End<'_>]| -> Vec<_> { ends.iter().map(|end| class(facts, end)).collect() };
    let (from, to) = (classes(sources), classes(targets));
    let mut ring = Ring {
        sources: in_drawn_order(sources, seed),
        targets: in_drawn_order(targets, seed),
        all: &all,
        chosen: BTreeSet::new(),
    };
    ring.pair(partners(nodes));
    ring.cover(nodes, |s, t| (from[s].clone(), to[t].clone()));
    if ring.chosen.len() == all.len() {
        return (all, None);
    }
    let sample = Sample {
        observed: ring.chosen.len(),
        possible: all.len(),
        partners: ring.least(),
        seed,
    };
    (ring.chosen, Some(sample))
}

/// Positions of agents on a ring, and the pairs chosen of those that there are.
struct Ring<'a> {
    sources: Vec<usize>,
    targets: Vec<usize>,
    all: &'a BTreeSet<(usize, usize)>,
    chosen: BTreeSet<(usize, usize)>,
}

impl Ring<'_> {
    /// Pairs every source with those that follow it on the ring, and targets that were left out with the first sources.
    fn pair(&mut self, partners: usize) {
        let (from, to) = (self.sources.len(), self.targets.len());
        for at in 0..from.max(to) {
            let source = self.sources[at % from];
            for step in 1..=partners {
                let following = (0..to).map(|more| self.targets[(at + step + more) % to]);
                let mut pairs = following.map(|target| (source, target));
                let free = pairs.find(|pair| self.all.contains(pair) && !self.chosen.contains(pair));
                self.chosen.extend(free);
            }
        }
        for target in self.targets.clone() {
            let has = self.chosen.iter().filter(|(_, t)| *t == target).count();
            let free = self.sources.iter().map(|source| (*source, target));
            let free = free.filter(|pair| self.all.contains(pair) && !self.chosen.contains(pair));
            let more: Vec<_> = free.take(partners.saturating_sub(has)).collect();
            self.chosen.extend(more);
        }
    }

    /// Adds a pair of every class that no chosen pair is of; no more than `most`.
    fn cover<C: Ord>(&mut self, most: usize, class: impl Fn(usize, usize) -> C) {
        let mut covered: BTreeSet<C> = self.chosen.iter().map(|(s, t)| class(*s, *t)).collect();
        let mut more = Vec::new();
        for source in &self.sources {
            for target in self
                .targets
                .iter()
                .filter(|target| self.all.contains(&(*source, **target)))
            {
                if more.len() < most && covered.insert(class(*source, *target)) {
                    more.push((*source, *target));
                }
            }
        }
        self.chosen.extend(more);
    }

    /// How often every agent is at least source, and how often target.
    fn least(&self) -> usize {
        let (mut from, mut to) = (BTreeMap::new(), BTreeMap::new());
        for (source, target) in &self.chosen {
            *from.entry(source).or_insert(0) += 1;
            *to.entry(target).or_insert(0) += 1;
        }
        from.values().chain(to.values()).copied().min().unwrap_or(0)
    }
}

/// The positions in the order that the seed draws: by node, so that both ends of a cluster's pairs agree.
fn in_drawn_order(ends: &[End<'_>], seed: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..ends.len()).collect();
    order.sort_by_cached_key(|at| (drawn(seed, ends[*at].0, ends[*at].1), *at));
    order
}

/// A number for a node that a seed draws: FNV-1a over its name, mixed as SplitMix64 does.
fn drawn(seed: u64, cluster: &ClusterName, node: &NodeName) -> u64 {
    let bytes = cluster.as_str().bytes().chain([b'/']).chain(node.as_str().bytes());
    let hashed = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mixed = (hashed ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// What nodes of one class share: kernel, and the network of their first address (a /24, or a /64 of IPv6).
fn class(facts: &Facts, (cluster, node): &End<'_>) -> (String, Option<u64>) {
    let mut nodes = facts.cluster(cluster).into_iter().flat_map(|cluster| &cluster.nodes);
    let node = nodes.find(|known| known.name == **node);
    let network = |address: &IpAddr| match address {
        IpAddr::V4(address) => u64::from(address.to_bits() >> 8),
        IpAddr::V6(address) => (address.to_bits() >> 64) as u64,
    };
    match node {
        Some(node) => (node.kernel.clone(), node.addresses.first().map(network)),
        None => (String::new(), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Fake;
    use meshproof_contract::{AgentId, facts, facts::PodNetwork};

    fn agents(cluster: &str, nodes: usize) -> Vec<AgentFacts> {
        let one = |n: usize| AgentFacts {
            id: AgentId {
                cluster: cluster.into(),
                pod: format!("client-{n}"),
            },
            scenario: "connectivity".to_owned(),
            workload: "client".to_owned(),
            namespace: "meshproof".to_owned(),
            node: format!("{cluster}-{n}").into(),
            address: [10, 0, (n / 250) as u8, (n % 250) as u8].into(),
            network: PodNetwork::Pod,
        };
        (1..=nodes).map(one).collect()
    }

    fn facts(seed: u64) -> Facts {
        let mut facts = Fake::healthy().facts;
        facts.generation.sample_seed = seed;
        facts
    }

    /// Source and target of each pair, and what was left out.
    fn chosen(facts: &Facts, from: &[AgentFacts], to: &[AgentFacts]) -> (Vec<(String, String)>, Option<Sample>) {
        let (sources, targets): (Vec<&AgentFacts>, Vec<&AgentFacts>) = (from.iter().collect(), to.iter().collect());
        let differ = |a: &AgentFacts, b: &AgentFacts| a.node != b.node;
        let (pairs, sample) = pairs(facts, &sources, &targets, differ);
        let names = pairs.iter().map(|(a, b)| (a.node.to_string(), b.node.to_string()));
        (names.collect(), sample)
    }

    #[test]
    fn small_meshes_are_observed_whole() {
        let (all, sample) = chosen(&facts(1), &agents("infra", 16), &agents("infra", 16));
        assert_eq!((all.len(), sample), (240, None));
        let (all, sample) = chosen(&facts(1), &agents("infra", 16), &agents("apps", 16));
        assert_eq!((all.len(), sample), (256, None));
    }

    #[test]
    fn every_node_is_source_and_target_whatever_the_sizes() {
        for (from, to) in [(17, 17), (18, 18), (100, 100), (3, 100), (100, 3), (1, 40)] {
            for inside in [true, false] {
                let (sources, targets) = (agents("infra", from), agents(if inside { "infra" } else { "apps" }, to));
                let (pairs, sample) = chosen(&facts(9), &sources, &targets);
                let least = partners(from.max(to)).min(from.min(to) - usize::from(inside && from.min(to) > 1));
                for agent in &sources {
                    let as_source = pairs.iter().filter(|(a, _)| a == agent.node.as_str()).count();
                    assert!(as_source >= least, "{from} to {to}: {} asks {as_source}", agent.node);
                }
                for agent in targets.iter().skip(usize::from(inside && from == 1)) {
                    let as_target = pairs.iter().filter(|(_, b)| b == agent.node.as_str()).count();
                    assert!(
                        as_target >= least,
                        "{from} to {to}: {} is asked by {as_target}",
                        agent.node
                    );
                }
                let most = 3 * partners(from.max(to)) * from.max(to);
                assert!(pairs.len() <= most, "{from} to {to}: {} pairs", pairs.len());
                assert!(sample.is_none_or(|s| s.partners >= least), "{sample:?}");
            }
        }
    }

    #[test]
    fn the_seed_decides_and_is_said() {
        let nodes = agents("infra", 100);
        let (monday, sample) = chosen(&facts(1), &nodes, &nodes);
        assert_eq!(chosen(&facts(1), &nodes, &nodes).0, monday);
        assert_ne!(chosen(&facts(2), &nodes, &nodes).0, monday);
        assert_eq!(
            sample.expect("a sample").to_string(),
            "200 of 9900 pairs; every node is source and target of 2; --sample-seed 1"
        );
    }

    #[test]
    fn nodes_beyond_the_bound_are_drawn() {
        let names = |seed: u64, most: usize| {
            let mut facts = facts(seed);
            let template = facts.clusters[0].nodes[0].clone();
            let named = |n: usize| facts::NodeFacts {
                name: format!("infra-{n}").into(),
                ..template.clone()
            };
            facts.clusters[0].nodes = (0..50).map(named).collect();
            nodes(&facts, &"infra".into(), most)
        };
        assert_eq!(names(1, 50).len(), 50);
        assert_eq!(names(1, 16).len(), 16);
        assert_eq!(names(1, 16), names(1, 16));
        assert_ne!(names(1, 16), names(2, 16));
    }

    #[test]
    fn every_class_of_pair_occurs() {
        let mut facts = facts(1);
        let nodes = agents("infra", 60);
        let template = facts.clusters[0].nodes[0].clone();
        facts.clusters[0].nodes = (1..=60)
            .map(|n| {
                let mut node = template.clone();
                node.name = format!("infra-{n}").into();
                // Two nodes of another kernel, one in another network.
                node.kernel = if n <= 2 { "5.10.0" } else { "6.18.0" }.to_owned();
                node.addresses = vec![[10, 25, if n == 60 { 12 } else { 11 }, n].into()];
                node
            })
            .collect();
        let (pairs, _) = chosen(&facts, &nodes, &nodes);
        let has = |from: &dyn Fn(&str) -> bool, to: &dyn Fn(&str) -> bool| pairs.iter().any(|(a, b)| from(a) && to(b));
        let old = |name: &str| ["infra-1", "infra-2"].contains(&name);
        let apart = |name: &str| name == "infra-60";
        assert!(has(&old, &old) && has(&old, &apart) && has(&apart, &old), "{pairs:?}");
    }
}
