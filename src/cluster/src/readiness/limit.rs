//! How long agents may take to become ready: the operators' limit, or as long as they make progress. Pure.

use std::{collections::BTreeSet, time::Duration};
use tokio::time::Instant;

/// An image may have to be pulled before anything moves.
const AT_LEAST: Duration = Duration::from_secs(120);
/// Cilium throttles the creation of endpoints (one in eight seconds a node is recorded), so pods come one by one.
const WITHOUT_PROGRESS: Duration = Duration::from_secs(90);
/// In all.
const AT_MOST: Duration = Duration::from_secs(600);

/// How far a pod is, for good: a container that starts again does not count as progress.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    Started { uid: String },
    Ready { uid: String },
}

/// The end of waiting; progress puts it off.
pub(crate) struct Limit {
    start: Instant,
    total: Option<Duration>,
    progressed: Instant,
    seen: BTreeSet<Step>,
}

impl Limit {
    /// `total` is the operators' limit.
    pub(crate) fn new(start: Instant, total: Option<Duration>) -> Self {
        Self {
            start,
            total,
            progressed: start,
            seen: BTreeSet::new(),
        }
    }

    /// Takes how far pods are.
    pub(crate) fn observe(&mut self, steps: impl IntoIterator<Item = Step>, now: Instant) {
        let before = self.seen.len();
        self.seen.extend(steps);
        if self.seen.len() > before {
            self.progressed = now;
        }
    }

    /// When waiting ends unless there is progress before.
    pub(crate) fn end(&self) -> Instant {
        match self.total {
            Some(total) => self.start + total,
            None => (self.progressed + WITHOUT_PROGRESS).clamp(self.start + AT_LEAST, self.start + AT_MOST),
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
    fn pods_that_start_one_by_one_are_awaited_but_not_for_ever() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut limit = Limit::new(start, None);
        assert_eq!(limit.end(), at(120));
        limit.observe(started(0), at(5));
        assert_eq!(limit.end(), at(120));
        limit.observe(started(1), at(100));
        assert_eq!(limit.end(), at(190));
        limit.observe([Step::Ready { uid: "1".into() }], at(110));
        assert_eq!(limit.end(), at(200));
        limit.observe(started(1), at(150));
        assert_eq!(limit.end(), at(200), "started again");
        limit.observe(started(2), at(599));
        assert_eq!(limit.end(), at(600));
    }

    #[test]
    fn the_operators_limit_holds_whatever_happens() {
        let start = Instant::now();
        let mut limit = Limit::new(start, Some(Duration::from_secs(10)));
        limit.observe(started(1), start + Duration::from_secs(9));
        assert_eq!(limit.end(), start + Duration::from_secs(10));
    }
}
