//! Removes what runs created, found by label: in the namespaces and beside them. Never removes anything without the
//! label.

use crate::{
    ApiError, ProgressSink,
    api::{Cause, Operation},
    client::ClusterClient,
    name::{MANAGED_BY, MANAGED_BY_VALUE, NAMESPACES, RUN, label_value, ours},
    registry, stuck_pods,
};
use futures::{StreamExt, future::try_join_all};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::{
    ResourceExt,
    api::{DeleteParams, GroupVersionKind, ListParams},
    runtime::{WatchStreamExt, watcher},
};
use meshproof_contract::{EnvironmentError, RunId, text::counted};
use std::{collections::BTreeSet, pin::pin, time::Duration};
use tokio::time::Instant;

/// How long pods may take to terminate.
const PODS_GONE_WITHIN: Duration = Duration::from_secs(180);

/// Kinds that runs create in their namespaces, controllers before what they control.
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

/// Cluster-wide kinds that runs create.
const CLUSTER_WIDE: [(&str, &str, &str); 1] = [("cilium.io", "v2", "CiliumClusterwideNetworkPolicy")];

/// Kinds whose objects without our label mean that somebody else uses the namespace. (Controllers put ConfigMaps and
/// ServiceAccounts into every namespace.)
const IN_USE: [(&str, &str, &str); 7] = [
    ("", "v1", "Pod"),
    ("", "v1", "Service"),
    ("", "v1", "PersistentVolumeClaim"),
    ("apps", "v1", "Deployment"),
    ("apps", "v1", "DaemonSet"),
    ("apps", "v1", "StatefulSet"),
    ("batch", "v1", "Job"),
];

/// Selects the runs whose objects are removed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum RunSelector<'a> {
    /// Every run but this one.
    OthersThan(&'a RunId),
    /// Every run.
    All,
}

impl RunSelector<'_> {
    pub(crate) fn selector(self) -> String {
        match self {
            RunSelector::All => ours(),
            RunSelector::OthersThan(run) => format!("{},{RUN}!={}", ours(), label_value(run.as_str())),
        }
    }
}

/// Deletes objects in all our namespaces, and returns their names.
pub(crate) async fn delete_in_namespaces(
    client: &ClusterClient,
    runs: RunSelector<'_>,
) -> Result<Vec<String>, ApiError> {
    delete_in(client, &NAMESPACES, runs).await
}

/// Deletes objects in these namespaces of ours, and returns their names.
pub(crate) async fn delete_in(
    client: &ClusterClient,
    namespaces: &[&str],
    runs: RunSelector<'_>,
) -> Result<Vec<String>, ApiError> {
    let mut removed = Vec::new();
    for namespace in namespaces.iter().copied() {
        for kind in NAMESPACED {
            removed.extend(delete(client, kind, Some(namespace), runs).await?);
        }
        registry::remove(client, namespace).await?;
    }
    Ok(removed)
}

/// Deletes cluster-wide objects, and returns their names.
pub(crate) async fn delete_cluster_wide(
    client: &ClusterClient,
    runs: RunSelector<'_>,
) -> Result<Vec<String>, ApiError> {
    let mut removed = Vec::new();
    for kind in CLUSTER_WIDE {
        removed.extend(delete(client, kind, None, runs).await?);
    }
    Ok(removed)
}

/// Deletes the Deployments of pods that stand in for the operators' own, in one of their namespaces or in all, and
/// returns their names.
pub(crate) async fn delete_stand_ins(
    client: &ClusterClient,
    namespace: Option<&str>,
    runs: RunSelector<'_>,
) -> Result<Vec<String>, ApiError> {
    let listed = client.within_or_all::<Deployment>(namespace);
    let selection = ListParams::default().labels(&runs.selector());
    let operation = Operation {
        namespace: namespace.map(str::to_owned),
        ..Operation::on("list", "deployments")
    };
    let found = match client.call_again(operation, || listed.list(&selection)).await {
        Ok(found) => found,
        Err(error) if error.is_forbidden() => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut removed = Vec::new();
    for deployment in found {
        let (name, within) = (deployment.name_any(), deployment.namespace().unwrap_or_default());
        if NAMESPACES.contains(&within.as_str()) {
            continue;
        }
        let operation = Operation::on("delete", "deployments").within(&within).named(&name);
        let api = client.within::<Deployment>(&within);
        match client
            .call(operation, api.delete(&name, &DeleteParams::background()))
            .await
        {
            Ok(_) => removed.push(format!("Deployment {within}/{name}")),
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(removed)
}

/// Waits until no pod of any run is left in a namespace of the operators.
pub(crate) async fn wait_stand_ins_gone(
    client: &ClusterClient,
    namespace: &str,
    progress: &ProgressSink,
) -> Result<(), EnvironmentError> {
    let end = Instant::now() + PODS_GONE_WITHIN;
    pods_gone(client, namespace, RunSelector::All, end, progress).await
}

/// Objects in one of our namespaces that are not ours; kinds that may not be listed are skipped.
pub(crate) async fn foreign(client: &ClusterClient, namespace: &str) -> Result<Vec<String>, ApiError> {
    let selection = ListParams::default().labels(&format!("{MANAGED_BY}!={MANAGED_BY_VALUE}"));
    let mut found = Vec::new();
    for (group, version, kind) in IN_USE {
        let gvk = GroupVersionKind::gvk(group, version, kind);
        let Ok(objects) = client.dynamic(&gvk, Some(namespace)).await else {
            continue;
        };
        let listed = client.call_again(objects.operation("list"), || objects.api.list(&selection));
        match listed.await {
            Ok(listed) => found.extend(listed.into_iter().map(|o| format!("{kind} {}", o.name_any()))),
            Err(error) if error.is_forbidden() || error.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

async fn delete(
    client: &ClusterClient,
    (group, version, kind): (&str, &str, &str),
    namespace: Option<&str>,
    runs: RunSelector<'_>,
) -> Result<Vec<String>, ApiError> {
    let gvk = GroupVersionKind::gvk(group, version, kind);
    let objects = match client.dynamic(&gvk, namespace).await {
        Ok(found) => found,
        // Without Cilium there are none of its kinds.
        Err(error) if error.is_not_found() || is_unknown_kind(&error) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let selection = ListParams::default().labels(&runs.selector());
    let found = match client
        .call_again(objects.operation("list"), || objects.api.list(&selection))
        .await
    {
        Ok(found) => found,
        // What may not even be listed was not created by a run with these rights.
        Err(error) if error.is_forbidden() || error.is_not_found() => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let (mut removed, params) = (Vec::new(), DeleteParams::background());
    for object in found {
        let name = object.name_any();
        // A pod of a controller goes with it.
        if kind == "Pod" && !object.owner_references().is_empty() {
            continue;
        }
        let operation = objects.operation("delete").named(&name);
        let deleted = client.call(operation, objects.api.delete(&name, &params));
        match deleted.await {
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
    let Cause::Other(message) = &error.cause else {
        return false;
    };
    message.contains("Missing Kind") || message.contains("Missing Api Group")
}

/// Waits until no pod of those runs is left in our namespaces; pods that no kubelet terminates are removed by force.
pub(crate) async fn wait_pods_gone(
    client: &ClusterClient,
    runs: RunSelector<'_>,
    progress: &ProgressSink,
) -> Result<(), EnvironmentError> {
    let end = Instant::now() + PODS_GONE_WITHIN;
    let all_gone = try_join_all(NAMESPACES.map(|namespace| pods_gone(client, namespace, runs, end, progress)));
    tokio::select! {
        gone = all_gone => gone.map(|_| ()),
        never = stuck_pods::remove(client, &NAMESPACES, runs, progress) => match never {},
    }
}

async fn pods_gone(
    client: &ClusterClient,
    namespace: &str,
    runs: RunSelector<'_>,
    end: Instant,
    progress: &ProgressSink,
) -> Result<(), EnvironmentError> {
    let selection = watcher::Config::default().labels(&runs.selector());
    let mut changes = pin!(watcher(client.within::<Pod>(namespace), selection).default_backoff());
    let mut left = BTreeSet::new();
    loop {
        let last = || {
            let names: Vec<_> = left.iter().map(String::as_str).collect();
            format!(
                "{} in namespace {namespace}: {}",
                counted(names.len(), "pod"),
                names.join(", ")
            )
        };
        let change = match tokio::time::timeout_at(end, changes.next()).await {
            Ok(Some(change)) => change,
            Ok(None) | Err(_) => {
                return Err(EnvironmentError::Deadline {
                    cluster: client.name().clone(),
                    operation: "wait for the pods of an earlier run to terminate".to_owned(),
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
            Ok(watcher::Event::InitDone) => progress.waiting(format!("{}: deletion of {}", client.name(), last())),
            Err(error) => tracing::debug!(%error, "watch of pods failed, retrying"),
        }
    }
}
