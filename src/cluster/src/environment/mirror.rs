//! What checks poll in the run's own namespaces, pods and EndpointSlices, kept by a watch instead of being read again
//! and again. The first reads go to the API server; the second within a few seconds starts the watch.
//!
//! A read is answered from the watch only while that is known to be right: the stream is whole, the run itself changed
//! nothing that they depend on in the last half second, and a list has shown the same objects in the last ten.

use crate::{
    ApiError,
    client::{ClusterClient, DynamicApi, kind_of},
    name::NAMESPACES,
};
use futures::StreamExt;
use kube::{
    Api, ResourceExt,
    api::{DynamicObject, ListParams},
    runtime::{
        WatchStreamExt,
        watcher::{self, Event},
    },
};
use std::{
    collections::BTreeMap,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

/// Kinds that are polled.
const POLLED: [(&str, &str); 2] = [("v1", POD), ("discovery.k8s.io/v1", SLICE)];
const POD: &str = "Pod";
const SLICE: &str = "EndpointSlice";
/// Two reads so close together are polling.
const POLLING: Duration = Duration::from_secs(3);
/// How long a change that the run made may take to come through the watch.
const WRITTEN: Duration = Duration::from_millis(500);
/// How long a watch that says nothing is trusted.
const VERIFIED: Duration = Duration::from_secs(10);

/// The mirrors of one cluster.
#[derive(Default)]
pub(super) struct Mirrors {
    of: Mutex<BTreeMap<Key, Mirror>>,
    /// When the run changed something on which a kind depends.
    written: Mutex<BTreeMap<&'static str, Instant>>,
}

/// What the run did.
#[derive(Clone, Copy, Debug)]
pub(super) enum Written<'a> {
    /// It wrote an object of this kind.
    Object(&'a str),
    /// It disrupted something, or undid that.
    Disruption,
}

/// A kind, with its version, in a namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    version: &'static str,
    kind: &'static str,
    namespace: &'static str,
}

impl Key {
    fn of(version: &str, kind: &str, namespace: Option<&str>) -> Option<Self> {
        let (version, kind) = POLLED.into_iter().find(|polled| *polled == (version, kind))?;
        let namespace = NAMESPACES.into_iter().find(|ours| Some(*ours) == namespace)?;
        Some(Self {
            version,
            kind,
            namespace,
        })
    }
}

#[derive(Default)]
struct Mirror {
    read: Option<Instant>,
    state: Arc<Mutex<State>>,
    watch: Option<AbortOnDropHandle<()>>,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<String, DynamicObject>,
    /// The list that is being read.
    listing: BTreeMap<String, DynamicObject>,
    is_whole: bool,
    verified: Option<Instant>,
}

impl Mirrors {
    /// The run changed an object of a kind in this cluster, or disrupts it.
    pub(super) fn note_write(&self, what: Written<'_>) {
        let concerned = match what {
            Written::Object("Pod" | "Deployment" | "DaemonSet") | Written::Disruption => &[POD, SLICE][..],
            Written::Object("Service") => &[SLICE],
            Written::Object(_) => return,
        };
        let now = Instant::now();
        lock(&self.written).extend(concerned.iter().map(|kind| (*kind, now)));
    }

    /// One object; none where there is none.
    pub(super) async fn get(
        &self,
        client: &ClusterClient,
        (version, kind, namespace): (&str, &str, Option<&str>),
        name: &str,
    ) -> Result<Option<DynamicObject>, ApiError> {
        let found = client.dynamic(&kind_of(version, kind), namespace).await?;
        if let Some(key) = Key::of(version, kind, namespace)
            && let Some(current) = self.current(&key, &found, |state| state.objects.get(name).cloned())
        {
            return Ok(current);
        }
        let operation = found.operation("get").named(name);
        client.call_again(operation, || found.api.get_opt(name)).await
    }

    /// All objects of a kind in a namespace, or everywhere.
    pub(super) async fn list(
        &self,
        client: &ClusterClient,
        (version, kind, namespace): (&str, &str, Option<&str>),
    ) -> Result<Vec<DynamicObject>, ApiError> {
        let found = client.dynamic(&kind_of(version, kind), namespace).await?;
        let key = Key::of(version, kind, namespace);
        if let Some(key) = &key
            && let Some(current) = self.current(key, &found, |state| state.objects.values().cloned().collect())
        {
            return Ok(current);
        }
        let params = ListParams::default();
        let listed = client.call_again(found.operation("list"), || found.api.list(&params));
        let listed = listed.await?.items;
        if let Some(key) = &key {
            self.compare(key, &listed);
        }
        Ok(listed)
    }

    /// What `read` sees in the mirror if that is right; else none, and a watch begins if this is polling.
    fn current<T>(&self, key: &Key, found: &DynamicApi, read: impl FnOnce(&State) -> T) -> Option<T> {
        let now = Instant::now();
        let mut mirrors = lock(&self.of);
        let mirror = mirrors.entry(key.clone()).or_default();
        let before = mirror.read.replace(now);
        if mirror.watch.is_none() {
            if before.is_some_and(|before| now - before < POLLING) {
                let watch = watch(found.api.clone(), mirror.state.clone());
                mirror.watch = Some(AbortOnDropHandle::new(tokio::spawn(watch)));
            }
            return None;
        }
        let written = lock(&self.written).get(key.kind).copied();
        let is_written = written.is_some_and(|written| now - written < WRITTEN);
        let state = lock(&mirror.state);
        let is_verified = state.verified.is_some_and(|verified| now - verified < VERIFIED);
        (state.is_whole && is_verified && !is_written).then(|| read(&state))
    }

    /// Trusts the watch for a while if it has what was listed.
    fn compare(&self, key: &Key, listed: &[DynamicObject]) {
        let mirrors = lock(&self.of);
        let Some(mirror) = mirrors.get(key).filter(|mirror| mirror.watch.is_some()) else {
            return;
        };
        let mut state = lock(&mirror.state);
        let is_known = |object: &DynamicObject| {
            let known = state.objects.get(&object.name_any());
            known.is_some_and(|known| known.resource_version() == object.resource_version())
        };
        if state.is_whole && listed.len() == state.objects.len() && listed.iter().all(is_known) {
            state.verified = Some(Instant::now());
        }
    }
}

async fn watch(api: Api<DynamicObject>, state: Arc<Mutex<State>>) {
    let mut changes = pin!(watcher::watcher(api, watcher::Config::default()).default_backoff());
    while let Some(change) = changes.next().await {
        match change {
            Ok(event) => lock(&state).take(event),
            // Probably forbidden, or the API server is away: reads go there as before.
            Err(error) => {
                tracing::debug!(%error, "watch failed, retrying");
                lock(&state).is_whole = false;
            }
        }
    }
}

impl State {
    fn take(&mut self, event: Event<DynamicObject>) {
        match event {
            Event::Init => {
                self.is_whole = false;
                self.listing.clear();
                return;
            }
            Event::InitApply(object) => {
                self.listing.insert(object.name_any(), object);
                return;
            }
            Event::InitDone => {
                self.objects = std::mem::take(&mut self.listing);
                self.verified = Some(Instant::now());
            }
            Event::Apply(object) => {
                self.objects.insert(object.name_any(), object);
            }
            Event::Delete(object) => {
                self.objects.remove(&object.name_any());
            }
        }
        // After a failure the watch goes on from where it was.
        self.is_whole = true;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(name: &str, version: &str) -> DynamicObject {
        let object = json!({"metadata": {"name": name, "namespace": "meshproof", "resourceVersion": version}});
        serde_json::from_value(object).expect("an object")
    }

    fn names(state: &State) -> Vec<&str> {
        state.objects.keys().map(String::as_str).collect()
    }

    #[test]
    fn only_what_the_run_polls_in_its_own_namespaces_is_mirrored() {
        assert!(Key::of("v1", "Pod", Some("meshproof")).is_some());
        assert!(Key::of("v1", "Pod", Some("kube-system")).is_none());
        assert!(Key::of("v1", "Pod", None).is_none());
        assert!(Key::of("v1", "Service", Some("meshproof")).is_none());
    }

    #[test]
    fn a_list_replaces_what_was_there_once_it_is_whole() {
        let mut state = State::default();
        for event in [Event::Init, Event::InitApply(pod("a", "1")), Event::InitDone] {
            state.take(event);
        }
        state.take(Event::Apply(pod("b", "2")));
        assert_eq!((names(&state), state.is_whole), (vec!["a", "b"], true));
        state.take(Event::Delete(pod("a", "3")));
        state.take(Event::Init);
        state.take(Event::InitApply(pod("c", "4")));
        assert_eq!((names(&state), state.is_whole), (vec!["b"], false));
        state.take(Event::InitDone);
        assert_eq!((names(&state), state.is_whole), (vec!["c"], true));
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_watch_is_trusted_while_lists_agree_with_it() {
        let (mirrors, key) = (
            Mirrors::default(),
            Key::of("v1", "Pod", Some("meshproof")).expect("a key"),
        );
        let mirror = Mirror {
            watch: Some(AbortOnDropHandle::new(tokio::spawn(std::future::pending()))),
            ..Mirror::default()
        };
        for event in [Event::Init, Event::InitApply(pod("a", "1")), Event::InitDone] {
            lock(&mirror.state).take(event);
        }
        let verified = {
            let state = mirror.state.clone();
            move || lock(&state).verified.expect("verified")
        };
        lock(&mirrors.of).insert(key.clone(), mirror);
        let first = verified();
        tokio::time::advance(Duration::from_secs(1)).await;
        mirrors.compare(&key, &[pod("a", "2")]);
        assert_eq!(verified(), first, "the watch is behind");
        mirrors.compare(&key, &[pod("a", "1"), pod("b", "1")]);
        assert_eq!(verified(), first, "one is missing");
        mirrors.compare(&key, &[pod("a", "1")]);
        assert!(verified() > first);
    }
}
