//! The namespaces of a run: created if absent, refused if they are somebody else's, awaited while they are deleted.

use crate::{
    ApiError, ProgressSink,
    api::{Operation, chain, one_line},
    cleanup::RunSelector,
    client::ClusterClient,
    manifest,
    name::{FIELD_MANAGER, MANAGED_BY, MANAGED_BY_VALUE, RUN, label_value, ours},
    stuck_pods,
};
use futures::{StreamExt, future::try_join_all};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions},
    runtime::{WatchStreamExt, watcher},
};
use meshproof_contract::{ClusterName, RunId};
use std::{collections::BTreeMap, pin::pin, time::Duration};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long the deletion of a namespace may make no progress.
pub(crate) const GONE_WITHIN: Duration = Duration::from_secs(120);
/// How long it may take in all.
const GONE_IN_ALL: Duration = Duration::from_secs(600);

/// Why a namespace cannot be used or removed.
#[derive(Debug, thiserror::Error)]
pub enum NamespaceError {
    /// It exists without our label.
    #[error(
        "{cluster}: namespace {name} exists and is not meshproof's (no label {MANAGED_BY}={MANAGED_BY_VALUE}): delete \
         it, or add that label if meshproof may delete it"
    )]
    NotOurs {
        /// The cluster.
        cluster: ClusterName,
        /// The namespace.
        name: String,
    },
    /// Its deletion makes no progress.
    #[error(
        "{cluster}: timed out after {seconds} s: deletion of namespace {name}; last state: {last}; see `kubectl \
         --context {context} get namespace {name} -o yaml`"
    )]
    Stays {
        /// The cluster.
        cluster: ClusterName,
        /// The cluster's context.
        context: String,
        /// The namespace.
        name: String,
        /// How long its deletion was awaited.
        seconds: u64,
        /// Its phase, and what it still contains.
        last: String,
    },
    /// The run was interrupted while a namespace of this name was still being deleted.
    #[error("interrupted while waiting for the deletion of a namespace")]
    Interrupted,
    /// A call failed.
    #[error(transparent)]
    Api(#[from] ApiError),
}

/// Whether a namespace had to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ensured {
    /// By this run.
    Created {
        /// Its UID, without which another one of the name could be taken for it.
        uid: String,
    },
    Found,
}

/// Creates the namespace, or finds it to be ours; one that is being deleted is awaited first, unless `cancel` is
/// cancelled. Never drop its future: a namespace could be created that nobody knows of.
pub(crate) async fn ensure(
    client: &ClusterClient,
    name: &str,
    run: &RunId,
    progress: &ProgressSink,
    cancel: &CancellationToken,
) -> Result<Ensured, NamespaceError> {
    let api: Api<Namespace> = Api::all(client.kube());
    let object: Namespace =
        serde_json::from_value(manifest::namespace(name, run)).expect("a namespace as written is one as read");
    let params = PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    };
    loop {
        let operation = Operation::on("create", "namespaces").named(name);
        let refused = match client.call(operation, api.create(&params, &object)).await {
            Ok(created) => {
                return Ok(Ensured::Created {
                    uid: created.uid().unwrap_or_default(),
                });
            }
            // It is there, or an administrator made it.
            Err(error) if error.is_conflict() || error.is_forbidden() => error,
            Err(error) => return Err(error.into()),
        };
        match get(client, name).await? {
            Some(found) if !is_ours(&found) => {
                return Err(NamespaceError::NotOurs {
                    cluster: client.name().clone(),
                    name: name.to_owned(),
                });
            }
            Some(found) if found.metadata.deletion_timestamp.is_some() => {
                let waited = cancel.run_until_cancelled(wait_gone(client, &[name], progress)).await;
                waited.ok_or(NamespaceError::Interrupted)??;
            }
            Some(_) => return Ok(Ensured::Found),
            // Somebody has just deleted it.
            None if refused.is_conflict() => {}
            None => return Err(refused.into()),
        }
    }
}

/// Labels a namespace that was found with this run; where that is forbidden it stays as it is.
pub(crate) async fn adopt(client: &ClusterClient, name: &str, run: &RunId) -> Result<(), ApiError> {
    let api: Api<Namespace> = Api::all(client.kube());
    let labels = serde_json::json!({"metadata": {"labels": {RUN: label_value(run.as_str())}}});
    let (params, patch) = (PatchParams::default(), Patch::Merge(labels));
    let operation = Operation::on("patch", "namespaces").named(name);
    match client.call(operation, api.patch(name, &params, &patch)).await {
        Err(error) if !error.is_forbidden() => Err(error),
        _ => Ok(()),
    }
}

/// Starts the deletion of a namespace that this run created; anything else of its name stays.
pub(crate) async fn delete_created(client: &ClusterClient, name: &str, uid: &str) -> Result<(), NamespaceError> {
    let api: Api<Namespace> = Api::all(client.kube());
    let operation = Operation::on("delete", "namespaces").named(name);
    let params = DeleteParams::background().preconditions(Preconditions {
        uid: Some(uid.to_owned()),
        resource_version: None,
    });
    match client.call(operation, api.delete(name, &params)).await {
        Err(error) if !error.is_not_found() && !error.is_conflict() => Err(error.into()),
        _ => Ok(()),
    }
}

/// Starts the deletion of a namespace that is ours; one that is absent is done already.
pub(crate) async fn delete(client: &ClusterClient, name: &str) -> Result<(), NamespaceError> {
    match get(client, name).await? {
        None => return Ok(()),
        Some(found) if !is_ours(&found) => {
            return Err(NamespaceError::NotOurs {
                cluster: client.name().clone(),
                name: name.to_owned(),
            });
        }
        Some(_) => {}
    }
    let api: Api<Namespace> = Api::all(client.kube());
    let operation = Operation::on("delete", "namespaces").named(name);
    let params = DeleteParams::background();
    match client.call(operation, api.delete(name, &params)).await {
        Err(error) if !error.is_not_found() && !error.is_conflict() => Err(error.into()),
        _ => Ok(()),
    }
}

/// Waits until these namespaces are gone, as long as their content becomes less, and reports what they still contain;
/// pods of ours that no kubelet terminates are removed by force.
pub(crate) async fn wait_gone(
    client: &ClusterClient,
    names: &[&str],
    progress: &ProgressSink,
) -> Result<(), NamespaceError> {
    tokio::select! {
        gone = gone(client, names, progress) => gone,
        never = stuck_pods::remove(client, names, RunSelector::All, progress) => match never {},
    }
}

async fn gone(client: &ClusterClient, names: &[&str], progress: &ProgressSink) -> Result<(), NamespaceError> {
    let api: Api<Namespace> = Api::all(client.kube());
    // One watch for all of them; a single one by its name, since its label is not certain.
    let selection = match names {
        [] => return Ok(()),
        [name] => watcher::Config::default().fields(&format!("metadata.name={name}")),
        _ => watcher::Config::default().labels(&ours()),
    };
    let mut changes = pin!(watcher(api, selection).default_backoff());
    let longest = Instant::now() + GONE_IN_ALL;
    let mut end = Instant::now() + GONE_WITHIN;
    // What is left of each that exists.
    let mut left: BTreeMap<String, String> = BTreeMap::new();
    let mut warned = false;
    progress.waiting(format!("{}: deletion of {}", client.name(), described(names)));
    loop {
        let change = match tokio::time::timeout_at(end.min(longest), changes.next()).await {
            Ok(Some(change)) => change,
            Ok(None) | Err(_) => {
                let (name, last) = left.pop_first().unwrap_or_default();
                return Err(NamespaceError::Stays {
                    cluster: client.name().clone(),
                    context: client.endpoint().context.clone(),
                    name: if name.is_empty() { names.join(", ") } else { name },
                    seconds: GONE_WITHIN.as_secs(),
                    last: if last.is_empty() { "nothing".to_owned() } else { last },
                });
            }
        };
        match change {
            Ok(watcher::Event::Init) => left.clear(),
            Ok(watcher::Event::InitApply(found) | watcher::Event::Apply(found)) => {
                let name = found.name_any();
                if !names.contains(&name.as_str()) {
                    continue;
                }
                let last = what_is_left(&found);
                if let Some(failing) = undiscovered(&found).filter(|_| !std::mem::replace(&mut warned, true)) {
                    progress.warning(format!(
                        "{}: the deletion of namespace {name} is blocked by an APIService that does not answer: \
                         {failing}; see `kubectl --context {} get apiservices`",
                        client.name(),
                        client.endpoint().context
                    ));
                }
                progress.waiting(format!("{}: deletion of namespace {name}: {last}", client.name()));
                if left.insert(name, last.clone()).is_some_and(|before| before != last) {
                    end = Instant::now() + GONE_WITHIN;
                }
            }
            Ok(watcher::Event::Delete(found)) => {
                left.remove(&found.name_any());
                end = Instant::now() + GONE_WITHIN;
                if left.is_empty() {
                    return Ok(());
                }
            }
            Ok(watcher::Event::InitDone) if left.is_empty() => return Ok(()),
            Ok(watcher::Event::InitDone) => {}
            Err(error) => {
                // Perhaps only watching is forbidden, or the server is restarting: read them once.
                left.entry(names[0].to_owned()).or_default().clone_from(&chain(&error));
                let found = try_join_all(names.iter().map(|name| get(client, name))).await;
                if found.is_ok_and(|found| found.iter().all(Option::is_none)) {
                    return Ok(());
                }
            }
        }
    }
}

fn described(names: &[&str]) -> String {
    match names {
        [name] => format!("namespace {name}"),
        names => format!("namespaces {}", names.join(", ")),
    }
}

pub(crate) async fn get(client: &ClusterClient, name: &str) -> Result<Option<Namespace>, ApiError> {
    let api: Api<Namespace> = Api::all(client.kube());
    let operation = Operation::on("get", "namespaces").named(name);
    client.call_again(operation, || api.get_opt(name)).await
}

pub(crate) fn is_ours(namespace: &Namespace) -> bool {
    namespace.labels().get(MANAGED_BY).map(String::as_str) == Some(MANAGED_BY_VALUE)
}

/// Which API groups the namespace controller cannot list, in its words.
fn undiscovered(namespace: &Namespace) -> Option<String> {
    let conditions = namespace.status.as_ref()?.conditions.as_ref()?;
    let failing = conditions
        .iter()
        .find(|c| c.type_ == "NamespaceDeletionDiscoveryFailure" && c.status == "True")?;
    Some(one_line(failing.message.as_deref().unwrap_or("no group is named")))
}

fn what_is_left(namespace: &Namespace) -> String {
    let status = namespace.status.as_ref();
    let phase = status.and_then(|s| s.phase.as_deref()).unwrap_or("Terminating");
    let message = status
        .and_then(|s| s.conditions.as_ref())
        .into_iter()
        .flatten()
        .filter(|c| c.status == "True")
        .find_map(|c| c.message.as_deref());
    match message {
        Some(message) => format!("{phase}: {}", one_line(message)),
        None => phase.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_api_service_that_does_not_answer_is_named() {
        let with = |status: &str| -> Namespace {
            serde_json::from_value(json!({"status": {"phase": "Terminating", "conditions": [{
                "type": "NamespaceDeletionDiscoveryFailure", "status": status, "reason": "DiscoveryFailed",
                "message": "Discovery failed for some groups, 1 failing:\n \
                    metrics.k8s.io/v1beta1: stale GroupVersion discovery",
            }]}}))
            .expect("a namespace")
        };
        assert_eq!(
            undiscovered(&with("True")).as_deref(),
            Some("Discovery failed for some groups, 1 failing: metrics.k8s.io/v1beta1: stale GroupVersion discovery")
        );
        assert_eq!(undiscovered(&with("False")), None);
    }
}
