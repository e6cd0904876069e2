//! What a stream has seen and nobody has collected yet.

use meshproof_contract::{Identity, Outcome, StreamReport, StreamResult, StreamSample};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// Samples kept for the harness: more than ten minutes at 10 ms.
const MOST_SAMPLES: usize = 65_536;
/// Servers that are distinguished; a rollout does not bring more.
const MOST_SERVERS: usize = 1024;

/// A stream's record, shared by the tasks of its probes.
#[derive(Clone)]
pub(super) struct SharedRecord(Arc<Mutex<Record>>);

struct Record {
    start: u64,
    interval: u64,
    samples: VecDeque<StreamSample>,
    servers: Vec<Identity>,
    under_way: u32,
    overwritten: u64,
    lag: u64,
    connections: u32,
    ended: bool,
}

impl SharedRecord {
    /// A record that begins now.
    pub(super) fn new(interval: Duration) -> Self {
        Self(Arc::new(Mutex::new(Record {
            start: crate::clock::micros(),
            interval: micros(interval),
            samples: VecDeque::new(),
            servers: Vec::new(),
            under_way: 0,
            overwritten: 0,
            lag: 0,
            connections: 0,
            ended: false,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, Record> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A probe is sent that was due then: how late it is.
    pub(super) fn sent(&self, due: Instant) -> Duration {
        let late = due.elapsed();
        let mut record = self.lock();
        record.lag = record.lag.max(micros(late));
        record.under_way += 1;
        late
    }

    /// A probe that was sent so late has this outcome.
    pub(super) fn put(&self, number: u64, late: Duration, outcome: Outcome) {
        let mut record = self.lock();
        record.under_way = record.under_way.saturating_sub(1);
        let result = match outcome.total().filter(|_| outcome.is_success()) {
            Some(total) => StreamResult::Good {
                server: outcome.served_by().and_then(|identity| record.server(identity)),
                latency: u32::try_from(total).unwrap_or(u32::MAX),
            },
            None => StreamResult::Bad { outcome },
        };
        if record.samples.len() == MOST_SAMPLES {
            record.samples.pop_front();
            record.overwritten += 1;
        }
        let late = u32::try_from(late.as_micros()).unwrap_or(u32::MAX);
        record.samples.push_back(StreamSample { number, late, result });
    }

    pub(super) fn connections(&self, opened: u32) {
        self.lock().connections = opened;
    }

    pub(super) fn ended(&self) {
        self.lock().ended = true;
    }

    /// What is known and was not reported before.
    pub(super) fn report(&self) -> StreamReport {
        let mut record = self.lock();
        let mut samples: Vec<StreamSample> = std::mem::take(&mut record.samples).into();
        samples.sort_by_key(|sample| sample.number);
        StreamReport {
            start: record.start,
            interval: record.interval,
            samples,
            servers: record.servers.clone(),
            under_way: record.under_way,
            overwritten: record.overwritten,
            lag: record.lag,
            connections: record.connections,
            ended: record.ended,
        }
    }
}

impl Record {
    fn server(&mut self, identity: &Identity) -> Option<u32> {
        let known = self.servers.iter().position(|known| known == identity);
        let position = match known {
            Some(position) => position,
            None if self.servers.len() < MOST_SERVERS => {
                self.servers.push(identity.clone());
                self.servers.len() - 1
            }
            None => return None,
        };
        u32::try_from(position).ok()
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use meshproof_contract::Timing;

    #[test]
    fn each_sample_is_reported_once_and_in_order() {
        let record = SharedRecord::new(Duration::from_millis(10));
        for number in [2, 0, 1] {
            record.sent(Instant::now());
            record.put(
                number,
                Duration::ZERO,
                Outcome::Refused {
                    timing: Timing::default(),
                },
            );
        }
        record.sent(Instant::now());
        let report = record.report();
        let numbers: Vec<u64> = report.samples.iter().map(|sample| sample.number).collect();
        assert_eq!((numbers, report.under_way), (vec![0, 1, 2], 1));
        assert_eq!(record.report().samples, []);
    }

    #[test]
    fn what_nobody_collects_is_overwritten_and_counted() {
        let record = SharedRecord::new(Duration::from_millis(10));
        for number in 0..MOST_SAMPLES as u64 + 3 {
            record.put(
                number,
                Duration::ZERO,
                Outcome::Refused {
                    timing: Timing::default(),
                },
            );
        }
        let report = record.report();
        assert_eq!((report.overwritten, report.samples.len()), (3, MOST_SAMPLES));
        assert_eq!(report.samples[0].number, 3);
    }
}
