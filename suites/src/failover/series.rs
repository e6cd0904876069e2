//! The arithmetic of availability: what a stream's samples say about outages, losses and who answered. Pure; times are
//! microseconds of the agent's clock.
//!
//! An outage is known as an interval: it began after the last good probe was sent and ended before the next good one
//! was, and it lasted from the first loss to the last one. Those are the times at which probes were really sent: a
//! generator that lags makes the interval wider, and nothing else.

use meshproof_contract::{Identity, Outcome, StreamReport, StreamResult, StreamSample};
use std::collections::BTreeMap;

/// Everything known of one stream.
#[derive(Clone, Debug, Default)]
pub struct Series {
    start: u64,
    interval: u64,
    samples: BTreeMap<u64, Sample>,
    /// The first probe whose outcome is not known yet.
    open: u64,
    servers: Vec<Identity>,
    /// Largest lag of the generator, in microseconds.
    pub lag: u64,
    /// Samples that nobody collected in time.
    pub overwritten: u64,
    /// How often a shared connection was opened.
    pub connections: u32,
}

/// A probe whose outcome is known.
#[derive(Clone, Debug)]
struct Sample {
    /// Microseconds by which it was sent later than it was due.
    late: u64,
    result: StreamResult,
}

impl Sample {
    /// Why the agent could not send it: nothing follows from it then.
    fn not_sent(&self) -> Option<&str> {
        match &self.result {
            StreamResult::Bad {
                outcome: Outcome::LocalError { reason },
            } => Some(reason.as_str()),
            _ => None,
        }
    }
}

/// Losses in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outage {
    /// When the first lost probe was sent.
    pub first: u64,
    /// When the last one was.
    pub last: u64,
    /// How many.
    pub losses: u64,
    /// Longer than this, in microseconds.
    pub at_least: u64,
    /// Shorter than this; unknown when the stream ended with a loss.
    pub at_most: Option<u64>,
}

/// What a stretch of a stream comes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Probes whose outcome is known.
    pub sent: u64,
    /// Those that failed.
    pub lost: u64,
    /// Most losses in a row, as an outage.
    pub longest: Option<Outage>,
    /// Longest time between two answers, from answer to answer: what a user waits.
    pub longest_gap: u64,
    /// Losses divided by the rate.
    pub loss_derived: u64,
    /// From the first loss to the last: with [`Figures::loss_derived`] it shows flapping.
    pub first_to_last: u64,
}

impl Series {
    /// Takes a report in.
    pub fn add(&mut self, report: StreamReport) {
        (self.start, self.interval) = (report.start, report.interval);
        self.servers = report.servers;
        self.lag = self.lag.max(report.lag);
        self.overwritten += report.overwritten;
        self.connections = self.connections.max(report.connections);
        let samples = report.samples.into_iter();
        self.samples
            .extend(samples.map(|StreamSample { number, late, result }| {
                let late = u64::from(late);
                (number, Sample { late, result })
            }));
        while self.samples.contains_key(&self.open) {
            self.open += 1;
        }
    }

    /// Microseconds between two probes.
    pub fn interval(&self) -> u64 {
        self.interval
    }

    /// Probes in a row, good or lost, after which a state counts as stable: those of 200 ms, and 5 at least.
    pub fn stable_count(&self) -> usize {
        usize::try_from(200_000 / self.interval.max(1))
            .unwrap_or(usize::MAX)
            .clamp(5, 20)
    }

    /// When a probe was due.
    fn due(&self, number: u64) -> u64 {
        self.start + number * self.interval
    }

    /// Samples that were sent in `from..`, with that time; those that the agent could not send are left out.
    fn since(&self, from: u64) -> impl DoubleEndedIterator<Item = (u64, &StreamResult)> {
        self.sent(from, self.samples.range(..))
    }

    fn sent<'s>(
        &'s self,
        from: u64,
        samples: impl DoubleEndedIterator<Item = (&'s u64, &'s Sample)>,
    ) -> impl DoubleEndedIterator<Item = (u64, &'s StreamResult)> {
        let samples = samples.filter(|(_, sample)| sample.not_sent().is_none());
        let samples = samples.map(|(number, sample)| (self.due(*number) + sample.late, &sample.result));
        samples.filter(move |(sent, _)| *sent >= from)
    }

    /// Answers since `from`: when each was there, and by whom. Latencies count from when a probe was due.
    fn answers(&self, from: u64) -> impl Iterator<Item = (u64, &StreamResult)> {
        let samples = self.samples.iter();
        samples.filter_map(move |(number, sample)| match &sample.result {
            StreamResult::Good { latency, .. } if self.due(*number) + sample.late >= from => {
                Some((self.due(*number) + u64::from(*latency), &sample.result))
            }
            _ => None,
        })
    }

    /// The longest time since `from` in which no probe was sent: so well are times known.
    pub fn resolution(&self, from: u64) -> u64 {
        let sent: Vec<u64> = self.since(from).map(|(sent, _)| sent).collect();
        let gaps = sent.windows(2).map(|pair| pair[1].saturating_sub(pair[0]));
        gaps.max().unwrap_or(self.interval).max(self.interval)
    }

    /// Who answered; none for a loss, and where no agent answers.
    fn server(&self, result: &StreamResult) -> Option<&Identity> {
        match result {
            StreamResult::Good { server, .. } => self.servers.get(usize::try_from((*server)?).ok()?),
            StreamResult::Bad { .. } => None,
        }
    }

    /// Losses in a row, in order. A probe that was late may have been sent after the next one: no time passed then.
    pub fn outages(&self, from: u64) -> Vec<Outage> {
        let mut found: Vec<Outage> = Vec::new();
        let mut open = false;
        // When the last good probe was sent.
        let mut good = None;
        for (sent, result) in self.since(from) {
            match (result, open) {
                (StreamResult::Good { .. }, _) => {
                    if let (Some(outage), true) = (found.last_mut(), open) {
                        let began = good.unwrap_or(outage.first.saturating_sub(self.interval));
                        outage.at_most = Some(sent.saturating_sub(began));
                    }
                    (open, good) = (false, Some(sent));
                }
                (StreamResult::Bad { .. }, true) => {
                    if let Some(outage) = found.last_mut() {
                        outage.losses += 1;
                        outage.last = sent;
                        outage.at_least = sent.saturating_sub(outage.first);
                    }
                }
                (StreamResult::Bad { .. }, false) => {
                    found.push(Outage {
                        first: sent,
                        last: sent,
                        losses: 1,
                        at_least: 0,
                        at_most: None,
                    });
                    open = true;
                }
            }
        }
        found
    }

    /// What the stream from `from` on comes to.
    pub fn figures(&self, from: u64) -> Figures {
        let outages = self.outages(from);
        let sent = self.since(from).count() as u64;
        let lost = outages.iter().map(|outage| outage.losses).sum();
        let longest = outages.iter().copied().max_by_key(|outage| outage.losses);
        let first_to_last = match (outages.first(), outages.last()) {
            (Some(first), Some(last)) => last.last.saturating_sub(first.first),
            _ => 0,
        };
        Figures {
            sent,
            lost,
            longest,
            longest_gap: self.longest_gap(from),
            loss_derived: lost * self.interval,
            first_to_last,
        }
    }

    fn longest_gap(&self, from: u64) -> u64 {
        let mut answers: Vec<u64> = self.answers(from).map(|(at, _)| at).collect();
        answers.sort_unstable();
        answers.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0)
    }

    /// When the last loss since `from` was sent.
    pub fn last_loss(&self, from: u64) -> Option<u64> {
        self.since(from)
            .rev()
            .find(|(_, result)| matches!(result, StreamResult::Bad { .. }))
            .map(|(due, _)| due)
    }

    /// When the first probe after that one was sent that was answered.
    pub fn answered_after(&self, sent: u64) -> Option<u64> {
        let mut later = self.since(sent + 1);
        later.find_map(|(sent, result)| matches!(result, StreamResult::Good { .. }).then_some(sent))
    }

    /// The losses since `from`, by kind.
    pub fn kinds(&self, from: u64) -> BTreeMap<String, u64> {
        let mut kinds = BTreeMap::new();
        for (_, result) in self.since(from) {
            if let StreamResult::Bad { outcome } = result {
                *kinds.entry(failure_kind(outcome).to_owned()).or_default() += 1;
            }
        }
        kinds
    }

    /// Whether every loss since `from` is an answer that did not come in time: nothing was refused or ended.
    pub fn lost_only_by_waiting(&self, from: u64) -> bool {
        self.since(from).all(|(_, result)| match result {
            StreamResult::Good { .. } => true,
            StreamResult::Bad { outcome } => matches!(outcome, Outcome::Timeout { .. } | Outcome::Stalled { .. }),
        })
    }

    /// Why the agent could not send probes since `from`, one entry each: a local problem, not the network's.
    pub fn not_sent(&self, from: u64) -> Vec<&str> {
        let samples = self.samples.iter();
        let since = samples.filter(|(number, sample)| self.due(**number) + sample.late >= from);
        since.filter_map(|(_, sample)| sample.not_sent()).collect()
    }

    /// When the first answer since `from` came by a server that fits.
    pub fn first_answer(&self, from: u64, fits: impl Fn(&Identity) -> bool) -> Option<u64> {
        let mut answers = self.answers(from);
        answers.find_map(|(at, result)| self.server(result).is_some_and(&fits).then_some(at))
    }

    /// When the last probe since `from` was sent that was answered by a server that fits.
    pub fn last_answered(&self, from: u64, fits: impl Fn(&Identity) -> bool) -> Option<u64> {
        self.last_answered_before(from, u64::MAX, fits)
    }

    /// The same, for probes that were sent before `until`.
    pub fn last_answered_before(&self, from: u64, until: u64, fits: impl Fn(&Identity) -> bool) -> Option<u64> {
        self.since(from)
            .rev()
            .skip_while(|(due, _)| *due >= until)
            .find(|(_, result)| self.server(result).is_some_and(&fits))
            .map(|(due, _)| due)
    }

    /// Answers since `from` by each cluster, and by any.
    pub fn by_cluster(&self, from: u64) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for (_, result) in self.since(from) {
            if let Some(server) = self.server(result) {
                *counts.entry(server.cluster.clone()).or_default() += 1;
            }
        }
        counts
    }

    /// Who answered the last good probe that was due before `until`.
    pub fn last_server(&self, until: u64) -> Option<&Identity> {
        self.since(0)
            .take_while(|(due, _)| *due < until)
            .filter_map(|(_, result)| self.server(result))
            .last()
    }

    /// The last `count` of the probes since `from` before the first whose outcome is not known yet: behind that one,
    /// answers come first and losses last, so that what is known there is better than what is true.
    fn decided(&self, from: u64, count: usize) -> Option<Vec<&StreamResult>> {
        let decided = self.sent(from, self.samples.range(..self.open)).rev();
        let last: Vec<_> = decided.map(|(_, result)| result).take(count).collect();
        (last.len() == count).then_some(last)
    }

    /// Whether the last `count` probes were all good, and all were due since `from`.
    pub fn is_stable(&self, from: u64, count: usize, fits: impl Fn(Option<&Identity>) -> bool) -> bool {
        let good = |result: &&StreamResult| matches!(result, StreamResult::Good { .. }) && fits(self.server(result));
        self.decided(from, count).is_some_and(|last| last.iter().all(good))
    }

    /// Whether the last `count` probes since `from` were all lost.
    pub fn is_silent(&self, from: u64, count: usize) -> bool {
        let bad = |result: &&StreamResult| matches!(result, StreamResult::Bad { .. });
        self.decided(from, count).is_some_and(|last| last.iter().all(bad))
    }

    /// When the newest probe was sent of which, and of all before it, the outcome is known.
    pub fn newest(&self) -> Option<u64> {
        let (number, sample) = self.samples.range(..self.open).next_back()?;
        Some(self.due(*number) + sample.late)
    }
}

/// What became of a probe that failed.
fn failure_kind(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Refused { .. } => "refused",
        Outcome::Reset { .. } => "reset",
        Outcome::Closed { .. } => "closed early",
        Outcome::Timeout { .. } => "timeout",
        Outcome::Stalled { .. } => "stalled",
        Outcome::Unreachable { .. } => "unreachable",
        Outcome::Denied { .. } => "refused by the client's node",
        Outcome::NameError { .. } => "name not resolved",
        Outcome::Dns { .. } => "DNS error code",
        Outcome::Answered { .. } => "HTTP error status",
        Outcome::Corrupted { .. } => "corrupted",
        Outcome::LocalError { .. } => "not sent",
        Outcome::PathMtu { .. } | Outcome::Series { .. } => "not a stream's outcome",
    }
}

#[cfg(test)]
mod tests;
