//! Follows the policies of all clusters and puts them in force, node by node: reads the objects, says whether they are
//! valid, and gives each node its rules after the short time that an agent needs to regenerate its endpoints.

use super::{
    cilium::{self, Reading},
    condition,
    decide::{NamedPorts, NodePolicy, NodeRules, RuleSet},
    kubernetes,
    mutation::{self, mutated},
    policy_state::PolicyState,
    rule::{Kind, Rule},
    to_services,
};
use crate::{
    fault::Fault,
    informer::Informer,
    state::{ClusterState, LabState, NodeState},
};
use meshproof_apiserver::{
    Object, Resource,
    resource::names::{CONFIG_MAPS, ENDPOINT_SLICES, NETWORK_POLICIES, PODS, SERVICES},
};
use meshproof_datapath::{AllowAll, Protocol};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{BuildHasher, Hasher, RandomState},
    net::Ipv4Addr,
    sync::Arc,
    time::Duration,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub(crate) const CILIUM_NETWORK_POLICIES: Resource = Resource::of("cilium.io", "ciliumnetworkpolicies");
pub(crate) const CLUSTERWIDE_POLICIES: Resource = Resource::of("cilium.io", "ciliumclusterwidenetworkpolicies");

/// Several changes that come together count as one.
const SETTLE: Duration = Duration::from_millis(2);
/// How long an agent takes to put a change in force, between these.
const REGENERATION: std::ops::Range<u64> = 4..24;
/// How late one node is with [`Fault::PolicyEnforcedLate`].
const LATE: Duration = Duration::from_secs(8);

/// What a cluster's agents are to have in force.
#[derive(Clone, Debug, Default, PartialEq)]
struct Wanted {
    revision: u64,
    set: RuleSet,
    /// Of all pods of the cluster, by address.
    ports: BTreeMap<Ipv4Addr, NamedPorts>,
    faults: Vec<Fault>,
}

/// Runs until stopped.
pub(super) async fn run(lab: Arc<LabState>, stop: CancellationToken) {
    let resources = [
        CILIUM_NETWORK_POLICIES,
        CLUSTERWIDE_POLICIES,
        NETWORK_POLICIES,
        PODS,
        SERVICES,
        ENDPOINT_SLICES,
    ];
    let informers: Vec<_> = lab
        .clusters
        .iter()
        .map(|cluster| Informer::start(&cluster.store, &resources, &stop))
        .collect();
    for informer in &informers {
        informer.synced().await;
    }
    let mut clusters = Vec::new();
    for cluster in &lab.clusters {
        let wanted = watch::Sender::new(Arc::new(Wanted::default()));
        for node in cluster.nodes() {
            let (wanted, stop) = (wanted.subscribe(), stop.clone());
            let (lab, cluster, node) = (Arc::clone(&lab), Arc::clone(cluster), Arc::clone(node));
            tokio::spawn(async move { stop.run_until_cancelled(apply(lab, cluster, node, wanted)).await });
        }
        clusters.push(Follower {
            cluster: Arc::clone(cluster),
            wanted,
            revisions: BTreeMap::new(),
            revision: 1,
            removed: BTreeMap::new(),
        });
    }
    let mut faults = lab.faults.subscribe();
    let mut changes: Vec<_> = informers.iter().map(Informer::changes).collect();
    loop {
        let active = mutation::active(&lab.faults);
        let all_ports = || informers.iter().flat_map(|informer| pod_ports(&informer.all(&PODS)));
        let any = informers.iter().any(|informer| {
            [CILIUM_NETWORK_POLICIES, CLUSTERWIDE_POLICIES, NETWORK_POLICIES]
                .iter()
                .any(|kind| !informer.all(kind).is_empty())
        });
        let mut named = NamedPorts::new();
        if any {
            for (name, numbers) in all_ports().flat_map(|(_, ports)| ports) {
                named.entry(name).or_default().extend(numbers);
            }
        }
        for (follower, informer) in clusters.iter_mut().zip(&informers) {
            follower.reconcile(informer, &named, &active);
        }
        let next = changes.iter_mut().map(|changes| Box::pin(changes.next()));
        tokio::select! {
            () = stop.cancelled() => return,
            (more, ..) = futures::future::select_all(next) => if !more { return },
            changed = faults.changed() => if changed.is_err() { return },
        }
        tokio::time::sleep(SETTLE).await;
    }
}

/// One cluster's policies.
struct Follower {
    cluster: Arc<ClusterState>,
    wanted: watch::Sender<Arc<Wanted>>,
    /// Generations of policies that have been read, by uid.
    revisions: BTreeMap<String, i64>,
    revision: u64,
    /// Rules that are kept by [`Fault::PolicyNotRemoved`], by uid.
    removed: BTreeMap<String, Vec<Arc<Rule>>>,
}

impl Follower {
    fn reconcile(&mut self, informer: &Informer, named: &NamedPorts, faults: &[Fault]) {
        let config = self
            .cluster
            .store
            .find(&CONFIG_MAPS, Some("kube-system"), "cilium-config");
        let setting = |key: &str| {
            config
                .as_ref()
                .and_then(|config| config["data"][key].as_str())
                .unwrap_or_default()
                .to_owned()
        };
        let reading = Reading {
            cluster: self.cluster.name().to_owned(),
            local_by_default: setting("policy-default-local-cluster") == "true",
            proxy: setting("enable-l7-proxy") == "true",
        };
        let mut rules = Vec::new();
        let mut present = BTreeMap::new();
        for (kind, resource) in [
            (Kind::Namespaced, CILIUM_NETWORK_POLICIES),
            (Kind::Clusterwide, CLUSTERWIDE_POLICIES),
            (Kind::Kubernetes, NETWORK_POLICIES),
        ] {
            for object in informer.all(&resource) {
                let read = match kind {
                    Kind::Kubernetes => kubernetes::read(&object, &reading).map(|rule| vec![rule]),
                    kind => cilium::read(kind, &object, &reading),
                };
                if kind != Kind::Kubernetes {
                    condition::write(&self.cluster.store, &resource, &object, read.as_ref().map(|_| ()));
                }
                if let Ok(read) = read {
                    present.insert(object.uid().to_owned(), object.generation());
                    rules.extend(read);
                }
            }
        }
        let services = (informer.all(&SERVICES), informer.all(&ENDPOINT_SLICES));
        let rules = rules
            .into_iter()
            .map(|rule| Arc::new(to_services::resolve(rule, &services.0, &services.1)))
            .collect();
        self.count_changes(&present);
        let rules = self.with_removed(rules, faults);
        let wanted = match rules.is_empty() {
            true => Wanted {
                revision: self.revision,
                ..Wanted::default()
            },
            false => Wanted {
                revision: self.revision,
                set: RuleSet {
                    rules,
                    named_ports: named.clone(),
                    own_ports: BTreeMap::new(),
                    cluster: self.cluster.name().to_owned(),
                    cidrs_match_nodes: setting("policy-cidr-match-mode").contains("nodes"),
                    authenticates: ["mesh-auth-enabled", "mesh-auth-mutual-enabled"]
                        .iter()
                        .all(|key| setting(key) == "true"),
                    ..RuleSet::default()
                },
                ports: pod_ports(&informer.all(&PODS)).into_iter().collect(),
                faults: faults.to_vec(),
            },
        };
        self.wanted.send_if_modified(|present| {
            let changed = **present != wanted;
            if changed {
                *present = Arc::new(wanted);
            }
            changed
        });
    }

    /// The revision counts up with every policy that comes, changes or goes.
    fn count_changes(&mut self, present: &BTreeMap<String, i64>) {
        let all: BTreeSet<_> = present.keys().chain(self.revisions.keys()).collect();
        let changed = all
            .iter()
            .filter(|uid| present.get(**uid) != self.revisions.get(**uid))
            .count();
        self.revision += changed as u64;
        self.revisions.clone_from(present);
    }

    fn with_removed(&mut self, mut rules: Vec<Arc<Rule>>, faults: &[Fault]) -> Vec<Arc<Rule>> {
        if !faults.contains(&Fault::PolicyNotRemoved) {
            self.removed.clear();
            return rules;
        }
        let before = self.wanted.borrow().set.rules.clone();
        for rule in before {
            let kept = self.removed.entry(rule.uid.clone()).or_default();
            if !kept.contains(&rule) {
                kept.push(rule);
            }
        }
        self.removed.retain(|uid, _| !rules.iter().any(|rule| rule.uid == *uid));
        rules.extend(self.removed.values().flatten().cloned());
        rules
    }
}

/// Puts in force at one node what its cluster wants.
async fn apply(
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
                let _ = tokio::time::timeout(LATE, healed).await;
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
        let set = mutated(set, &acting);
        let set = (!set.rules.is_empty()).then_some(set);
        if set != in_force {
            match &set {
                None => {
                    node.handle.set_policy(Box::new(AllowAll));
                    policy.set_rules(None);
                }
                Some(set) => {
                    let rules = NodeRules::new(set.clone(), Arc::clone(&policy.names), Arc::downgrade(&lab));
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

/// The named ports of running pods, by address.
fn pod_ports(pods: &[Object]) -> Vec<(Ipv4Addr, NamedPorts)> {
    pods.iter()
        .filter(|pod| pod["spec"]["hostNetwork"] != true)
        .filter_map(|pod| Some((pod["status"]["podIP"].as_str()?.parse().ok()?, named_ports(pod))))
        .collect()
}

fn named_ports(pod: &Value) -> NamedPorts {
    let mut found = NamedPorts::new();
    for (name, protocol, number) in crate::object::named_ports(pod) {
        let protocol = match protocol.as_str() {
            "TCP" => Protocol::Tcp,
            "UDP" => Protocol::Udp,
            _ => continue,
        };
        found.entry(name).or_default().insert((protocol, number));
    }
    found
}
