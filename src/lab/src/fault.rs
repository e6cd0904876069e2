//! Faults of the lab: a catalogue as data, and which of them are in force. A fault acts in one place: in the data path
//! ([`Effect::Network`]), or where a module asks [`ActiveFaults::is_active`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use meshproof_datapath::FaultId;
use tokio::sync::watch;

use crate::state::LabState;
use crate::system::SystemModule;

pub(crate) mod encryption;
pub(crate) mod failover;
mod mtu;
mod network;
mod node;
mod place;
mod service;

/// A fault's name, in kebab case, as checks and `meshproof prove` use it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FaultName(&'static str);

impl FaultName {
    /// A name; the one constant of a fault.
    pub const fn new(name: &'static str) -> Self {
        Self(name)
    }

    /// The name.
    pub const fn as_str(&self) -> &'static str {
        self.0
    }
}

impl fmt::Display for FaultName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl fmt::Debug for FaultName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// One entry of the catalogue.
#[derive(Clone)]
pub struct FaultSpec {
    /// Its name.
    pub name: FaultName,
    /// What is wrong while it is in force, in one line.
    pub summary: &'static str,
    /// The suites that it concerns.
    pub suites: &'static [&'static str],
    /// Where it acts.
    pub effect: Effect,
}

/// Where a fault acts.
#[derive(Clone)]
pub enum Effect {
    /// In the data path: what to inject, by the pods of the moment; decided again whenever pods or services change. The
    /// error says what the lab lacks for it.
    Network(fn(&LabState) -> Result<Vec<meshproof_datapath::Fault>, String>),
    /// In a module, which looks at [`LabState::faults`] where it acts.
    Flag,
    /// On a whole node, whose kubelet and network are cut off: which one.
    Node(fn(&LabState) -> Option<String>),
}

/// Why a fault could not be injected or healed.
#[derive(Debug, thiserror::Error)]
pub enum FaultError {
    /// The catalogue has no such name.
    #[error("there is no fault called {name}; `meshproof prove --list` prints all")]
    Unknown {
        /// What was asked for.
        name: String,
    },
    /// The lab lacks what the fault acts on.
    #[error("failed to inject {name}: {why}")]
    NoPlace {
        /// The fault.
        name: FaultName,
        /// What is missing.
        why: String,
    },
}

/// The catalogue of a running lab: every fault, to be injected and healed.
pub struct Faults {
    lab: Arc<LabState>,
    catalogue: BTreeMap<FaultName, FaultSpec>,
    injected: Mutex<BTreeMap<FaultName, Injected>>,
}

/// What a fault of the catalogue has put into the data path.
#[derive(Default)]
struct Injected {
    faults: Vec<meshproof_datapath::Fault>,
    ids: Vec<FaultId>,
}

impl Faults {
    pub(crate) fn new(lab: Arc<LabState>, modules: &[Arc<dyn SystemModule>]) -> Self {
        let own = own_faults();
        let catalogue = own
            .chain(modules.iter().flat_map(|module| module.faults()))
            .map(|spec| (spec.name, spec));
        Self {
            lab,
            catalogue: catalogue.collect(),
            injected: Mutex::default(),
        }
    }

    /// Every fault, in the order of names.
    pub fn catalogue(&self) -> impl Iterator<Item = &FaultSpec> {
        self.catalogue.values()
    }

    /// The faults in force.
    pub fn active(&self) -> BTreeSet<FaultName> {
        self.lab.faults.all()
    }

    /// Injects a fault; it acts when this returns. Injecting what is in force changes nothing.
    ///
    /// # Errors
    /// When there is no such fault, or the lab lacks a node or cluster that it acts on. Pods may come later.
    pub fn inject(&self, name: &str) -> Result<(), FaultError> {
        let spec = self.find(name)?;
        match spec.effect {
            Effect::Flag => {}
            Effect::Network(faults) => {
                let faults = faults(&self.lab).map_err(|why| FaultError::NoPlace { name: spec.name, why })?;
                self.put(spec.name, faults);
            }
            Effect::Node(which) => {
                let node = which(&self.lab).and_then(|name| self.node(&name));
                let why = "there is no such node".to_owned();
                let node = node.ok_or(FaultError::NoPlace { name: spec.name, why })?;
                let cut = meshproof_datapath::Fault::Cut {
                    node: node.handle.name().clone(),
                };
                node.set_online(false);
                self.put(spec.name, vec![cut]);
            }
        }
        self.lab.faults.set(spec.name, FaultState::InForce);
        Ok(())
    }

    /// Takes a fault back; healing what is not broken is fine.
    pub fn heal(&self, name: &str) -> Result<(), FaultError> {
        let spec = self.find(name)?;
        self.put(spec.name, Vec::new());
        if let Effect::Node(which) = spec.effect
            && self.lab.faults.is_active(spec.name)
            && let Some(node) = which(&self.lab).and_then(|name| self.node(&name))
        {
            node.set_online(true);
        }
        self.lab.faults.set(spec.name, FaultState::Healed);
        Ok(())
    }

    /// Takes every fault back.
    pub fn heal_all(&self) {
        for name in self.active() {
            // Known, since it is in force.
            let _ = self.heal(name.as_str());
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
            for name in self.active() {
                if let Some(FaultSpec {
                    effect: Effect::Network(faults),
                    ..
                }) = self.catalogue.get(&name)
                    && let Ok(faults) = faults(&self.lab)
                {
                    self.put(name, faults);
                }
            }
        }
    }

    /// Makes these the faults that this entry has in the data path; without need nothing is touched.
    fn put(&self, name: FaultName, faults: Vec<meshproof_datapath::Fault>) {
        let mut injected = self.injected.lock().unwrap_or_else(PoisonError::into_inner);
        let present = injected.entry(name).or_default();
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
        let told = present.faults.iter().any(mtu::is_told);
        present.faults = faults;
        drop(injected);
        if told {
            mtu::forget(&self.lab);
        }
    }

    fn find(&self, name: &str) -> Result<&FaultSpec, FaultError> {
        let known = self.catalogue.values().find(|spec| spec.name.as_str() == name);
        known.ok_or_else(|| FaultError::Unknown { name: name.to_owned() })
    }

    fn node(&self, name: &str) -> Option<Arc<crate::state::NodeState>> {
        self.lab
            .nodes()
            .find(|(_, node)| node.name() == name)
            .map(|(_, node)| Arc::clone(node))
    }
}

/// The faults of what is no module.
fn own_faults() -> impl Iterator<Item = FaultSpec> {
    let services = service::faults().into_iter().chain(crate::service::fault::faults());
    let services = services
        .chain(crate::service::memory::faults())
        .chain(failover::faults());
    network::faults()
        .into_iter()
        .chain(node::faults())
        .chain(encryption::faults())
        .chain(services)
}

/// Every fault that a lab knows, without a lab: for lists and checks of names.
pub fn catalogue() -> Vec<FaultSpec> {
    let modules = crate::modules::all();
    let own = own_faults();
    let mut all: Vec<_> = own.chain(modules.iter().flat_map(|module| module.faults())).collect();
    all.sort_by_key(|spec| spec.name);
    all
}

/// The faults in force. Cheap to clone; every clone is the same set.
#[derive(Clone, Debug)]
pub struct ActiveFaults {
    active: watch::Sender<BTreeSet<FaultName>>,
}

impl Default for ActiveFaults {
    fn default() -> Self {
        Self {
            active: watch::Sender::new(BTreeSet::new()),
        }
    }
}

impl ActiveFaults {
    /// Whether this fault is in force now.
    pub fn is_active(&self, name: FaultName) -> bool {
        self.active.borrow().contains(&name)
    }

    /// All faults in force.
    pub fn all(&self) -> BTreeSet<FaultName> {
        self.active.borrow().clone()
    }

    /// Sees every change of the set.
    pub fn subscribe(&self) -> watch::Receiver<BTreeSet<FaultName>> {
        self.active.subscribe()
    }

    /// Puts a fault in force, or takes it back. True if that changed something.
    pub fn set(&self, name: FaultName, state: FaultState) -> bool {
        self.active.send_if_modified(|active| match state {
            FaultState::InForce => active.insert(name),
            FaultState::Healed => active.remove(&name),
        })
    }
}

/// Whether a fault acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultState {
    /// It acts.
    InForce,
    /// It does not.
    Healed,
}
