//! What a machine's thread waits on: descriptors, a precise timer and a wake-up from other threads. And the queue of
//! what is due later.
//!
//! Not tokio: its timer counts in milliseconds, and a link's latency is two of them.

use nix::sys::{
    epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
    eventfd::{EfdFlags, EventFd},
    time::TimeSpec,
    timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags},
};
use std::{cmp::Ordering, collections::BinaryHeap, io, os::fd::AsFd, sync::Arc, time::Instant};

const WAKE: u64 = u64::MAX;
const TIMER: u64 = u64::MAX - 1;

/// Wakes a reactor from another thread.
#[derive(Clone, Debug)]
pub(crate) struct Waker(Arc<EventFd>);

impl Waker {
    pub(crate) fn wake(&self) {
        // It only fails when the counter is full, and then the reactor is awake already.
        let _ = self.0.write(1);
    }
}

/// An epoll with a timer.
#[derive(Debug)]
pub(crate) struct Reactor {
    epoll: Epoll,
    timer: TimerFd,
    armed: Option<Instant>,
    waker: Waker,
    events: Vec<EpollEvent>,
    ready: Vec<u64>,
}

impl Reactor {
    pub(crate) fn new() -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let wake = EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        let timer = TimerFd::new(
            ClockId::CLOCK_MONOTONIC,
            TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK,
        )?;
        epoll.add(&wake, EpollEvent::new(EpollFlags::EPOLLIN, WAKE))?;
        epoll.add(&timer, EpollEvent::new(EpollFlags::EPOLLIN, TIMER))?;
        Ok(Self {
            epoll,
            timer,
            armed: None,
            waker: Waker(Arc::new(wake)),
            events: vec![EpollEvent::empty(); 64],
            ready: Vec::new(),
        })
    }

    pub(crate) fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Watches a descriptor for input; `token` is what [`wait`](Self::wait) will say.
    pub(crate) fn add(&self, descriptor: impl AsFd, token: u64) -> io::Result<()> {
        Ok(self
            .epoll
            .add(descriptor, EpollEvent::new(EpollFlags::EPOLLIN, token))?)
    }

    pub(crate) fn remove(&self, descriptor: impl AsFd) -> io::Result<()> {
        Ok(self.epoll.delete(descriptor)?)
    }

    /// Waits for input, a wake-up or the deadline; returns the tokens of what is readable.
    pub(crate) fn wait(&mut self, deadline: Option<Instant>) -> io::Result<Vec<u64>> {
        self.arm(deadline)?;
        let count = match self.epoll.wait(&mut self.events, EpollTimeout::NONE) {
            Ok(count) => count,
            Err(nix::errno::Errno::EINTR) => 0,
            Err(errno) => return Err(errno.into()),
        };
        self.ready.clear();
        for event in &self.events[..count] {
            match event.data() {
                WAKE => drop(self.waker.0.read()),
                TIMER => {
                    self.armed = None;
                    let _ = self.timer.wait();
                }
                token => self.ready.push(token),
            }
        }
        Ok(self.ready.clone())
    }

    fn arm(&mut self, deadline: Option<Instant>) -> io::Result<()> {
        let Some(deadline) = deadline else { return Ok(()) };
        // A timer that fires early costs one empty round; setting it again for every later deadline costs more.
        if self.armed.is_some_and(|armed| armed <= deadline) {
            return Ok(());
        }
        let delay = deadline
            .saturating_duration_since(Instant::now())
            .max(std::time::Duration::from_nanos(1));
        self.timer.set(
            Expiration::OneShot(TimeSpec::from_duration(delay)),
            TimerSetTimeFlags::empty(),
        )?;
        self.armed = Some(deadline);
        Ok(())
    }
}

/// Things that are due later; those due at the same time come out in the order they went in.
#[derive(Debug)]
pub(crate) struct DelayQueue<T> {
    heap: BinaryHeap<Later<T>>,
    pushed: u64,
}

#[derive(Debug)]
struct Later<T> {
    due: Instant,
    number: u64,
    what: T,
}

impl<T> Default for DelayQueue<T> {
    fn default() -> Self {
        Self {
            heap: BinaryHeap::new(),
            pushed: 0,
        }
    }
}

impl<T> DelayQueue<T> {
    pub(crate) fn push(&mut self, due: Instant, what: T) {
        self.heap.push(Later {
            due,
            number: self.pushed,
            what,
        });
        self.pushed += 1;
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|later| later.due)
    }

    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<T> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|later| later.what)
    }

    /// Replaces everything in the queue, or takes it out.
    pub(crate) fn retain_map(&mut self, mut map: impl FnMut(T) -> Option<T>) {
        let heap = std::mem::take(&mut self.heap);
        self.heap = heap
            .into_iter()
            .filter_map(|later| {
                Some(Later {
                    due: later.due,
                    number: later.number,
                    what: map(later.what)?,
                })
            })
            .collect();
    }
}

impl<T> Ord for Later<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        // The heap's greatest is the earliest.
        (other.due, other.number).cmp(&(self.due, self.number))
    }
}

impl<T> PartialOrd for Later<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Later<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T> Eq for Later<T> {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn due_things_come_in_order_and_no_earlier() {
        let start = Instant::now();
        let mut queue = DelayQueue::default();
        for (millis, what) in [(5, 'c'), (1, 'a'), (5, 'd'), (2, 'b')] {
            queue.push(start + Duration::from_millis(millis), what);
        }
        assert_eq!(queue.pop_due(start), None);
        let later = start + Duration::from_millis(5);
        let order: String = std::iter::from_fn(|| queue.pop_due(later)).collect();
        assert_eq!(order, "abcd");
    }

    #[test]
    fn the_timer_is_finer_than_a_millisecond() {
        let mut reactor = Reactor::new().unwrap();
        let start = Instant::now();
        assert!(
            reactor
                .wait(Some(start + Duration::from_micros(300)))
                .unwrap()
                .is_empty()
        );
        let waited = start.elapsed();
        assert!(waited >= Duration::from_micros(300), "{waited:?}");
    }
}
