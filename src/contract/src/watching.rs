//! What a watch shares with the command that started it: how often its streams probe, and that it is over.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

/// A watch, as a value of [`crate::RunShared`].
#[derive(Debug, Default)]
pub struct Watching {
    over: AtomicBool,
    /// Microseconds between two probes of a stream; 0 is the default.
    spacing: AtomicU64,
}

impl Watching {
    /// Time between two probes of a stream where nothing else is said.
    pub const SPACING: Duration = Duration::from_millis(100);

    /// Ends it: the streams are stopped and judged.
    pub fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    /// Whether it is to end.
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Sets the time between two probes of a stream.
    pub fn probe_every(&self, spacing: Duration) {
        let micros = u64::try_from(spacing.as_micros()).unwrap_or(u64::MAX);
        self.spacing.store(micros, Ordering::Relaxed);
    }

    /// The time between two probes of a stream.
    pub fn spacing(&self) -> Duration {
        match self.spacing.load(Ordering::Relaxed) {
            0 => Self::SPACING,
            micros => Duration::from_micros(micros),
        }
    }
}
