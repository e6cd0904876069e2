//! One stream over any length of time, in constant memory: what was lost, and when.

use jiff::{SignedDuration, Timestamp};
use meshproof_contract::{Distribution, Outcome, StreamReport, StreamResult, StreamSample};
use std::collections::BTreeMap;

/// Gaps that are kept, the first ones; further ones are counted.
const MOST_GAPS: usize = 500;
/// Latencies that are kept: of more every second one goes.
const MOST_LATENCIES: usize = 10_000;

/// Losses in a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// When the first lost probe was sent.
    pub from: Timestamp,
    /// When the next probe was sent that was answered; none: nothing was answered any more.
    pub until: Option<Timestamp>,
    /// How many were lost.
    pub losses: u64,
    /// What became of the first one.
    pub why: String,
    /// The last time that the stream is known.
    last: Timestamp,
    /// Largest lateness of a probe in it, in microseconds.
    late: u64,
}

impl Gap {
    /// How long nothing was answered.
    pub fn length(&self) -> SignedDuration {
        self.until.unwrap_or(self.last).duration_since(self.from)
    }

    /// Whether the client itself was not scheduled for a good part of it.
    fn is_clients_own(&self) -> bool {
        let late = SignedDuration::from_micros(i64::try_from(self.late).unwrap_or(i64::MAX));
        self.until.is_some() && late + late >= self.length() && self.late > 0
    }
}

/// A stream so far.
#[derive(Debug)]
pub struct Track {
    /// The wall clock where the agent's clock shows 0.
    zero: Timestamp,
    start: u64,
    interval: u64,
    next: u64,
    pending: BTreeMap<u64, StreamSample>,
    open: Option<Gap>,
    /// Probes of which the outcome is known.
    pub sent: u64,
    /// Those that were lost.
    pub lost: u64,
    /// Losses while the client was not scheduled.
    pub own: u64,
    /// Probes whose outcome nobody collected.
    pub overwritten: u64,
    /// Gaps of two or more losses that are over, and the open one at the end.
    pub gaps: Vec<Gap>,
    /// How many more there were.
    pub more_gaps: u64,
    latencies: Vec<u64>,
    /// Every so many answers' latency is kept.
    stride: u64,
    answers: u64,
    /// When the newest probe was sent whose outcome is known.
    pub known_until: Option<Timestamp>,
}

impl Track {
    /// A stream that has not begun.
    pub fn new(zero: Timestamp) -> Self {
        Self {
            zero,
            start: 0,
            interval: 0,
            next: 0,
            pending: BTreeMap::new(),
            open: None,
            sent: 0,
            lost: 0,
            own: 0,
            overwritten: 0,
            gaps: Vec::new(),
            more_gaps: 0,
            latencies: Vec::new(),
            stride: 1,
            answers: 0,
            known_until: None,
        }
    }

    /// Goes on with another stream to the same destination.
    pub fn renew(&mut self, zero: Timestamp) {
        self.flush();
        (self.zero, self.next) = (zero, 0);
    }

    /// Takes in what became known.
    pub fn add(&mut self, report: StreamReport, overwritten_before: u64) {
        (self.start, self.interval) = (report.start, report.interval);
        let samples = report.samples.into_iter();
        self.pending.extend(samples.map(|sample| (sample.number, sample)));
        let overwritten = report.overwritten.saturating_sub(overwritten_before);
        self.overwritten += overwritten;
        if overwritten > 0 {
            // What was overwritten is never reported: go on after it.
            self.next = self.pending.keys().next().copied().unwrap_or(self.next);
        }
        while let Some(sample) = self.pending.remove(&self.next) {
            self.next += 1;
            self.take(&sample);
        }
    }

    /// The open gap was no outage of the network: its losses are not counted. When it began.
    pub fn excuse(&mut self) -> Option<Timestamp> {
        let gap = self.open.take()?;
        self.lost -= gap.losses;
        self.sent -= gap.losses;
        Some(gap.from)
    }

    /// Nothing more will be known.
    pub fn end(&mut self) {
        self.flush();
        if let Some(gap) = self.open.take() {
            self.close(gap);
        }
    }

    fn flush(&mut self) {
        for sample in std::mem::take(&mut self.pending).into_values() {
            self.take(&sample);
        }
    }

    fn take(&mut self, sample: &StreamSample) {
        let late = u64::from(sample.late);
        let micros = self.start + sample.number * self.interval + late;
        let at = self.zero + SignedDuration::from_micros(i64::try_from(micros).unwrap_or(i64::MAX));
        match &sample.result {
            StreamResult::Bad {
                outcome: Outcome::LocalError { .. },
            } => return,
            StreamResult::Good { latency, .. } => {
                self.sent += 1;
                self.keep(u64::from(*latency));
                if let Some(mut gap) = self.open.take() {
                    (gap.until, gap.late) = (Some(at), gap.late.max(late));
                    self.close(gap);
                }
            }
            StreamResult::Bad { outcome } => {
                self.sent += 1;
                self.lost += 1;
                let gap = self.open.get_or_insert_with(|| Gap {
                    from: at,
                    until: None,
                    losses: 0,
                    why: outcome.to_string(),
                    last: at,
                    late: 0,
                });
                gap.losses += 1;
                gap.last = at;
                gap.late = gap.late.max(late);
            }
        }
        self.known_until = Some(at);
    }

    fn close(&mut self, gap: Gap) {
        if gap.is_clients_own() {
            self.lost -= gap.losses;
            self.sent -= gap.losses;
            self.own += gap.losses;
        } else if gap.losses < 2 {
            // Counted, and no gap.
        } else if self.gaps.len() < MOST_GAPS {
            self.gaps.push(gap);
        } else {
            self.more_gaps += 1;
        }
    }

    fn keep(&mut self, latency: u64) {
        if self.answers.is_multiple_of(self.stride) {
            self.latencies.push(latency);
        }
        self.answers += 1;
        if self.latencies.len() == MOST_LATENCIES {
            let mut second = false;
            self.latencies.retain(|_| {
                second = !second;
                second
            });
            self.stride *= 2;
        }
    }

    /// The latencies of its answers.
    pub fn latencies(&self) -> Option<Distribution> {
        Distribution::of(self.latencies.iter().copied())
    }

    /// The longest gap.
    pub fn longest(&self) -> Option<&Gap> {
        self.gaps.iter().max_by_key(|gap| gap.length())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use meshproof_contract::Timing;

    fn sample(number: u64, good: bool, late: u32) -> StreamSample {
        let bad = StreamResult::Bad {
            outcome: Outcome::Timeout {
                timing: Timing::default(),
            },
        };
        let answered = StreamResult::Good {
            server: None,
            latency: 300,
        };
        StreamSample {
            number,
            late,
            result: if good { answered } else { bad },
        }
    }

    fn report(samples: Vec<StreamSample>, overwritten: u64) -> StreamReport {
        StreamReport {
            interval: 100_000,
            samples,
            overwritten,
            ..StreamReport::default()
        }
    }

    fn track(samples: Vec<StreamSample>) -> Track {
        let mut track = Track::new(Timestamp::UNIX_EPOCH);
        track.add(report(samples, 0), 0);
        track
    }

    #[test]
    fn a_gap_lasts_from_the_first_loss_to_the_next_answer() {
        let lost = 10..15;
        let mut track = track((0..30).map(|n| sample(n, !lost.contains(&n), 0)).collect());
        track.end();
        assert_eq!((track.sent, track.lost, track.gaps.len()), (30, 5, 1));
        assert_eq!(track.gaps[0].length(), SignedDuration::from_millis(500));
        assert_eq!(track.gaps[0].from, Timestamp::UNIX_EPOCH + SignedDuration::from_secs(1));
        assert_eq!(track.latencies().map(|l| l.count), Some(25));
    }

    #[test]
    fn outcomes_out_of_order_and_a_gap_at_the_end_are_taken_in() {
        let mut track = track(vec![sample(0, true, 0), sample(2, true, 0)]);
        track.add(
            report(vec![sample(1, false, 0), sample(3, false, 0), sample(4, false, 0)], 0),
            0,
        );
        track.end();
        assert_eq!((track.sent, track.lost), (5, 3));
        assert_eq!((track.gaps.len(), track.gaps[0].until), (1, None));
    }

    #[test]
    fn a_client_that_was_not_scheduled_is_no_gap_of_the_network() {
        let mut track = track(vec![
            sample(0, true, 0),
            sample(1, false, 300_000),
            sample(2, false, 200_000),
            sample(3, true, 100_000),
        ]);
        track.end();
        assert_eq!((track.sent, track.lost, track.own, track.gaps.len()), (2, 0, 2, 0));
    }

    #[test]
    fn what_nobody_collected_is_counted_and_passed_over() {
        let mut track = track(vec![sample(0, true, 0)]);
        track.add(report(vec![sample(50, true, 0)], 49), 0);
        assert_eq!((track.sent, track.overwritten), (2, 49));
    }

    #[test]
    fn memory_does_not_grow_with_time() {
        let mut track = track(Vec::new());
        for round in 0..100u64 {
            let samples = (0..1_000).map(|n| sample(round * 1_000 + n, n % 10 > 1, 0)).collect();
            track.add(report(samples, 0), 0);
        }
        assert_eq!((track.sent, track.lost), (100_000, 20_000));
        assert!(
            track.gaps.len() == MOST_GAPS && track.more_gaps == 9_500,
            "{}",
            track.more_gaps
        );
        assert!(track.latencies.len() < MOST_LATENCIES && track.pending.is_empty());
    }
}
