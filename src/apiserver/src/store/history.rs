//! The bounded record of changes to one resource. Watches are cursors into it: a slow one costs no memory, it gets an
//! error that says 410 when what it has not seen is dropped.

use crate::{object::Object, sync};
use std::{collections::VecDeque, sync::RwLock};
use tokio::sync::watch;

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Added,
    Modified,
    Deleted,
}

/// One change.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub version: u64,
    pub change: Change,
    /// The object after the change; when deleted, its last state.
    pub object: Object,
    /// The object before the change, by which a selector knows whether the watcher had it.
    pub before: Option<Object>,
}

pub(super) struct History {
    ring: RwLock<Ring>,
    latest: watch::Sender<u64>,
}

struct Ring {
    records: VecDeque<Record>,
    capacity: usize,
    /// Versions up to here cannot be started from any more.
    dropped: u64,
    /// The resource is no longer served.
    ended: bool,
}

impl History {
    /// Begins after `version`.
    pub fn new(version: u64, capacity: usize) -> Self {
        let ring = Ring {
            records: VecDeque::new(),
            capacity,
            dropped: 0,
            ended: false,
        };
        Self {
            ring: RwLock::new(ring),
            latest: watch::Sender::new(version),
        }
    }

    pub fn push(&self, record: Record) {
        let mut ring = sync::write(&self.ring);
        if ring.records.len() == ring.capacity
            && let Some(oldest) = ring.records.pop_front()
        {
            ring.dropped = oldest.version;
        }
        ring.records.push_back(record);
    }

    /// Wakes the watches.
    pub fn announce(&self, version: u64) {
        self.latest.send_modify(|latest| *latest = version.max(*latest));
    }

    /// Ends the watches, once they have seen every record.
    pub fn end(&self) {
        sync::write(&self.ring).ended = true;
        self.latest.send_modify(|_| {});
    }

    /// True when no record will come any more.
    pub fn has_ended(&self) -> bool {
        sync::read(&self.ring).ended
    }

    /// Told of every new record.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.latest.subscribe()
    }

    /// The records after `version`, or the oldest version to start from when some of them are gone.
    pub fn after(&self, version: u64, at_most: usize) -> Result<Vec<Record>, u64> {
        let ring = sync::read(&self.ring);
        if version < ring.dropped {
            return Err(ring.dropped);
        }
        let from = ring.records.partition_point(|record| record.version <= version);
        Ok(ring.records.iter().skip(from).take(at_most).cloned().collect())
    }
}
