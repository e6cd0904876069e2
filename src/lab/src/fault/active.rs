//! The faults in force, and who has acted on them.

use super::{Amount, Fault, figures};
use crate::sync::lock;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::watch;

/// How often it is looked whether every follower has acted on a change.
const ACTED_INTERVAL: Duration = Duration::from_millis(5);

/// The faults in force. Cheap to clone; every clone is the same set.
#[derive(Clone, Debug)]
pub struct ActiveFaults {
    active: watch::Sender<BTreeSet<Fault>>,
    /// The sizes of those that have one and are not of their usual size.
    sizes: Arc<Mutex<BTreeMap<Fault, f64>>>,
    /// How many changes there were.
    version: Arc<AtomicU64>,
    /// The change up to which each follower has acted.
    followers: Arc<Mutex<Vec<Weak<AtomicU64>>>>,
}

impl Default for ActiveFaults {
    fn default() -> Self {
        Self {
            active: watch::Sender::new(BTreeSet::new()),
            sizes: Arc::default(),
            version: Arc::default(),
            followers: Arc::default(),
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

    /// Sees every change of the set as one who acts on it: [`ActiveFaults::acted_on`] waits for it.
    pub fn follow(&self) -> FaultFollower {
        let acted = Arc::new(AtomicU64::new(0));
        let mut followers = lock(&self.followers);
        followers.retain(|follower| follower.strong_count() > 0);
        followers.push(Arc::downgrade(&acted));
        FaultFollower {
            changes: self.subscribe(),
            version: Arc::clone(&self.version),
            seen: self.version.load(Ordering::SeqCst),
            acted,
        }
    }

    /// Waits until every follower has acted on the changes so far.
    pub async fn acted_on(&self) {
        let version = self.version.load(Ordering::SeqCst);
        let is_behind = |acted: Arc<AtomicU64>| acted.load(Ordering::SeqCst) < version;
        while lock(&self.followers).iter().filter_map(Weak::upgrade).any(is_behind) {
            tokio::time::sleep(ACTED_INTERVAL).await;
        }
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
        self.active.send_if_modified(|active| {
            let changed = match state {
                FaultState::InForce => active.insert(fault),
                FaultState::Healed => active.remove(&fault),
            };
            if changed {
                // Before anybody sees the change: who reads the number afterwards has seen that many at least.
                self.version.fetch_add(1, Ordering::SeqCst);
            }
            changed
        })
    }
}

/// One who acts on each change of the faults in force, and then waits for the next.
#[derive(Debug)]
pub struct FaultFollower {
    changes: watch::Receiver<BTreeSet<Fault>>,
    version: Arc<AtomicU64>,
    seen: u64,
    acted: Arc<AtomicU64>,
}

impl FaultFollower {
    /// From here on everything so far is acted on.
    pub fn mark_unchanged(&mut self) {
        self.changes.mark_unchanged();
        self.seen = self.version.load(Ordering::SeqCst);
    }

    /// Waits for a change, and tells by that that the last one was acted on.
    ///
    /// # Errors
    /// When the lab is gone.
    pub async fn changed(&mut self) -> Result<(), watch::error::RecvError> {
        self.acted.store(self.seen, Ordering::SeqCst);
        self.changes.changed().await?;
        self.seen = self.version.load(Ordering::SeqCst);
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[tokio::test]
    async fn a_change_is_acted_on_once_every_follower_waits_for_the_next() {
        let faults = ActiveFaults::default();
        let (mut quick, mut slow) = (faults.follow(), faults.follow());
        assert!(faults.acted_on().now_or_never().is_some(), "nothing has changed");
        faults.set(Fault::UdpDropped, FaultState::InForce);
        for follower in [&mut quick, &mut slow] {
            assert!(follower.changed().await.is_ok());
        }
        assert!(quick.changed().now_or_never().is_none());
        assert!(faults.acted_on().now_or_never().is_none(), "one is still at it");
        assert!(slow.changed().now_or_never().is_none());
        assert!(faults.acted_on().now_or_never().is_some());
        faults.set(Fault::UdpDropped, FaultState::Healed);
        drop((quick, slow));
        assert!(
            faults.acted_on().now_or_never().is_some(),
            "who is gone is not waited for"
        );
    }
}
