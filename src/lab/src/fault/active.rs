//! The faults in force.

use super::Fault;
use std::collections::BTreeSet;
use tokio::sync::watch;

/// The faults in force. Cheap to clone; every clone is the same set.
#[derive(Clone, Debug)]
pub struct ActiveFaults {
    active: watch::Sender<BTreeSet<Fault>>,
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
    pub fn is_active(&self, fault: Fault) -> bool {
        self.active.borrow().contains(&fault)
    }

    /// All faults in force.
    pub fn all(&self) -> BTreeSet<Fault> {
        self.active.borrow().clone()
    }

    /// Sees every change of the set.
    pub fn subscribe(&self) -> watch::Receiver<BTreeSet<Fault>> {
        self.active.subscribe()
    }

    /// Puts a fault in force or heals it. True if that changed something.
    pub fn set(&self, fault: Fault, state: FaultState) -> bool {
        self.active.send_if_modified(|active| match state {
            FaultState::InForce => active.insert(fault),
            FaultState::Healed => active.remove(&fault),
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
