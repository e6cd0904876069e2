//! How many sockets this process may hold.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Kept for servers, timers and the harness's streams.
const RESERVED: u64 = 256;
/// More exchanges at once than this only queue behind each other on one core.
const MOST: u64 = 4096;

/// Raises the limit to what is permitted and returns how many exchanges may be under way at once.
pub(crate) fn raise_limit() -> usize {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((1024, 1024));
    let soft = match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => hard,
        Err(_) => soft,
    };
    exchanges(soft)
}

/// Half of what is not reserved: the other half serves other agents.
fn exchanges(descriptors: u64) -> usize {
    (descriptors.saturating_sub(RESERVED) / 2).clamp(16, MOST) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exchanges_stay_within_the_descriptors() {
        assert_eq!(exchanges(1024), 384);
        assert_eq!(exchanges(1 << 20), MOST as usize);
        assert_eq!(exchanges(10), 16);
    }
}
