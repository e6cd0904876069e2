//! What a stream of connections showed around two changes. Pure: numbers in, times out.

use meshproof_contract::{Outcome, StreamReport, StreamResult};
use std::{
    collections::BTreeMap,
    ops::Bound::{Excluded, Unbounded},
};

/// Connections in a row after which a state counts as reached: those of a quarter of a second, and so many at least and
/// at most.
const HELD: (usize, usize) = (8, 25);
const HELD_FOR: u64 = 250_000;

/// What divides the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// Nothing yet.
    Before,
    /// The policy was applied.
    Applied,
    /// It was deleted.
    Deleted,
}

/// One connection.
#[derive(Clone, Debug)]
enum Sample {
    Established,
    Dropped,
    Other(String),
}

/// The connections of a stream by the time at which they were really opened, in microseconds of the agent's clock, and
/// their number. A generator that lags leaves gaps, which make times less well known, and nothing else.
#[derive(Debug, Default)]
pub struct Timeline {
    samples: BTreeMap<(u64, u64), Sample>,
    marks: BTreeMap<Change, u64>,
    interval: u64,
    lag: u64,
    not_sent: Vec<String>,
}

/// When something happened, in microseconds from a change: between two connections that showed different things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Between {
    /// Not before this.
    pub at_least: u64,
    /// Not after this.
    pub at_most: u64,
}

/// How the paths were closed.
#[derive(Debug, PartialEq, Eq)]
pub struct Closed {
    /// From the call to the moment from which on no connection was established.
    pub after: Between,
    /// Connections established after one had been dropped.
    pub half: usize,
    /// A refusal of another kind than silence, if one was seen.
    pub other: Option<String>,
}

impl Timeline {
    /// Takes a report in.
    pub fn add(&mut self, report: StreamReport) {
        (self.interval, self.lag) = (report.interval, self.lag.max(report.lag));
        for sample in report.samples {
            let sent = report.start + sample.number * report.interval + u64::from(sample.late);
            let seen = match sample.result {
                StreamResult::Bad {
                    outcome: Outcome::LocalError { reason },
                } => {
                    self.not_sent.push(reason);
                    continue;
                }
                StreamResult::Good { .. } => Sample::Established,
                StreamResult::Bad {
                    outcome: Outcome::Timeout { .. },
                } => Sample::Dropped,
                StreamResult::Bad { outcome } => Sample::Other(outcome.to_string()),
            };
            self.samples.insert((sent, sample.number), seen);
        }
    }

    /// The change was requested at this time of the agent's clock.
    pub fn mark(&mut self, change: Change, micros: u64) {
        self.marks.insert(change, micros);
    }

    /// Why the agent could not open connections, one entry each: nothing follows from these.
    pub fn not_sent(&self) -> &[String] {
        &self.not_sent
    }

    /// Connections in a row after which a state counts as reached.
    pub fn held(&self) -> usize {
        let count = HELD_FOR / self.interval.max(1);
        usize::try_from(count).unwrap_or(usize::MAX).clamp(HELD.0, HELD.1)
    }

    /// Largest lag of the generator, in microseconds.
    pub fn lag(&self) -> u64 {
        self.lag
    }

    /// The connections opened between the change and the next one.
    fn since(&self, change: Change) -> impl DoubleEndedIterator<Item = (u64, &Sample)> {
        let from = self.marks.get(&change).copied().unwrap_or(0);
        let mut next = self.marks.range((Excluded(change), Unbounded));
        let to = next.next().map_or(u64::MAX, |(_, at)| *at);
        self.samples
            .range((from, 0)..(to, 0))
            .map(|((sent, _), sample)| (*sent, sample))
    }

    /// Whether the last `count` connections of that part are what should follow the change.
    pub fn holds(&self, change: Change, count: usize) -> bool {
        let fits = |sample: &Sample| is_established(sample) == (change != Change::Applied);
        let mut last = self.since(change).map(|(_, sample)| sample).rev().take(count);
        let mut number = 0;
        let all = last.by_ref().all(|sample| {
            number += 1;
            fits(sample)
        });
        all && number == count
    }

    /// Microseconds from the change to the last connection that was not what should follow it.
    pub fn last_against(&self, change: Change) -> Option<u64> {
        let at = *self.marks.get(&change)?;
        let mut against = self.since(change);
        let last = against.rfind(|(_, sample)| is_established(sample) == (change == Change::Applied));
        last.map(|(sent, _)| sent - at)
    }

    /// How it closed after the policy was applied; none if the last connection before the deletion was established.
    pub fn closed(&self) -> Option<Closed> {
        let applied = *self.marks.get(&Change::Applied)?;
        let part: Vec<(u64, &Sample)> = self.since(Change::Applied).collect();
        if part.last().is_none_or(|(_, sample)| is_established(sample)) {
            return None;
        }
        let last = part.iter().rposition(|(_, sample)| is_established(sample));
        let first_drop = part.iter().position(|(_, sample)| !is_established(sample))?;
        let other = part.iter().find_map(|(_, sample)| match sample {
            Sample::Other(text) => Some(text.clone()),
            _ => None,
        });
        let after_drop = part[first_drop..].iter();
        Some(Closed {
            after: Between {
                at_least: last.map_or(0, |last| part[last].0 - applied),
                at_most: part[last.map_or(0, |last| last + 1)].0 - applied,
            },
            half: after_drop.filter(|(_, sample)| is_established(sample)).count(),
            other,
        })
    }

    /// From the deletion to the moment from which on all connections were established; none if the last one was not.
    pub fn opened(&self) -> Option<Between> {
        let deleted = *self.marks.get(&Change::Deleted)?;
        let part: Vec<(u64, &Sample)> = self.since(Change::Deleted).collect();
        let last_bad = part.iter().rposition(|(_, sample)| !is_established(sample));
        let first = part.get(last_bad.map_or(0, |at| at + 1))?;
        Some(Between {
            at_least: last_bad.map_or(0, |at| part[at].0 - deleted),
            at_most: first.0 - deleted,
        })
    }

    /// The part in numbers, for people.
    pub fn summary(&self, change: Change) -> String {
        let (mut established, mut dropped, mut other) = (0, 0, 0);
        for (_, sample) in self.since(change) {
            match sample {
                Sample::Established => established += 1,
                Sample::Dropped => dropped += 1,
                Sample::Other(_) => other += 1,
            }
        }
        format!("connections: {established} established, {dropped} dropped, {other} failed otherwise")
    }
}

fn is_established(sample: &Sample) -> bool {
    matches!(sample, Sample::Established)
}

#[cfg(test)]
mod tests {
    use super::*;
    use meshproof_contract::{StreamSample, Timing};

    const fn between(at_least: u64, at_most: u64) -> Between {
        Between { at_least, at_most }
    }

    /// A letter a connection, 10 ms apart: `o` established, `x` dropped, `e` a local error of the agent, `r` refused.
    fn timeline(picture: &str, applied: u64, deleted: u64) -> Timeline {
        let timing = Timing::default();
        let result = |letter| match letter {
            'o' => StreamResult::Good {
                server: None,
                latency: 300,
            },
            'x' => StreamResult::Bad {
                outcome: Outcome::Timeout { timing },
            },
            'e' => StreamResult::Bad {
                outcome: crate::testing::local_error(),
            },
            _ => StreamResult::Bad {
                outcome: Outcome::Refused { timing },
            },
        };
        let samples = picture.chars().enumerate().map(|(number, letter)| StreamSample {
            number: number as u64,
            late: 0,
            result: result(letter),
        });
        let mut timeline = Timeline::default();
        timeline.add(StreamReport {
            start: 1_000_000,
            interval: 10_000,
            samples: samples.collect(),
            ..StreamReport::default()
        });
        timeline.mark(Change::Applied, 1_000_000 + applied);
        timeline.mark(Change::Deleted, 1_000_000 + deleted);
        timeline
    }

    #[test]
    fn times_run_from_the_call_to_what_holds() {
        let t = timeline("ooooooxxxxxxxooo", 35_000, 95_000);
        // Numbers 4 and 5 were established after the call at 35 ms: closed by 60 ms.
        assert_eq!(
            t.closed(),
            Some(Closed {
                after: between(15_000, 25_000),
                half: 0,
                other: None
            })
        );
        // 10, 11, 12 were dropped after the call at 95 ms; 13 is due at 130 ms.
        assert_eq!(t.opened(), Some(between(25_000, 35_000)));
        assert!(t.holds(Change::Before, 4) && t.holds(Change::Applied, 4) && t.holds(Change::Deleted, 3));
        assert!(!t.holds(Change::Deleted, 4), "not so many in a row");
    }

    #[test]
    fn what_is_established_after_the_first_drop_is_half_enforced() {
        let t = timeline("ooooxoxoxxxxoooo", 30_000, 120_000);
        assert_eq!(
            t.closed(),
            Some(Closed {
                after: between(40_000, 50_000),
                half: 2,
                other: None
            })
        );
    }

    #[test]
    fn never_closed_and_never_opened_have_no_time() {
        let t = timeline("oooooooooooo", 30_000, 60_000);
        assert_eq!(t.closed(), None);
        let t = timeline("oooxxxxxxxxx", 30_000, 60_000);
        assert_eq!(t.opened(), None);
        assert_eq!(
            t.summary(Change::Deleted),
            "connections: 0 established, 6 dropped, 0 failed otherwise"
        );
    }

    #[test]
    fn a_generator_that_lags_widens_the_interval_and_nothing_else() {
        let sample = |number: u64, late: u32, established: bool| StreamSample {
            number,
            late,
            result: match established {
                true => StreamResult::Good {
                    server: None,
                    latency: 300,
                },
                false => StreamResult::Bad {
                    outcome: Outcome::Timeout {
                        timing: Timing::default(),
                    },
                },
            },
        };
        let mut timeline = Timeline::default();
        // Number 3 was due at 30 ms and opened at 430 ms, with those that should have followed it at once.
        let mut samples: Vec<StreamSample> = (0..3).map(|number| sample(number, 0, true)).collect();
        samples.extend((3..43).map(|number| sample(number, 430_000 - 10_000 * number as u32, false)));
        samples.extend((43..60).map(|number| sample(number, 0, false)));
        timeline.add(StreamReport {
            start: 1_000_000,
            interval: 10_000,
            samples,
            lag: 400_000,
            ..StreamReport::default()
        });
        timeline.mark(Change::Applied, 1_005_000);
        let closed = timeline.closed().expect("closed");
        assert_eq!(closed.after, between(15_000, 425_000));
        assert!(timeline.holds(Change::Applied, timeline.held()));
        assert_eq!(timeline.last_against(Change::Applied), Some(15_000));
    }

    #[test]
    fn a_refusal_is_not_a_drop() {
        let t = timeline("ooorrrrrroo", 30_000, 90_000);
        assert!(t.closed().expect("closed").other.is_some());
    }

    #[test]
    fn what_was_not_sent_is_counted_separately() {
        let t = timeline("oooxxexxxoooo", 30_000, 90_000);
        assert_eq!(t.not_sent().len(), 1);
        assert_eq!(t.closed().expect("closed").other, None);
        assert!(t.holds(Change::Applied, 5), "the others suffice");
    }
}
