//! When something was done.

use super::now;
use std::time::Instant;

/// Something that was done: times on the harness's clock, since Kubernetes' own timestamps have seconds only.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// The call was made.
    pub called: Instant,
    /// It returned.
    pub returned: Instant,
}

impl Event {
    /// Something that begins now.
    pub fn begin() -> Self {
        let now = now();
        Self {
            called: now,
            returned: now,
        }
    }
    /// It returned now.
    pub fn end(mut self) -> Self {
        self.returned = now();
        self
    }
}
