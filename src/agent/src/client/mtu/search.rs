//! Which size to try next, and what the trials mean. No I/O.

/// The smallest size that every host must take: RFC 791.
const FLOOR: u32 = 576;
const LARGEST_PACKET: u32 = 65_535;

/// What became of a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trial {
    /// It came back.
    Passed,
    /// It vanished without a word.
    Lost,
    /// It was refused, and this size would do.
    TooBig(u32),
}

/// A search between [`FLOOR`] and the route's MTU.
#[derive(Clone, Debug)]
pub(super) struct MtuSearch {
    passed: u32,
    failed: u32,
    hint: Option<u32>,
    reported: Option<u32>,
    lost: Option<u32>,
    floor: u32,
}

impl MtuSearch {
    pub(super) fn new(route: u32) -> Self {
        let top = route.clamp(68, LARGEST_PACKET);
        Self {
            passed: 0,
            failed: top + 1,
            hint: Some(top),
            reported: None,
            lost: None,
            floor: FLOOR.min(top),
        }
    }

    /// The next size to try; none when the answer is known.
    pub(super) fn next_size(&mut self) -> Option<u32> {
        if self.failed <= self.floor || self.passed + 1 >= self.failed {
            return None;
        }
        if let Some(hint) = self
            .hint
            .take()
            .filter(|hint| (self.passed + 1..self.failed).contains(hint))
        {
            return Some(hint);
        }
        if self.passed == 0 {
            return Some(self.floor);
        }
        Some(self.passed + (self.failed - self.passed) / 2)
    }

    /// What became of a size that [`Self::next_size`] gave.
    pub(super) fn tried(&mut self, size: u32, trial: Trial) {
        match trial {
            Trial::Passed => self.passed = self.passed.max(size),
            Trial::Lost => {
                self.failed = self.failed.min(size);
                self.lost = Some(self.lost.map_or(size, |lost| lost.min(size)));
            }
            Trial::TooBig(mtu) => {
                self.failed = self.failed.min(size);
                self.reported = Some(self.reported.map_or(mtu, |reported| reported.min(mtu)));
                if mtu < size && mtu >= self.floor {
                    self.failed = self.failed.min(mtu + 1);
                    self.hint = Some(mtu);
                }
            }
        }
    }

    /// The largest that passed; 0 if not even the smallest did.
    pub(super) fn largest(&self) -> u32 {
        self.passed
    }
    /// The smallest size that vanished although nobody had reported a smaller MTU.
    pub(super) fn blackhole(&self) -> Option<u32> {
        self.lost
            .filter(|lost| self.reported.is_none_or(|reported| *lost <= reported))
    }
    /// The smallest MTU that was reported.
    pub(super) fn reported(&self) -> Option<u32> {
        self.reported
    }
    /// Whether what is known is worth a report although the search is not over.
    pub(super) fn is_conclusive(&self) -> bool {
        self.passed > 0 && self.blackhole().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(route: u32, path: impl Fn(u32) -> Trial) -> (MtuSearch, u32) {
        let mut search = MtuSearch::new(route);
        let mut trials = 0;
        while let Some(size) = search.next_size() {
            search.tried(size, path(size));
            trials += 1;
            assert!(trials < 100, "the search does not end");
        }
        (search, trials)
    }

    proptest! {
        #[test]
        fn a_silent_limit_is_found_to_the_byte(route in 576u32..70_000, limit in 576u32..70_000) {
            let (search, trials) = run(route, |size| if size <= limit { Trial::Passed } else { Trial::Lost });
            prop_assert_eq!(search.largest(), limit.min(route).min(LARGEST_PACKET));
            prop_assert_eq!(search.blackhole(), (limit < route.min(LARGEST_PACKET)).then_some(limit + 1));
            prop_assert!(trials <= 19);
        }

        #[test]
        fn a_reported_limit_takes_two_trials(route in 577u32..9000, limit in 576u32..9000) {
            prop_assume!(limit < route);
            let (search, trials) = run(route, |size| if size <= limit { Trial::Passed } else { Trial::TooBig(limit) });
            prop_assert_eq!((search.largest(), search.blackhole(), search.reported()), (limit, None, Some(limit)));
            prop_assert_eq!(trials, 2);
        }

        #[test]
        fn reported_nonsense_does_no_harm(route in 576u32..9000, limit in 576u32..9000, reported: u32) {
            let (search, _) = run(route, |size| if size <= limit { Trial::Passed } else { Trial::TooBig(reported) });
            prop_assert!(search.largest() <= limit);
        }
    }

    #[test]
    fn a_healthy_path_takes_one_trial() {
        let (search, trials) = run(1500, |_| Trial::Passed);
        assert_eq!((search.largest(), trials), (1500, 1));
    }

    #[test]
    fn when_nothing_large_passes_the_largest_is_zero() {
        let (search, _) = run(1500, |_| Trial::Lost);
        assert_eq!((search.largest(), search.blackhole()), (0, Some(576)));
    }
}
