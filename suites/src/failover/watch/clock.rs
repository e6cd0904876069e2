//! The wall clock of a watch: read once, and from then on by the clock that nobody sets.

use jiff::{SignedDuration, Timestamp};
use meshproof_contract::CheckContext;
use tokio::time::Instant;

/// When a watch began, by both clocks.
struct Epoch {
    at: Timestamp,
    began: Instant,
}

impl Default for Epoch {
    fn default() -> Self {
        Self {
            at: Timestamp::now(),
            began: Instant::now(),
        }
    }
}

/// The time now.
pub fn wall(context: &CheckContext) -> Timestamp {
    let epoch = context.shared.of::<Epoch>();
    epoch.at + SignedDuration::try_from(epoch.began.elapsed()).unwrap_or_default()
}
