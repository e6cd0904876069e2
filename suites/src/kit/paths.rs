//! Which paths there are between the agents of two workloads, and a set of them that covers every node.

mod agents;
mod locality;
pub mod sample;

pub use agents::{SCENARIO, agents, describe_missing};
pub use locality::Locality;

use meshproof_contract::{AgentFacts, ClusterName, Facts, Identity, Instance, NodeLabel, Subject, Target, Verdict};
use sample::Sample;
use std::{collections::BTreeSet, fmt};

/// Up to so many pairs even what is heavy probes every one: two clusters of two nodes have four, of three nodes nine.
const ALL_PAIRS: usize = 12;

/// The workloads at the two ends of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkloadPair {
    /// The workload that asks.
    pub client: &'static str,
    /// The workload that answers.
    pub server: &'static str,
}

impl WorkloadPair {
    /// Pod to pod.
    pub const PODS: WorkloadPair = WorkloadPair {
        client: "client",
        server: "server",
    };
    /// Pod to a host-network agent.
    pub const POD_TO_HOST: WorkloadPair = WorkloadPair {
        client: "client",
        server: "node",
    };
    /// Host-network agent to host-network agent.
    pub const HOST_TO_HOST: WorkloadPair = WorkloadPair {
        client: "node",
        server: "node",
    };
    /// Host-network agent to pod.
    pub const HOST_TO_POD: WorkloadPair = WorkloadPair {
        client: "node",
        server: "server",
    };
}

/// One ordered pair of agents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// Who asks.
    pub from: AgentFacts,
    /// Who is asked.
    pub to: AgentFacts,
}

impl Path {
    /// The server's address with the port on which it serves what others serve on `base`.
    pub fn target(&self, base: u16) -> Target {
        Target::new(self.to.address.to_string(), self.to.port(base))
    }
    /// Whether `identity` is the pod that was asked.
    pub fn is_server(&self, identity: &Identity) -> bool {
        identity.cluster == self.to.id.cluster.as_str()
            && identity.node == self.to.node.as_str()
            && identity.pod == self.to.id.pod
            && identity.namespace == self.to.namespace
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}", NodeLabel::from(&self.from), NodeLabel::from(&self.to))
    }
}

impl From<&Path> for Subject {
    fn from(path: &Path) -> Self {
        Subject::from((&path.from, &path.to))
    }
}

/// The paths of one locality in one instance of a check.
#[derive(Clone, Debug)]
pub struct Paths {
    /// The locality.
    pub locality: Locality,
    /// Cluster of the asking side.
    pub from: ClusterName,
    /// Cluster of the asked side; equal to `from` except in locality [`Locality::OtherCluster`].
    pub to: ClusterName,
    /// The pairs that are observed, in stable order: every pair, unless there is a [`Paths::sample`].
    pub list: Vec<Path>,
    /// What was left out.
    pub sample: Option<Sample>,
    /// What could not be observed because an agent is missing.
    pub missing: Vec<String>,
}

impl Paths {
    /// The paths of the locality, all or those of a [`sample`]; or the verdict when there is none: skipped only where
    /// none can exist, else inconclusive.
    pub fn of(
        facts: &Facts,
        instance: &Instance,
        locality: Locality,
        workloads: WorkloadPair,
    ) -> Result<Paths, Verdict> {
        let (from, to) = (instance.from(), instance.to());
        let clients = agents(facts, from, workloads.client);
        let servers = agents(facts, to, workloads.server);
        let allowed = |client: &AgentFacts, server: &AgentFacts| match locality {
            Locality::SameNode => client.node == server.node,
            Locality::OtherNode => client.node != server.node,
            Locality::OtherCluster => client.id.cluster != server.id.cluster,
        };
        let (sources, targets): (Vec<&AgentFacts>, Vec<&AgentFacts>) =
            (clients.iter().collect(), servers.iter().collect());
        let (pairs, sample) = sample::pairs(facts, &sources, &targets, allowed);
        let list: Vec<Path> = pairs
            .into_iter()
            .map(|(client, server)| Path {
                from: client.clone(),
                to: server.clone(),
            })
            .collect();
        let missing: Vec<String> = facts
            .missing_agents
            .iter()
            .filter(|m| {
                (&m.cluster == from && m.workload == workloads.client)
                    || (&m.cluster == to && m.workload == workloads.server)
            })
            .map(describe_missing)
            .collect();
        if list.is_empty() {
            return Err(no_paths(facts, instance, locality, workloads, &missing));
        }
        Ok(Paths {
            locality,
            from: from.clone(),
            to: to.clone(),
            list,
            sample,
            missing,
        })
    }

    /// What is too heavy for all pairs at once: every pair where there are no more than 12, else a subset in which
    /// every node that asks and every node that is asked occurs, about as many pairs as nodes. In rounds, in each
    /// of which no agent asks twice or is asked twice, so that pairs do not load each other's ends.
    pub fn rounds(&self) -> Vec<Vec<Path>> {
        self.in_rounds(ALL_PAIRS)
    }

    /// Every pair that is observed, in such rounds.
    pub fn all_in_rounds(&self) -> Vec<Vec<Path>> {
        self.in_rounds(usize::MAX)
    }

    /// Every pair if there are no more than so many, else a covering set.
    fn in_rounds(&self, all: usize) -> Vec<Vec<Path>> {
        let nodes = |side: fn(&Path) -> &AgentFacts| -> Vec<&AgentFacts> {
            let mut seen = BTreeSet::new();
            self.list.iter().map(side).filter(|a| seen.insert(&a.id)).collect()
        };
        let (sources, targets) = (nodes(|p| &p.from), nodes(|p| &p.to));
        let index =
            |among: &[&AgentFacts], agent: &AgentFacts| among.iter().position(|a| a.id == agent.id).unwrap_or(0);
        let offset = |path: &Path| {
            let (source, target) = (index(&sources, &path.from), index(&targets, &path.to));
            (target + targets.len() - source % targets.len()) % targets.len()
        };
        let mut candidates: Vec<&Path> = self.list.iter().collect();
        // Pairs at the same cyclic distance meet every node once on each side before the next distance is begun.
        candidates.sort_by_key(|path| match self.locality {
            Locality::OtherNode => (offset(path) + targets.len() - 1) % targets.len(),
            Locality::SameNode | Locality::OtherCluster => offset(path),
        });
        if candidates.len() > all {
            let (mut asking, mut asked) = (BTreeSet::new(), BTreeSet::new());
            candidates.retain(|path| {
                let new_source = asking.insert(&path.from.id);
                let new_target = asked.insert(&path.to.id);
                new_source || new_target
            });
        }
        let mut rounds: Vec<Vec<Path>> = Vec::new();
        for path in candidates {
            let is_free = |round: &Vec<Path>| round.iter().all(|p| p.from.id != path.from.id && p.to.id != path.to.id);
            match rounds.iter().position(is_free) {
                Some(at) => rounds[at].push(path.clone()),
                None => rounds.push(vec![path.clone()]),
            }
        }
        rounds
    }

    /// So many of the pairs, for people: `9 pairs`, or `200 pairs observed` of a sample.
    pub fn counted(&self, pairs: usize) -> String {
        match self.sample {
            Some(_) => format!("{pairs} pairs observed"),
            None => format!("{pairs} pairs"),
        }
    }

    /// The locality in this instance, for people: `other cluster, infra -> apps` or `same node, infra`.
    pub fn describe(&self) -> String {
        match self.locality {
            Locality::OtherCluster => format!("{} -> {}", self.from, self.to),
            Locality::SameNode | Locality::OtherNode => format!("{} in {}", self.locality, self.from),
        }
    }
}

fn no_paths(
    facts: &Facts,
    instance: &Instance,
    locality: Locality,
    workloads: WorkloadPair,
    missing: &[String],
) -> Verdict {
    let single = |cluster| facts.cluster(cluster).is_some_and(|c| c.nodes.len() == 1);
    if locality == Locality::OtherNode && missing.is_empty() && single(instance.from()) {
        return Verdict::skipped(format!(
            "{} has a single node, so there are no pairs of nodes",
            instance.from()
        ));
    }
    let because = if missing.is_empty() {
        "none was found".to_owned()
    } else {
        missing.join("; ")
    };
    Verdict::inconclusive(format!(
        "no ready pair of agents `{}` and `{}` ({locality}, {instance}): {because}",
        workloads.client, workloads.server
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Fake;

    fn direction() -> Instance {
        Instance::Direction {
            from: "infra".into(),
            to: "apps".into(),
        }
    }
    fn infra() -> Instance {
        Instance::Cluster("infra".into())
    }

    #[test]
    fn localities_have_the_pairs_that_three_nodes_make() {
        let facts = Fake::healthy().facts;
        let count = |instance: &Instance, locality| {
            let paths = Paths::of(&facts, instance, locality, WorkloadPair::PODS).expect("paths");
            (
                paths.list.len(),
                paths.rounds().iter().map(Vec::len).collect::<Vec<_>>(),
            )
        };
        assert_eq!(count(&infra(), Locality::SameNode), (3, vec![3]));
        assert_eq!(count(&infra(), Locality::OtherNode), (6, vec![3, 3]));
        assert_eq!(count(&direction(), Locality::OtherCluster), (9, vec![3, 3, 3]));
    }

    #[test]
    fn a_covering_set_has_every_node_on_both_sides() {
        let mut facts = Fake::healthy().facts;
        for agent in facts.agents.clone().iter().filter(|a| a.node.as_str() != "apps-3") {
            let mut more = agent.clone();
            more.id.pod.push('b');
            facts.agents.push(more);
        }
        for (instance, locality) in [(infra(), Locality::OtherNode), (direction(), Locality::OtherCluster)] {
            let paths = Paths::of(&facts, &instance, locality, WorkloadPair::PODS).expect("paths");
            let ends = |list: &[Path]| -> (BTreeSet<String>, BTreeSet<String>) {
                (
                    list.iter().map(|p| p.from.id.to_string()).collect(),
                    list.iter().map(|p| p.to.id.to_string()).collect(),
                )
            };
            let chosen = paths.rounds().concat();
            assert!(
                paths.list.len() > ALL_PAIRS && chosen.len() <= 8,
                "{locality}: {}",
                chosen.len()
            );
            assert_eq!(ends(&chosen), ends(&paths.list), "{locality}");
        }
    }

    #[test]
    fn a_single_node_is_skipped_since_there_is_no_other_one() {
        let mut facts = Fake::healthy().facts;
        facts.clusters[0].nodes.truncate(1);
        facts
            .agents
            .retain(|a| a.id.cluster.as_str() != "infra" || a.node.as_str() == "infra-1");
        let none = Paths::of(&facts, &infra(), Locality::OtherNode, WorkloadPair::PODS).expect_err("no pair");
        assert_eq!(none.word(), "skipped");
    }

    #[test]
    fn a_cluster_without_agents_is_inconclusive() {
        let mut facts = Fake::healthy().facts;
        facts.agents.retain(|a| a.id.cluster.as_str() != "apps");
        let none = Paths::of(&facts, &direction(), Locality::OtherCluster, WorkloadPair::PODS).expect_err("no pair");
        assert_eq!(none.word(), "inconclusive");
    }
}
