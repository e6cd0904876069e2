//! Removing what runs made, found by label: in the namespaces and beside them. Removes nothing without the label.

use crate::{
    ApiError, Progress,
    api::{Cause, Operation},
    dead,
    member::{Member, dynamic_name},
    name::{MANAGED_BY, MANAGED_BY_VALUE, NAMESPACES, RUN, label_value, ours},
};
use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    ResourceExt,
    api::{DeleteParams, GroupVersionKind, ListParams},
    runtime::{WatchStreamExt, watcher},
};
use meshproof_contract::{EnvironmentError, RunId};
use std::{collections::BTreeSet, pin::pin, time::Duration};
use tokio::time::Instant;

/// How long pods may take to end.
const PODS_GONE_WITHIN: Duration = Duration::from_secs(60);

/// Kinds that runs make in their namespaces, controllers before what they control.
const NAMESPACED: [(&str, &str, &str); 8] = [
    ("apps", "v1", "DaemonSet"),
    ("apps", "v1", "Deployment"),
    ("", "v1", "Service"),
    ("", "v1", "ConfigMap"),
    ("networking.k8s.io", "v1", "NetworkPolicy"),
    ("cilium.io", "v2", "CiliumNetworkPolicy"),
    ("", "v1", "Pod"),
    ("", "v1", "ServiceAccount"),
];

/// Kinds that runs make beside namespaces.
const CLUSTER_WIDE: [(&str, &str, &str); 1] = [("cilium.io", "v2", "CiliumClusterwideNetworkPolicy")];

/// Kinds whose presence without our label means that somebody else uses the namespace. (ConfigMaps and ServiceAccounts
/// are put into every namespace by controllers.)
const TELLING: [(&str, &str, &str); 7] = [
    ("", "v1", "Pod"),
    ("", "v1", "Service"),
    ("", "v1", "PersistentVolumeClaim"),
    ("apps", "v1", "Deployment"),
    ("apps", "v1", "DaemonSet"),
    ("apps", "v1", "StatefulSet"),
    ("batch", "v1", "Job"),
];

/// Whose leftovers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Of<'a> {
    /// Of every run but this one.
    OthersThan(&'a RunId),
    /// Of every run.
    All,
}

impl Of<'_> {
    pub(crate) fn selector(self) -> String {
        match self {
            Of::All => ours(),
            Of::OthersThan(run) => format!("{},{RUN}!={}", ours(), label_value(run.as_str())),
        }
    }
}

/// Deletes objects in our namespaces, and tells which.
pub(crate) async fn delete_in_namespaces(member: &Member, of: Of<'_>) -> Result<Vec<String>, ApiError> {
    let mut removed = Vec::new();
    for namespace in NAMESPACES {
        for kind in NAMESPACED {
            removed.extend(delete(member, kind, Some(namespace), of).await?);
        }
    }
    Ok(removed)
}

/// Deletes cluster-wide objects, and tells which.
pub(crate) async fn delete_cluster_wide(member: &Member, of: Of<'_>) -> Result<Vec<String>, ApiError> {
    let mut removed = Vec::new();
    for kind in CLUSTER_WIDE {
        removed.extend(delete(member, kind, None, of).await?);
    }
    Ok(removed)
}

/// What is in one of our namespaces and is not ours; kinds that may not be listed are passed over.
pub(crate) async fn foreign(member: &Member, namespace: &str) -> Result<Vec<String>, ApiError> {
    let selection = ListParams::default().labels(&format!("{MANAGED_BY}!={MANAGED_BY_VALUE}"));
    let mut found = Vec::new();
    for (group, version, kind) in TELLING {
        let gvk = GroupVersionKind::gvk(group, version, kind);
        let Ok((api, resource, _)) = member.dynamic(&gvk, Some(namespace)).await else {
            continue;
        };
        let operation = Operation::on("list", dynamic_name(&resource.plural, &resource.group)).within(namespace);
        match member.call_again(operation, || api.list(&selection)).await {
            Ok(objects) => found.extend(objects.into_iter().map(|o| format!("{kind} {}", o.name_any()))),
            Err(error) if error.is_forbidden() || error.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

async fn delete(
    member: &Member,
    (group, version, kind): (&str, &str, &str),
    namespace: Option<&str>,
    of: Of<'_>,
) -> Result<Vec<String>, ApiError> {
    let (api, resource, _) = match member
        .dynamic(&GroupVersionKind::gvk(group, version, kind), namespace)
        .await
    {
        Ok(found) => found,
        // Without Cilium there are none of its kinds.
        Err(error) if error.is_not_found() || is_unknown_kind(&error) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let plural = dynamic_name(&resource.plural, &resource.group);
    let on = |verb| match namespace {
        Some(ns) => Operation::on(verb, plural.clone()).within(ns),
        None => Operation::on(verb, plural.clone()),
    };
    let selection = ListParams::default().labels(&of.selector());
    let found = match member.call_again(on("list"), || api.list(&selection)).await {
        Ok(found) => found,
        // What may not even be listed was not made by a run with these rights.
        Err(error) if error.is_forbidden() || error.is_not_found() => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut removed = Vec::new();
    for object in found {
        let name = object.name_any();
        // A pod of a controller goes with it.
        if kind == "Pod" && !object.owner_references().is_empty() {
            continue;
        }
        let operation = on("delete").named(&name);
        match member
            .call(operation, api.delete(&name, &DeleteParams::background()))
            .await
        {
            Ok(_) => removed.push(match namespace {
                Some(ns) => format!("{kind} {ns}/{name}"),
                None => format!("{kind} {name}"),
            }),
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(removed)
}

fn is_unknown_kind(error: &ApiError) -> bool {
    matches!(&error.cause, Cause::Other(message) if message.contains("Missing Kind") || message.contains("Missing Api Group"))
}

/// Waits until no pod of those runs is left in our namespaces; those that no kubelet ends are removed by force.
pub(crate) async fn wait_pods_gone(member: &Member, of: Of<'_>, progress: &Progress) -> Result<(), EnvironmentError> {
    let end = Instant::now() + PODS_GONE_WITHIN;
    for namespace in NAMESPACES {
        tokio::select! {
            gone = see_pods_go(member, namespace, of, end, progress) => gone?,
            never = dead::remove(member, namespace, of, progress) => match never {},
        }
    }
    Ok(())
}

async fn see_pods_go(
    member: &Member,
    namespace: &str,
    of: Of<'_>,
    end: Instant,
    progress: &Progress,
) -> Result<(), EnvironmentError> {
    let selection = watcher::Config::default().labels(&of.selector());
    let mut changes = pin!(watcher(member.within::<Pod>(namespace), selection).default_backoff());
    let mut left = BTreeSet::new();
    loop {
        let last = || {
            let names: Vec<_> = left.iter().map(String::as_str).collect();
            format!("{} pods in {namespace}: {}", names.len(), names.join(", "))
        };
        let change = match tokio::time::timeout_at(end, changes.next()).await {
            Ok(Some(change)) => change,
            Ok(None) | Err(_) => {
                return Err(EnvironmentError::Deadline {
                    cluster: member.name().clone(),
                    operation: "see the pods of an earlier run go".to_owned(),
                    seconds: PODS_GONE_WITHIN.as_secs(),
                    last: last(),
                });
            }
        };
        match change {
            Ok(watcher::Event::Init) => left.clear(),
            Ok(watcher::Event::InitApply(pod) | watcher::Event::Apply(pod)) => {
                left.insert(pod.name_any());
            }
            Ok(watcher::Event::Delete(pod)) => {
                left.remove(&pod.name_any());
                if left.is_empty() {
                    return Ok(());
                }
            }
            Ok(watcher::Event::InitDone) if left.is_empty() => return Ok(()),
            Ok(watcher::Event::InitDone) => progress.waiting(format!("{}: {} to go", member.name(), last())),
            Err(error) => tracing::debug!(%error, "watch of pods failed, trying again"),
        }
    }
}
