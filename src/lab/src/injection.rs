//! Injects and heals faults in a running lab: decides where a fault of the data path acts from the pods of the moment,
//! and cuts nodes off. All other faults act in a module that looks at [`LabState::faults`].

mod balancing;
mod encryption;
mod network;
mod objects;
mod path_mtu;
mod targets;

use crate::{
    fault::{Fault, FaultState, Layer, PlaceSeed, Scope, SizedFault, UnknownFault},
    state::{ClusterState, LabState, NodeState, Place},
    sync::lock,
};
use meshproof_apiserver::{
    Object,
    resource::names::{DAEMON_SETS, DEPLOYMENTS, PODS},
};
use meshproof_datapath::{Fault as DatapathFault, FaultId};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};
use targets::{Missing, Site};

/// What a fault puts into the data path, by the pods and services of the moment.
type Effect = fn(&Site<'_>, Scope) -> Result<Vec<DatapathFault>, Missing>;

/// Why a fault could not be injected or healed.
#[derive(Debug, thiserror::Error)]
pub enum FaultError {
    /// The catalogue has no such fault, or not of a size.
    #[error(transparent)]
    Unknown(#[from] UnknownFault),
    /// The lab lacks what the fault acts on.
    #[error("failed to inject {fault}: {why}")]
    NoTarget {
        /// The fault.
        fault: Fault,
        /// What is missing.
        why: String,
    },
}

/// Injects and heals the faults of one running lab.
pub struct FaultInjector {
    lab: Arc<LabState>,
    injected: Mutex<BTreeMap<Fault, Injected>>,
    changed: Mutex<BTreeMap<Fault, Vec<objects::Undo>>>,
}

/// When a change of the data path is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum While {
    Always,
    /// Only as long as the fault is in force.
    InForce,
}

/// What a fault of the catalogue has put into the data path.
#[derive(Default)]
struct Injected {
    faults: Vec<DatapathFault>,
    ids: Vec<FaultId>,
}

impl FaultInjector {
    pub(crate) fn new(lab: Arc<LabState>) -> Self {
        Self {
            lab,
            injected: Mutex::default(),
            changed: Mutex::default(),
        }
    }

    /// The faults in force.
    pub fn active(&self) -> BTreeSet<Fault> {
        self.lab.faults.all()
    }

    /// Injects a fault; it acts once [`FaultInjector::followed`] returns. Injecting one that is in force changes its
    /// size at most.
    ///
    /// # Errors
    /// When there is no such fault, or it has no size, or the lab lacks a node or cluster that it acts on. Pods may
    /// come later.
    pub fn inject(&self, name: &str) -> Result<(), FaultError> {
        let SizedFault { fault, size } = name.parse()?;
        self.lab.faults.resize(fault, size);
        if !self.lab.faults.is_active(fault) {
            self.draw_place(fault)?;
        }
        if let Some(node) = self.cut_node(fault)? {
            node.set_online(false);
        }
        if let Some(effect) = effect(fault) {
            let faults = effect(&Site::of(&self.lab, fault), fault.spec().scope);
            self.put(
                fault,
                faults.map_err(|why| FaultError::NoTarget { fault, why })?,
                While::Always,
            );
        }
        if fault.spec().layer == Layer::Objects && !self.lab.faults.is_active(fault) {
            let undo = objects::change(&self.lab, fault).map_err(|why| FaultError::NoTarget { fault, why })?;
            lock(&self.changed).insert(fault, undo);
        }
        self.lab.faults.set(fault, FaultState::InForce);
        Ok(())
    }

    /// Waits until what follows the faults in force has acted on them, and controllers and kubelets on what was
    /// changed in the API: every spec is seen, pods that were to go are gone, and agents run again. What a fault keeps
    /// from ever being so is not waited for.
    pub async fn followed(&self) {
        let deadline = tokio::time::Instant::now() + FOLLOWED_WITHIN;
        if tokio::time::timeout_at(deadline, self.lab.faults.acted_on())
            .await
            .is_err()
        {
            tracing::warn!("somebody has not acted on the faults in force within {FOLLOWED_WITHIN:?}");
        }
        if !self.active().iter().any(|fault| fault.spec().layer == Layer::Objects) {
            return;
        }
        while !self.lab.clusters.iter().all(|cluster| is_followed(cluster)) {
            if tokio::time::Instant::now() > deadline {
                return;
            }
            tokio::time::sleep(FOLLOWED_INTERVAL).await;
        }
    }

    /// Heals a fault; healing a fault that is not in force changes nothing.
    ///
    /// # Errors
    /// When there is no such fault.
    pub fn heal(&self, name: &str) -> Result<(), FaultError> {
        let fault = name.parse::<SizedFault>()?.fault;
        if self.lab.faults.is_active(fault)
            && let Some(node) = self.cut_node(fault)?
        {
            node.set_online(true);
        }
        // First of all no longer in force: who follows pods and services meanwhile puts nothing back.
        self.lab.faults.set(fault, FaultState::Healed);
        self.put(fault, Vec::new(), While::Always);
        let undo = lock(&self.changed).remove(&fault);
        for one in undo.into_iter().flatten().rev() {
            one.carry_out(fault);
        }
        Ok(())
    }

    /// Heals every fault.
    pub fn heal_all(&self) {
        for fault in self.active() {
            // Known, since it is in force.
            let _ = self.heal(fault.name());
        }
    }

    /// Keeps what acts on pods acting on the pods of the moment, until dropped.
    pub(crate) async fn follow(&self) {
        use futures::future::select_all;
        let mut pods = self.lab.pods_changed();
        let mut services: Vec<_> = self
            .lab
            .clusters
            .iter()
            .map(|cluster| cluster.services.subscribe())
            .collect();
        loop {
            let changes = services.iter_mut().map(|service| Box::pin(service.changed()));
            tokio::select! {
                changed = pods.changed() => if changed.is_err() { return },
                (changed, ..) = select_all(changes) => if changed.is_err() { return },
            }
            for fault in self.active() {
                if let Some(effect) = effect(fault)
                    && let Ok(faults) = effect(&Site::of(&self.lab, fault), fault.spec().scope)
                {
                    self.put(fault, faults, While::InForce);
                }
            }
        }
    }

    /// Makes these the faults that this entry has in the data path; without need nothing is touched.
    fn put(&self, fault: Fault, faults: Vec<DatapathFault>, when: While) {
        let mut injected = lock(&self.injected);
        if when == While::InForce && !self.lab.faults.is_active(fault) {
            return;
        }
        let present = injected.entry(fault).or_default();
        if present.faults == faults {
            return;
        }
        let ids = faults
            .iter()
            .map(|fault| self.lab.fabric.inject(fault.clone()))
            .collect();
        for id in std::mem::replace(&mut present.ids, ids) {
            self.lab.fabric.heal(id);
        }
        let signalled = present.faults.iter().any(path_mtu::is_signalled);
        present.faults = faults;
        drop(injected);
        if signalled {
            path_mtu::forget(&self.lab);
        }
    }

    /// Draws where a fault acts, if its place is drawn. What acts on the way between clusters needs two of them.
    fn draw_place(&self, fault: Fault) -> Result<(), FaultError> {
        if !matches!(fault.spec().scope, Scope::DrawnCluster | Scope::DrawnNode) {
            return Ok(());
        }
        let places = self.lab.nodes().map(|(cluster, node)| Place {
            cluster: cluster.name().to_owned(),
            node: node.name().to_owned(),
        });
        let places: Vec<_> = places.collect();
        let missing = |why: &str| FaultError::NoTarget {
            fault,
            why: why.to_owned(),
        };
        if fault.spec().layer == Layer::Mesh && self.lab.clusters.len() < 2 {
            return Err(missing("the lab has only one cluster"));
        }
        // With a seed it is the same one each time.
        let order = self.lab.places.order(fault, "nodes", places.len());
        let places = match order.first() {
            Some(first) if self.lab.places != PlaceSeed::default() => &places[*first..=*first],
            _ => &places[..],
        };
        let place = self.lab.drawn.draw(fault, places);
        let place = place.ok_or_else(|| missing("the lab has no node"))?;
        tracing::info!(%fault, cluster = place.cluster, node = place.node, "drawn");
        Ok(())
    }

    /// The node whose kubelet a fault cuts off; none for faults that cut no node.
    fn cut_node(&self, fault: Fault) -> Result<Option<&Arc<NodeState>>, FaultError> {
        if fault.spec().layer != Layer::Node {
            return Ok(None);
        }
        let node = targets::last_node(&Site::of(&self.lab, fault));
        node.map(Some).map_err(|why| FaultError::NoTarget { fault, why })
    }
}

/// How long controllers and kubelets may take to act on a change, where they can.
const FOLLOWED_WITHIN: Duration = Duration::from_secs(10);
const FOLLOWED_INTERVAL: Duration = Duration::from_millis(50);

/// Whether a cluster's controllers have seen every spec of what runs in the system's namespace, no pod there is on its
/// way out, and every node has its agent.
fn is_followed(cluster: &ClusterState) -> bool {
    const SYSTEM: Option<&str> = Some("kube-system");
    let sets = cluster.store.all(&DAEMON_SETS, SYSTEM);
    let is_whole = |set: &Object| set["status"]["numberReady"] == set["status"]["desiredNumberScheduled"];
    let deployments = cluster.store.all(&DEPLOYMENTS, SYSTEM);
    let is_seen = |object: &Object| object["status"]["observedGeneration"] == object["metadata"]["generation"];
    sets.iter().all(is_whole)
        && sets.iter().chain(&deployments).all(is_seen)
        && !cluster.store.all(&PODS, SYSTEM).iter().any(Object::is_terminating)
}

/// What a fault does in the data path; none for faults that act elsewhere.
fn effect(fault: Fault) -> Option<Effect> {
    match fault.spec().layer {
        Layer::Network => network::effect(fault),
        Layer::Encryption => encryption::effect(fault),
        Layer::Balancing => balancing::effect(fault),
        Layer::Node => node_effect(fault),
        Layer::Services
        | Layer::Dns
        | Layer::Policy
        | Layer::Mesh
        | Layer::Agents
        | Layer::Controllers
        | Layer::Objects => None,
    }
}

/// A lost node's network; its kubelet is cut off by [`FaultInjector::inject`].
fn node_effect(fault: Fault) -> Option<Effect> {
    let cut: Effect = |lab, _| {
        Ok(vec![DatapathFault::Cut {
            node: targets::last_node(lab)?.handle.name().clone(),
        }])
    };
    (fault == Fault::NodeLost).then_some(cut)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::CATALOGUE;

    #[test]
    fn every_fault_of_the_data_path_has_an_effect_there() {
        let layers = [Layer::Network, Layer::Encryption, Layer::Balancing, Layer::Node];
        for spec in CATALOGUE {
            let acts = effect(spec.fault).is_some();
            assert_eq!(acts, layers.contains(&spec.layer), "{}", spec.name);
        }
    }
}
