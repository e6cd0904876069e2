//! Waits until an observation says so, with a deadline, and keeps what was seen last.

use std::future::Future;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// How a wait ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Waited<V, L> {
    /// The observation came true, as many times in a row as needed: the time until the first of them began, and what it
    /// showed last.
    Seen(Duration, V),
    /// It did not; the last state seen.
    GaveUp(L),
}

/// Reads in a row that must agree, so that a state passing by is not taken for one that holds.
const IN_A_ROW: u32 = 2;

/// Observes every `interval` until `observe` answers `Ok` `IN_A_ROW` times in a row or `deadline` has passed.
pub async fn until<V, L, F, Fut>(deadline: Duration, interval: Duration, observe: F) -> Waited<V, L>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<V, L>>,
{
    in_a_row(IN_A_ROW, deadline, interval, observe).await
}

/// [`until`] for a state that cannot pass by: one `Ok` is enough.
pub async fn once<V, L, F, Fut>(deadline: Duration, interval: Duration, observe: F) -> Waited<V, L>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<V, L>>,
{
    in_a_row(1, deadline, interval, observe).await
}

async fn in_a_row<V, L, F, Fut>(times: u32, deadline: Duration, interval: Duration, mut observe: F) -> Waited<V, L>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<V, L>>,
{
    let start = Instant::now();
    let mut streak = 0;
    let mut since = Duration::ZERO;
    loop {
        let begun = Instant::now();
        match observe().await {
            Ok(value) => {
                if streak == 0 {
                    since = begun - start;
                }
                streak += 1;
                if streak == times {
                    return Waited::Seen(since, value);
                }
            }
            Err(last) => {
                streak = 0;
                if start.elapsed() >= deadline {
                    return Waited::GaveUp(last);
                }
            }
        }
        sleep_until(begun + interval).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_state_must_hold_and_its_first_sight_counts() {
        let mut reads = [false, true, false, true, true].into_iter();
        let waited = until(Duration::from_secs(60), Duration::from_secs(1), || {
            let read = reads.next().unwrap_or(true);
            async move { if read { Ok(()) } else { Err("not yet") } }
        })
        .await;
        assert_eq!(waited, Waited::Seen(Duration::from_secs(3), ()));
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_state_is_kept() {
        let mut read = 0;
        let waited = until(Duration::from_secs(5), Duration::from_secs(1), || {
            read += 1;
            async move { Err::<(), _>(read) }
        })
        .await;
        assert_eq!(waited, Waited::<(), _>::GaveUp(6));
    }
}
