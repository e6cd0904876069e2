//! Follows the policies of all clusters: reads the objects, writes whether they are valid, and says what the agents of
//! each cluster are to have in force.

use super::{
    cilium::{self, Reading},
    condition,
    decide::{NamedPorts, RuleSet},
    kubernetes, mutation,
    regenerate::{Wanted, follow},
    rule::{PolicyKind, Rule},
    to_services,
};
use crate::{
    fault::Fault,
    informer::Informer,
    object,
    state::{ClusterState, LabState},
};
use meshproof_apiserver::{
    Object, Resource,
    resource::names::{CONFIG_MAPS, ENDPOINT_SLICES, NETWORK_POLICIES, PODS, SERVICES},
};
use meshproof_datapath::Protocol;
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
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
            tokio::spawn(async move { stop.run_until_cancelled(follow(lab, cluster, node, wanted)).await });
        }
        clusters.push(Follower {
            cluster: Arc::clone(cluster),
            refuses_blocks: lab.topology.settings().version.starts_with("1.18."),
            wanted,
            revisions: BTreeMap::new(),
            revision: 1,
            valid: BTreeMap::new(),
            removed: BTreeMap::new(),
        });
    }
    let mut faults = lab.faults.follow();
    let mut changes: Vec<_> = informers.iter().map(Informer::changes).collect();
    loop {
        let active = mutation::active(&lab.faults);
        for (follower, informer) in clusters.iter_mut().zip(&informers) {
            follower.reconcile(informer, &active);
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
    /// Whether agents of this version refuse blocks where selectors mean the own cluster (semantics A37).
    refuses_blocks: bool,
    wanted: watch::Sender<Arc<Wanted>>,
    /// Generations of policies that have been read, by uid.
    revisions: BTreeMap<String, i64>,
    revision: u64,
    /// The rules of each policy when it was last valid, by uid: they stay in force when it becomes invalid.
    valid: BTreeMap<String, Vec<Rule>>,
    /// Rules that are kept by [`Fault::PolicyNotRemoved`], by uid.
    removed: BTreeMap<String, Vec<Arc<Rule>>>,
}

impl Follower {
    fn reconcile(&mut self, informer: &Informer, faults: &[Fault]) {
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
        let local_by_default = setting("policy-default-local-cluster") == "true";
        let reading = Reading {
            cluster: self.cluster.name().to_owned(),
            local_by_default,
            refuses_blocks: local_by_default && self.refuses_blocks,
            proxy: setting("enable-l7-proxy") == "true",
        };
        let mut rules = Vec::new();
        let mut present = BTreeMap::new();
        for (kind, resource) in [
            (PolicyKind::Namespaced, CILIUM_NETWORK_POLICIES),
            (PolicyKind::Clusterwide, CLUSTERWIDE_POLICIES),
            (PolicyKind::Kubernetes, NETWORK_POLICIES),
        ] {
            for object in informer.all(&resource) {
                let read = match kind {
                    PolicyKind::Kubernetes => kubernetes::read(&object, &reading).map(|rule| vec![rule]),
                    kind => cilium::read(kind, &object, &reading),
                };
                if kind != PolicyKind::Kubernetes {
                    condition::write(&self.cluster.store, &resource, &object, read.as_ref().map(|_| ()));
                }
                let uid = object.uid().to_owned();
                let generation = match read {
                    Ok(read) => {
                        self.valid.insert(uid.clone(), read);
                        object.generation()
                    }
                    Err(_) => self.revisions.get(&uid).copied().unwrap_or_default(),
                };
                if let Some(valid) = self.valid.get(&uid) {
                    present.insert(uid, generation);
                    rules.extend(valid.iter().cloned());
                }
            }
        }
        self.valid.retain(|uid, _| present.contains_key(uid));
        let services = (informer.all(&SERVICES), informer.all(&ENDPOINT_SLICES));
        let rules = rules
            .into_iter()
            .map(|rule| Arc::new(to_services::resolve(rule, &services.0, &services.1)))
            .collect();
        self.count_changes(&present);
        let rules = self.with_removed(rules, faults);
        let always = setting("enable-policy") == "always";
        let ports = || pod_ports(&informer.all(&PODS));
        let wanted = if rules.is_empty() && !always {
            Wanted {
                revision: self.revision,
                ..Wanted::default()
            }
        } else {
            Wanted {
                revision: self.revision,
                set: RuleSet {
                    rules,
                    named_ports: merged(ports().into_iter().map(|(_, ports)| ports)),
                    own_ports: BTreeMap::new(),
                    cluster: self.cluster.name().to_owned(),
                    always,
                    api_servers: api_servers(&services.1),
                    cidrs_match_nodes: setting("policy-cidr-match-mode").contains("nodes"),
                    leak: 0.0,
                    authenticates: ["mesh-auth-enabled", "mesh-auth-mutual-enabled"]
                        .iter()
                        .all(|key| setting(key) == "true"),
                    ..RuleSet::default()
                },
                ports: ports().into_iter().collect(),
                faults: faults.to_vec(),
            }
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

/// Where API servers answer, by the endpoints of Service `default/kubernetes`.
fn api_servers(slices: &[Object]) -> BTreeSet<Ipv4Addr> {
    let of_service = slices.iter().filter(|slice| {
        slice.namespace() == Some("default") && slice.label("kubernetes.io/service-name") == Some("kubernetes")
    });
    of_service
        .flat_map(|slice| slice["endpoints"].as_array().into_iter().flatten())
        .flat_map(|endpoint| endpoint["addresses"].as_array().into_iter().flatten())
        .filter_map(|address| address.as_str()?.parse().ok())
        .collect()
}

/// What the pods of a cluster call their ports.
fn merged(ports: impl Iterator<Item = NamedPorts>) -> NamedPorts {
    let mut all = NamedPorts::new();
    for (name, numbers) in ports.flatten() {
        all.entry(name).or_default().extend(numbers);
    }
    all
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
    for (name, protocol, number) in object::named_ports(pod) {
        let protocol = match protocol.as_str() {
            "TCP" => Protocol::Tcp,
            "UDP" => Protocol::Udp,
            _ => continue,
        };
        found.entry(name).or_default().insert((protocol, number));
    }
    found
}
