//! Waiting until Services know their pods: a pod is ready a moment before it is an endpoint of its Service.

use crate::{ProgressSink, client::ClusterClient};
use futures::StreamExt;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::{
    ResourceExt,
    runtime::{WatchStreamExt, watcher},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    pin::pin,
    time::Duration,
};
use tokio::time::Instant;

/// How long the endpoints controller may take; after that checks find out by themselves.
const KNOWN_WITHIN: Duration = Duration::from_secs(15);

/// The pods that a Service should lead to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) namespace: String,
    pub(crate) service: String,
    pub(crate) pods: BTreeSet<String>,
}

/// Waits until the EndpointSlices hold all of them. EndpointSlices that may not be watched, or stay incomplete, are not
/// an error.
pub(crate) async fn wait(client: &ClusterClient, wanted: &[Wanted], progress: &ProgressSink) {
    let end = Instant::now() + KNOWN_WITHIN;
    let namespaces: BTreeSet<&str> = wanted.iter().map(|w| w.namespace.as_str()).collect();
    for namespace in namespaces {
        let wanted: Vec<_> = wanted.iter().filter(|w| w.namespace == namespace).collect();
        let slices = client.within::<EndpointSlice>(namespace);
        let mut changes = pin!(watcher(slices, watcher::Config::default()).default_backoff());
        let mut known: BTreeMap<String, EndpointSlice> = BTreeMap::new();
        let mut lacking = String::new();
        loop {
            match tokio::time::timeout_at(end, changes.next()).await {
                Ok(Some(Ok(watcher::Event::Apply(slice) | watcher::Event::InitApply(slice)))) => {
                    known.insert(slice.name_any(), slice);
                }
                Ok(Some(Ok(watcher::Event::Delete(slice)))) => {
                    known.remove(&slice.name_any());
                }
                Ok(Some(Ok(watcher::Event::Init))) => known.clear(),
                Ok(Some(Ok(watcher::Event::InitDone))) => {}
                // Probably forbidden; nothing depends on it.
                Ok(Some(Err(error))) => {
                    tracing::debug!(%error, namespace, "failed to watch EndpointSlices");
                    break;
                }
                Ok(None) => break,
                Err(_) => {
                    progress.warning(format!(
                        "{}: {lacking} after {} s; the checks of suite service show why",
                        client.name(),
                        KNOWN_WITHIN.as_secs()
                    ));
                    return;
                }
            }
            match wanted.iter().find_map(|w| lacks(w, known.values())) {
                None => break,
                Some(what) if what != lacking => {
                    progress.waiting(format!("{}: {what}", client.name()));
                    lacking = what;
                }
                Some(_) => {}
            }
        }
    }
}

fn lacks<'a>(wanted: &Wanted, slices: impl Iterator<Item = &'a EndpointSlice>) -> Option<String> {
    let service = Some(&wanted.service);
    let of_service = slices.filter(|s| s.labels().get("kubernetes.io/service-name") == service);
    let ready = of_service
        .flat_map(|slice| &slice.endpoints)
        .filter(|e| e.conditions.as_ref().and_then(|c| c.ready) != Some(false));
    let known: BTreeSet<&str> = ready.filter_map(|e| e.target_ref.as_ref()?.name.as_deref()).collect();
    let missing = wanted.pods.iter().filter(|pod| !known.contains(pod.as_str())).count();
    (missing > 0).then(|| {
        format!(
            "Service {}/{} has {} of {} ready pods as endpoints",
            wanted.namespace,
            wanted.service,
            wanted.pods.len() - missing,
            wanted.pods.len()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_counts_when_it_is_a_ready_endpoint_of_that_service() {
        let slice = |service: &str, pod: &str, ready: bool| {
            serde_json::from_value::<EndpointSlice>(json!({
                "metadata": {"name": format!("{service}-{pod}"), "labels": {"kubernetes.io/service-name": service}},
                "addressType": "IPv4",
                "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": ready}, "targetRef": {"name": pod}}],
            }))
            .expect("a slice")
        };
        let wanted = Wanted {
            namespace: "meshproof".into(),
            service: "server".into(),
            pods: ["a".to_owned(), "b".to_owned()].into(),
        };
        let slices = [
            slice("server", "a", true),
            slice("server", "b", false),
            slice("other", "b", true),
        ];
        assert_eq!(
            lacks(&wanted, slices.iter()).as_deref(),
            Some("Service meshproof/server has 1 of 2 ready pods as endpoints")
        );
        let slices = [slice("server", "a", true), slice("server", "b", true)];
        assert_eq!(lacks(&wanted, slices.iter()), None);
    }
}
