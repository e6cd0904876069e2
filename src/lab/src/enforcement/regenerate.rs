//! Puts in force at one node what its cluster wants, after the short time that an agent needs to regenerate its
//! endpoints.

use super::{
    decide::{AllocatedLabels, NamedPorts, NodeRules, RuleSet},
    layer7::NamePattern,
    mutation::mutated,
    node_policy::NodePolicy,
    policy_state::PolicyState,
    rule::{Peer, Peers},
};
use crate::{
    fault::Fault,
    ipcache,
    state::{ClusterState, LabState, NodeState},
};
use meshproof_datapath::AllowAll;
use std::{
    collections::BTreeMap,
    hash::{BuildHasher, Hasher, RandomState},
    net::Ipv4Addr,
    sync::Arc,
    time::Duration,
};
use tokio::sync::watch;

/// How long an agent takes to put a change in force, between these.
const REGENERATION: std::ops::Range<u64> = 4..24;

/// What a cluster's agents are to have in force.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Wanted {
    pub(super) revision: u64,
    pub(super) set: RuleSet,
    /// Of all pods of the cluster, by address.
    pub(super) ports: BTreeMap<Ipv4Addr, NamedPorts>,
    pub(super) faults: Vec<Fault>,
}

/// Puts in force at one node what its cluster wants.
pub(super) async fn follow(
    lab: Arc<LabState>,
    cluster: Arc<ClusterState>,
    node: Arc<NodeState>,
    mut wanted: watch::Receiver<Arc<Wanted>>,
) {
    let policy = PolicyState::of(&node);
    let spread = RandomState::new();
    let mut in_force: Option<RuleSet> = None;
    let mut faults = lab.faults.subscribe();
    while wanted.changed().await.is_ok() {
        let next = Arc::clone(&wanted.borrow_and_update());
        let shown = next.set.rules.iter().map(|rule| rule.shown.clone()).collect();
        policy.take_in(next.revision, shown);
        if next.revision != policy.realized() {
            let mut hasher = spread.build_hasher();
            hasher.write_u64(next.revision);
            let span = REGENERATION.end - REGENERATION.start;
            tokio::time::sleep(Duration::from_millis(REGENERATION.start + hasher.finish() % span)).await;
            let late = || lab.acts_on(Fault::PolicyEnforcedLate, &cluster, node.name());
            faults.mark_unchanged();
            if late() {
                let healed = async { while late() && faults.changed().await.is_ok() {} };
                let _ = tokio::time::timeout(lab.faults.time(Fault::PolicyEnforcedLate), healed).await;
            }
        }
        let acting: Vec<_> = next
            .faults
            .iter()
            .copied()
            .filter(|fault| lab.concerns(*fault, &cluster, node.name()))
            .collect();
        let mut set = next.set.clone();
        set.own_ports = next
            .ports
            .iter()
            .filter(|(address, _)| node.spec.pod_cidr.contains(*address))
            .map(|(a, p)| (*a, p.clone()))
            .collect();
        policy.names.select(selectors(&set));
        let set = mutated(set, &acting);
        let set = (!set.rules.is_empty() || set.always).then_some(set);
        if set != in_force {
            match &set {
                None => {
                    node.handle.set_policy(Box::new(AllowAll));
                    policy.set_rules(None);
                }
                Some(set) => {
                    let allocated = allocated_labels(&lab, &cluster, &node);
                    let rules = NodeRules::new(set.clone(), Arc::clone(&policy.names), allocated);
                    let rules = Arc::new(rules);
                    policy.set_rules(Some(Arc::clone(&rules)));
                    node.handle.set_policy(Box::new(NodePolicy(rules)));
                }
            }
            in_force = set;
        }
        // Answers after the policy has been set.
        node.handle.counters().await;
        policy.put_in_force(next.revision);
    }
}

/// What the rules select by name.
fn selectors(set: &RuleSet) -> impl Iterator<Item = NamePattern> {
    let clauses = set
        .rules
        .iter()
        .flat_map(|rule| rule.egress.allow.iter().chain(&rule.egress.deny));
    let peers = clauses.flat_map(|clause| match &clause.peers {
        Peers::Of(peers) => peers.as_slice(),
        _ => &[],
    });
    peers.filter_map(|peer| match peer {
        Peer::Name(pattern) => Some(pattern.clone()),
        _ => None,
    })
}

/// The labels of the identities of every cluster's pods, as one node knows them.
fn allocated_labels(lab: &Arc<LabState>, cluster: &Arc<ClusterState>, node: &Arc<NodeState>) -> AllocatedLabels {
    let (lab, cluster, node) = (Arc::downgrade(lab), Arc::downgrade(cluster), Arc::downgrade(node));
    Box::new(move |identity| {
        let (lab, cluster, node) = (lab.upgrade()?, cluster.upgrade()?, node.upgrade()?);
        if ipcache::unknown_identity(&lab, &cluster, &node) == Some(identity) {
            return None;
        }
        lab.clusters
            .iter()
            .find_map(|cluster| cluster.identities.labels(identity))
    })
}
