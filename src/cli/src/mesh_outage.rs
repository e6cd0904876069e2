//! For how long a clustermesh-apiserver may be kept down: with the way back it must fit into the limit of a trial.

use std::{ops::RangeInclusive, time::Duration};

/// What is allowed, in seconds.
const SECONDS: RangeInclusive<u64> = 10..=300;

/// Whether it is allowed; the error says what is, for people, after the name of the option.
pub fn verify(outage: Duration) -> Result<Duration, String> {
    let (least, most) = (SECONDS.start(), SECONDS.end());
    if SECONDS.contains(&outage.as_secs()) {
        Ok(outage)
    } else {
        Err(format!("must be between {least}s and {most}s"))
    }
}

/// The same in seconds, as the harness takes it.
pub fn seconds(outage: Duration) -> u32 {
    u32::try_from(outage.as_secs()).unwrap_or(u32::MAX)
}
