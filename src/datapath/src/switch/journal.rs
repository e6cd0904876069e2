//! The node's memory of what passed: a bounded ring of flow events, and counters.

use crate::flow::{Counters, Direction, DropReason, FlowEvent};
use std::{
    collections::VecDeque,
    time::{Instant, SystemTime},
};

/// An event as it happens, before it has a number and a wall-clock time.
pub(super) type Entry = FlowEvent;

/// Ring and counters.
#[derive(Debug)]
pub(super) struct Journal {
    ring: VecDeque<FlowEvent>,
    capacity: usize,
    next: u64,
    started: (Instant, SystemTime),
    pub counters: Counters,
}

impl Journal {
    pub(super) fn new(capacity: usize, now: Instant) -> Self {
        Self {
            ring: VecDeque::with_capacity(capacity.min(1024)),
            capacity: capacity.max(1),
            next: 0,
            started: (now, SystemTime::now()),
            counters: Counters::default(),
        }
    }

    /// Wall-clock time of an instant, on one clock that does not jump.
    pub(super) fn time_of(&self, now: Instant) -> SystemTime {
        self.started.1 + now.saturating_duration_since(self.started.0)
    }

    pub(super) fn record(&mut self, mut event: Entry) {
        if self.ring.len() == self.capacity {
            self.ring.pop_front();
        }
        event.sequence = self.next;
        self.next += 1;
        self.counters.flows_seen += 1;
        self.ring.push_back(event);
    }

    pub(super) fn count_forwarded(&mut self, direction: Direction, bytes: usize) {
        *self.counters.forwarded.entry(direction).or_default() += 1;
        *self.counters.forwarded_bytes.entry(direction).or_default() += bytes as u64;
    }

    pub(super) fn count_dropped(&mut self, reason: DropReason, direction: Direction) {
        *self.counters.dropped.entry((reason, direction)).or_default() += 1;
    }

    /// Remembered events from this sequence number on, oldest first.
    pub(super) fn since(&self, from: u64) -> Vec<FlowEvent> {
        let first = self.ring.front().map_or(self.next, |event| event.sequence);
        self.ring
            .iter()
            .skip(from.saturating_sub(first) as usize)
            .cloned()
            .collect()
    }
}
