//! Faults of the lab: a catalogue as data, and which of them are in force. A fault acts in one place: in the data path
//! ([`Effect::Network`]), or where a module asks [`ActiveFaults::is_active`].

use std::collections::BTreeSet;
use std::fmt;

use tokio::sync::watch;

use crate::state::LabState;

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
    /// In the data path: what to inject, decided when it is injected. The error says what the lab lacks for it.
    Network(fn(&LabState) -> Result<Vec<meshproof_datapath::Fault>, String>),
    /// In a module, which looks at [`LabState::faults`] where it acts.
    Flag,
}

/// The faults in force. Cheap to clone; every clone is the same set.
#[derive(Clone, Debug)]
pub struct ActiveFaults {
    active: watch::Sender<BTreeSet<FaultName>>,
}

impl Default for ActiveFaults {
    fn default() -> Self {
        Self { active: watch::Sender::new(BTreeSet::new()) }
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
