//! What a stream of connections showed around two changes. Pure: numbers in, times out.

use meshproof_contract::{Outcome, StreamReport, StreamResult};
use std::collections::BTreeMap;

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
    Stood,
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
    untried: Vec<String>,
}

/// How the paths were closed.
#[derive(Debug, PartialEq, Eq)]
pub struct Closed {
    /// Microseconds from the call to the end of the interval in which the last connection stood.
    pub after: u64,
    /// Connections that stood after one had been dropped.
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
                    self.untried.push(reason);
                    continue;
                }
                StreamResult::Good { .. } => Sample::Stood,
                StreamResult::Bad {
                    outcome: Outcome::Timeout { .. },
                } => Sample::Dropped,
                StreamResult::Bad { outcome } => Sample::Other(outcome.to_string()),
            };
            self.samples.insert(due, seen);
        }
    }

    /// The change was asked for at this time of the agent's clock.
    pub fn mark(&mut self, change: Change, micros: u64) {
        self.marks.insert(change, micros);
    }

    /// Why the agent could not even try connections, one entry each: they say nothing.
    pub fn untried(&self) -> &[String] {
        &self.untried
    }

    /// Largest lag of the generator, in microseconds.
    pub fn lag(&self) -> u64 {
        self.lag
    }

    /// The connections due between the change and the next one.
    fn of(&self, change: Change) -> impl DoubleEndedIterator<Item = (u64, &Sample)> {
        let from = self.marks.get(&change).copied().unwrap_or(0);
        let next = self
            .marks
            .range((std::ops::Bound::Excluded(change), std::ops::Bound::Unbounded));
        let to = next.map(|(_, at)| *at).next().unwrap_or(u64::MAX);
        self.samples.range(from..to).map(|(due, sample)| (*due, sample))
    }

    /// Whether the last `held` connections of that part are what should follow the change.
    pub fn holds(&self, change: Change, held: usize) -> bool {
        let fits = |sample: &Sample| matches!(sample, Sample::Stood) == (change != Change::Applied);
        let mut last = self.of(change).map(|(_, sample)| sample).rev().take(held);
        let mut number = 0;
        let all = last.by_ref().all(|sample| {
            number += 1;
            fits(sample)
        });
        all && number == held
    }

    /// How it closed after the policy was applied; none if the last connection before the deletion stood.
    pub fn closed(&self) -> Option<Closed> {
        let applied = *self.marks.get(&Change::Applied)?;
        let part: Vec<(u64, &Sample)> = self.of(Change::Applied).collect();
        let stood = |sample: &Sample| matches!(sample, Sample::Stood);
        if part.last().is_none_or(|(_, sample)| stood(sample)) {
            return None;
        }
        let last = part.iter().rev().find(|(_, sample)| stood(sample)).map(|(due, _)| *due);
        let first_drop = part.iter().position(|(_, sample)| !stood(sample))?;
        let other = part.iter().find_map(|(_, sample)| match sample {
            Sample::Other(text) => Some(text.clone()),
            _ => None,
        });
        Some(Closed {
            after: last.map_or(0, |due| (due + self.interval).saturating_sub(applied)),
            half: part[first_drop..].iter().filter(|(_, sample)| stood(sample)).count(),
            other,
        })
    }

    /// Microseconds from the deletion to the first connection that stood and all after it did; none if the last one did not.
    pub fn opened(&self) -> Option<u64> {
        let deleted = *self.marks.get(&Change::Deleted)?;
        let part: Vec<(u64, &Sample)> = self.of(Change::Deleted).collect();
        let last_bad = part.iter().rposition(|(_, sample)| !matches!(sample, Sample::Stood));
        let first = part.get(last_bad.map_or(0, |at| at + 1))?;
        Some(first.0 - deleted)
    }

    /// The part in words: how many stood, how many did not.
    pub fn tell(&self, change: Change) -> String {
        let (mut stood, mut dropped, mut other) = (0, 0, 0);
        for (_, sample) in self.of(change) {
            match sample {
                Sample::Stood => stood += 1,
                Sample::Dropped => dropped += 1,
                Sample::Other(_) => other += 1,
            }
        }
        format!("of its connections {stood} stood, {dropped} were dropped, {other} ended otherwise")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use meshproof_contract::{StreamSample, Timing};

    /// A letter a connection, 10 ms apart: `o` stood, `x` dropped, `e` an error of the agent's own, `r` refused.
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
        // Numbers 4 and 5 stood after the call at 35 ms: closed by 60 ms.
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
    fn what_stood_after_the_first_drop_is_half_enforced() {
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
    fn never_closed_and_never_opened_are_told() {
        let t = timeline("oooooooooooo", 30_000, 60_000);
        assert_eq!(t.closed(), None);
        let t = timeline("oooxxxxxxxxx", 30_000, 60_000);
        assert_eq!(t.opened(), None);
        assert_eq!(
            t.tell(Change::Deleted),
            "of its connections 0 stood, 6 were dropped, 0 ended otherwise"
        );
    }

    #[test]
    fn a_refusal_is_no_drop() {
        let t = timeline("ooorrrrrroo", 30_000, 90_000);
        assert!(t.closed().expect("closed").other.is_some());
    }

    #[test]
    fn what_was_not_tried_is_counted_apart() {
        let t = timeline("oooxxexxxoooo", 30_000, 90_000);
        assert_eq!(t.untried().len(), 1);
        assert_eq!(t.closed().expect("closed").other, None);
        assert!(t.holds(Change::Applied, 5), "the others tell enough");
    }
}
