//! What a stream of connections showed around two changes. Pure: numbers in, times out.

use meshproof_contract::{Outcome, StreamReport, StreamResult};
use std::{
    collections::BTreeMap,
    ops::Bound::{Excluded, Unbounded},
};

/// Connections in a row after which a state counts as reached.
pub const HELD: usize = 25;

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

/// The connections of a stream by the time at which they were due, in microseconds of the agent's clock.
#[derive(Debug, Default)]
pub struct Timeline {
    samples: BTreeMap<u64, Sample>,
    marks: BTreeMap<Change, u64>,
    interval: u64,
    lag: u64,
    not_sent: Vec<String>,
}

/// How the paths were closed.
#[derive(Debug, PartialEq, Eq)]
pub struct Closed {
    /// Microseconds from the call to the end of the interval in which the last connection was established.
    pub after: u64,
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
            let due = report.start + sample.number * report.interval;
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
            self.samples.insert(due, seen);
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

    /// Largest lag of the generator, in microseconds.
    pub fn lag(&self) -> u64 {
        self.lag
    }

    /// The connections due between the change and the next one.
    fn since(&self, change: Change) -> impl DoubleEndedIterator<Item = (u64, &Sample)> {
        let from = self.marks.get(&change).copied().unwrap_or(0);
        let mut next = self.marks.range((Excluded(change), Unbounded));
        let to = next.next().map_or(u64::MAX, |(_, at)| *at);
        self.samples.range(from..to).map(|(due, sample)| (*due, sample))
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

    /// How it closed after the policy was applied; none if the last connection before the deletion was established.
    pub fn closed(&self) -> Option<Closed> {
        let applied = *self.marks.get(&Change::Applied)?;
        let part: Vec<(u64, &Sample)> = self.since(Change::Applied).collect();
        if part.last().is_none_or(|(_, sample)| is_established(sample)) {
            return None;
        }
        let mut established = part.iter().filter(|(_, sample)| is_established(sample));
        let last = established.next_back().map(|(due, _)| *due);
        let first_drop = part.iter().position(|(_, sample)| !is_established(sample))?;
        let other = part.iter().find_map(|(_, sample)| match sample {
            Sample::Other(text) => Some(text.clone()),
            _ => None,
        });
        let after_drop = part[first_drop..].iter();
        Some(Closed {
            after: last.map_or(0, |due| (due + self.interval).saturating_sub(applied)),
            half: after_drop.filter(|(_, sample)| is_established(sample)).count(),
            other,
        })
    }

    /// Microseconds from the deletion to the first connection from which on all were established; none if the last one
    /// was not.
    pub fn opened(&self) -> Option<u64> {
        let deleted = *self.marks.get(&Change::Deleted)?;
        let part: Vec<(u64, &Sample)> = self.since(Change::Deleted).collect();
        let last_bad = part.iter().rposition(|(_, sample)| !is_established(sample));
        let first = part.get(last_bad.map_or(0, |at| at + 1))?;
        Some(first.0 - deleted)
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
                after: 25_000,
                half: 0,
                other: None
            })
        );
        // 10, 11, 12 were dropped after the call at 95 ms; 13 is due at 130 ms.
        assert_eq!(t.opened(), Some(35_000));
        assert!(t.holds(Change::Before, 4) && t.holds(Change::Applied, 4) && t.holds(Change::Deleted, 3));
        assert!(!t.holds(Change::Deleted, 4), "not so many in a row");
    }

    #[test]
    fn what_is_established_after_the_first_drop_is_half_enforced() {
        let t = timeline("ooooxoxoxxxxoooo", 30_000, 120_000);
        assert_eq!(
            t.closed(),
            Some(Closed {
                after: 50_000,
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
