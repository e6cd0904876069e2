//! Time with the kernel's resolution: the runtime's own timer rounds to a millisecond, which is more than many a round
//! trip.

use nix::sys::{
    time::TimeSpec,
    timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags},
};
use std::{io, os::fd::AsFd, time::Duration};
use tokio::{io::unix::AsyncFd, time::Instant};

/// Wakes up at the points of a schedule.
#[derive(Debug)]
pub(crate) struct Ticker {
    start: Instant,
    interval: Duration,
    timer: AsyncFd<Timer>,
}

#[derive(Debug)]
struct Timer(TimerFd);

impl std::os::fd::AsRawFd for Timer {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        std::os::fd::AsRawFd::as_raw_fd(&self.0.as_fd())
    }
}

impl Ticker {
    /// A schedule that starts now.
    pub(crate) fn new(interval: Duration) -> io::Result<Self> {
        let timer = TimerFd::new(
            ClockId::CLOCK_MONOTONIC,
            TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC,
        )?;
        // SAFETY: `Timer` owns its descriptor, always returns the same one, and is not closed before the `AsyncFd` is
        // dropped.
        #[allow(unsafe_code)]
        let timer = unsafe { AsyncFd::register(Timer(timer)) }?;
        Ok(Self {
            start: Instant::now(),
            interval,
            timer,
        })
    }

    /// When number `number` is due.
    pub(crate) fn due(&self, number: u32) -> Instant {
        self.start + self.interval * number
    }

    /// Sleeps until then; at once if that is past.
    pub(crate) async fn wait_until(&mut self, due: Instant) -> io::Result<()> {
        loop {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            let once = Expiration::OneShot(TimeSpec::from_duration(left));
            self.timer.get_ref().0.set(once, TimerSetTimeFlags::empty())?;
            let mut ready = self.timer.readable().await?;
            // Setting the timer again resets it: there is nothing to read.
            ready.clear_ready();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_never_wakes_early() {
        let mut ticker = Ticker::new(Duration::from_micros(300)).expect("a timer");
        for number in 0..50 {
            let due = ticker.due(number);
            ticker.wait_until(due).await.expect("waits");
            assert!(Instant::now() >= due, "number {number} came early");
        }
    }
}
