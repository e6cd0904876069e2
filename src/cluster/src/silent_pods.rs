//! Containers whose commands do not end: a frozen agent costs each question its whole deadline. Waited for once, and
//! remembered, so that the checks after it only pay for a short look from time to time. Pure but for its lock.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// For how long a container that was silent is not asked at all.
const REMEMBERED: Duration = Duration::from_secs(60);
/// How long it is waited for after that: one that works again answers in far less.
const SHORT: Duration = Duration::from_secs(5);

/// The containers of one cluster that were silent.
#[derive(Default)]
pub(crate) struct SilentPods(Mutex<BTreeMap<(String, String), Silence>>);

struct Silence {
    /// When it was asked last.
    at: Instant,
    /// For how long it was waited for at first.
    waited: Duration,
    /// When that began.
    since: Instant,
}

impl SilentPods {
    /// How long to wait for a container that usually gets so much time; an error if it is not to be asked, and why.
    pub(crate) fn limit(&self, pod: &str, container: &str, usual: Duration, now: Instant) -> Result<Duration, String> {
        let all = self.lock();
        let Some(silence) = all.get(&(pod.to_owned(), container.to_owned())) else {
            return Ok(usual);
        };
        if now.duration_since(silence.at) >= REMEMBERED {
            return Ok(usual.min(SHORT));
        }
        Err(format!(
            "container {container} of pod {pod} did not answer a command within {} s, {} s ago; it is not asked again \
             for a while",
            silence.waited.as_secs(),
            now.duration_since(silence.since).as_secs()
        ))
    }

    /// A command, begun so long ago, did not end.
    pub(crate) fn note(&self, pod: &str, container: &str, waited: Duration, now: Instant) {
        let mut all = self.lock();
        let key = (pod.to_owned(), container.to_owned());
        let first = Silence {
            at: now,
            waited,
            since: now,
        };
        all.entry(key).or_insert(first).at = now;
    }

    /// It answered.
    pub(crate) fn forget(&self, pod: &str, container: &str) {
        self.lock().remove(&(pod.to_owned(), container.to_owned()));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(String, String), Silence>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_container_is_waited_for_once_and_then_shortly() {
        let (silent, start, usual) = (SilentPods::default(), Instant::now(), Duration::from_secs(30));
        let at = |seconds| start + Duration::from_secs(seconds);
        let limit = |seconds| silent.limit("cilium-x", "cilium-agent", usual, at(seconds));
        assert_eq!(limit(0), Ok(usual));
        silent.note("cilium-x", "cilium-agent", usual, at(30));
        let why = limit(40).expect_err("remembered");
        assert!(
            why.contains("of pod cilium-x did not answer a command within 30 s, 10 s ago"),
            "{why}"
        );
        assert_eq!(silent.limit("cilium-y", "cilium-agent", usual, at(40)), Ok(usual));
        assert_eq!(limit(90), Ok(SHORT), "asked again, not for long");
        silent.note("cilium-x", "cilium-agent", SHORT, at(95));
        let why = limit(96).expect_err("remembered");
        assert!(why.contains("within 30 s, 66 s ago"), "{why}");
        silent.forget("cilium-x", "cilium-agent");
        assert_eq!(limit(97), Ok(usual));
    }
}
