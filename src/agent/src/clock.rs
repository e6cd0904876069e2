//! The agent's clock as the harness sees it.

use nix::time::{ClockId, clock_gettime};

/// CLOCK_MONOTONIC in microseconds.
pub(crate) fn micros() -> u64 {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |now| {
        u64::try_from(now.tv_sec()).unwrap_or(0) * 1_000_000 + u64::try_from(now.tv_nsec()).unwrap_or(0) / 1000
    })
}
