//! The faults in force.

use super::{Amount, Fault, figures};
use crate::sync::lock;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::sync::watch;

/// The faults in force. Cheap to clone; every clone is the same set.
#[derive(Clone, Debug)]
pub struct ActiveFaults {
    active: watch::Sender<BTreeSet<Fault>>,
    /// The sizes of those that have one and are not of their usual size.
    sizes: Arc<Mutex<BTreeMap<Fault, f64>>>,
}

impl Default for ActiveFaults {
    fn default() -> Self {
        Self {
            active: watch::Sender::new(BTreeSet::new()),
            sizes: Arc::default(),
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

    /// Gives a fault its size from now on; none for its usual one.
    pub fn resize(&self, fault: Fault, size: Option<f64>) {
        let mut sizes = lock(&self.sizes);
        match size {
            Some(size) => sizes.insert(fault, size),
            None => sizes.remove(&fault),
        };
    }

    /// How much this fault does, or would do, at its size; none if it has none.
    pub fn amount(&self, fault: Fault) -> Option<Amount> {
        let figures = figures(fault)?;
        let size = lock(&self.sizes).get(&fault).copied().unwrap_or(figures.usual);
        Some(figures.at(size))
    }

    /// The share of a fault that has one, else all.
    pub fn share(&self, fault: Fault) -> f64 {
        match self.amount(fault) {
            Some(Amount::Share(share)) => share,
            _ => 1.0,
        }
    }

    /// The time of a fault that has one, else none.
    pub fn time(&self, fault: Fault) -> Duration {
        match self.amount(fault) {
            Some(Amount::Time(time) | Amount::Left(time)) => time,
            _ => Duration::ZERO,
        }
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
