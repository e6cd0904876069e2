//! How far a rolling update may go with its next step: numbers only.

/// A Deployment's replicas as its ReplicaSets have them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Replicas {
    /// What the Deployment wants.
    pub wanted: i64,
    /// How many more may exist for a while.
    pub max_surge: i64,
    /// How many may be missing for a while.
    pub max_unavailable: i64,
    /// Wanted of the newest ReplicaSet.
    pub new: i64,
    /// Available of the newest ReplicaSet.
    pub new_available: i64,
    /// Wanted of all older ReplicaSets.
    pub old: i64,
    /// Available of all older ReplicaSets.
    pub old_available: i64,
}

impl Replicas {
    /// How many the newest ReplicaSet should want now (`NewRSNewReplicas`).
    pub fn next_new(&self) -> i64 {
        let most = self.wanted + self.surge();
        let room = most - (self.new + self.old);
        if self.new > self.wanted || self.old == 0 {
            return self.wanted;
        }
        (self.new + room.max(0)).min(self.wanted)
    }

    /// How many of the older replicas may go now (`reconcileOldReplicaSets`): the unavailable ones first.
    pub fn old_to_remove(&self) -> i64 {
        let least = self.wanted - self.unavailable();
        let new_unavailable = (self.new - self.new_available).max(0);
        let total = (self.new + self.old - least - new_unavailable).max(0);
        let broken = (self.old - self.old_available).max(0);
        let spare = (self.new_available + self.old_available - least).max(0);
        total.min(broken.min(total) + spare).min(self.old)
    }

    fn surge(&self) -> i64 {
        self.max_surge.max(0)
    }

    /// Both zero would never move: then one may be missing, as Kubernetes resolves it.
    fn unavailable(&self) -> i64 {
        if self.max_surge <= 0 && self.max_unavailable <= 0 {
            1
        } else {
            self.max_unavailable.clamp(0, self.wanted)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_rolling_update_arrives_and_keeps_its_promises(
            wanted in 0i64..12, old in 0i64..12, max_surge in 0i64..4, max_unavailable in 0i64..4,
        ) {
            let mut now = Replicas {
                wanted, max_surge, max_unavailable, new: 0, new_available: 0, old, old_available: old,
            };
            let slack = if max_surge + max_unavailable == 0 { 1 } else { max_unavailable };
            for _ in 0..60 {
                let enough_before = now.old_available + now.new_available >= wanted - slack;
                now.new = now.next_new();
                prop_assert!(now.new <= wanted);
                prop_assert!(now.new + now.old <= (wanted + max_surge).max(old), "too many: {now:?}");
                let removed = now.old_to_remove();
                now.old -= removed;
                now.old_available -= removed;
                prop_assert!(now.old >= 0);
                if enough_before {
                    prop_assert!(now.old_available + now.new_available >= wanted - slack, "too few: {now:?}");
                }
                now.new_available = now.new;
            }
            prop_assert_eq!((now.new, now.old), (wanted, 0));
        }
    }
}
