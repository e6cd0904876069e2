//! Until when agents are waited for: operators' own limit, or as long as they get on. Pure.

use std::{collections::BTreeSet, time::Duration};
use tokio::time::Instant;

/// An image may have to be pulled before anything moves.
const AT_LEAST: Duration = Duration::from_secs(120);
/// Cilium throttles the creation of endpoints (one in eight seconds a node is recorded), so pods come one by one.
const WITHOUT_PROGRESS: Duration = Duration::from_secs(90);
/// In all.
const AT_MOST: Duration = Duration::from_secs(600);

/// How far a pod has come, for good: a container that starts again is no progress.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    Started { uid: String },
    Ready { uid: String },
}

/// The end of waiting, put off by progress.
pub(crate) struct Limit {
    start: Instant,
    total: Option<Duration>,
    moved: Instant,
    seen: BTreeSet<Step>,
}

impl Limit {
    /// `total` is the operators' limit.
    pub(crate) fn new(start: Instant, total: Option<Duration>) -> Self {
        Self {
            start,
            total,
            moved: start,
            seen: BTreeSet::new(),
        }
    }

    /// Takes what pods have come to.
    pub(crate) fn take(&mut self, steps: impl IntoIterator<Item = Step>, now: Instant) {
        let before = self.seen.len();
        self.seen.extend(steps);
        if self.seen.len() > before {
            self.moved = now;
        }
    }

    /// When waiting ends unless something happens before.
    pub(crate) fn end(&self) -> Instant {
        match self.total {
            Some(total) => self.start + total,
            None => (self.moved + WITHOUT_PROGRESS).clamp(self.start + AT_LEAST, self.start + AT_MOST),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started(n: u64) -> [Step; 1] {
        [Step::Started { uid: n.to_string() }]
    }

    #[test]
    fn pods_that_come_one_by_one_are_waited_for_but_not_for_ever() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut limit = Limit::new(start, None);
        assert_eq!(limit.end(), at(120));
        limit.take(started(0), at(5));
        assert_eq!(limit.end(), at(120));
        limit.take(started(1), at(100));
        assert_eq!(limit.end(), at(190));
        limit.take([Step::Ready { uid: "1".into() }], at(110));
        assert_eq!(limit.end(), at(200));
        limit.take(started(1), at(150));
        assert_eq!(limit.end(), at(200), "started again");
        limit.take(started(2), at(599));
        assert_eq!(limit.end(), at(600));
    }

    #[test]
    fn the_operators_limit_holds_whatever_happens() {
        let start = Instant::now();
        let mut limit = Limit::new(start, Some(Duration::from_secs(10)));
        limit.take(started(1), start + Duration::from_secs(9));
        assert_eq!(limit.end(), start + Duration::from_secs(10));
    }
}
