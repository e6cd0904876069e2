//! The namespaces of a run: made if absent, refused if they are somebody else's, waited for while they go.

use crate::{
    ApiError, Progress,
    api::Operation,
    dead,
    leftover::Of,
    member::Member,
    name::{FIELD_MANAGER, MANAGED_BY, MANAGED_BY_VALUE, RUN},
};
use futures::StreamExt;
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams},
    runtime::{WatchStreamExt, watcher},
};
use meshproof_contract::{ClusterName, RunId};
use std::{pin::pin, time::Duration};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long a namespace that is being deleted may take to go.
pub(crate) const GONE_WITHIN: Duration = Duration::from_secs(120);

/// Why a namespace cannot be used or removed.
#[derive(Debug, thiserror::Error)]
pub enum NamespaceError {
    /// It was there before and has not our label.
    #[error(
        "{cluster}: namespace {name} exists and is not meshproof's (no label {MANAGED_BY}={MANAGED_BY_VALUE}): remove or rename it; meshproof deletes its namespace when it ends"
    )]
    NotOurs {
        /// The cluster.
        cluster: ClusterName,
        /// The namespace.
        name: String,
    },
    /// It does not go.
    #[error("{cluster}: namespace {name} was still there after {seconds} s; last seen: {last}")]
    Stays {
        /// The cluster.
        cluster: ClusterName,
        /// The namespace.
        name: String,
        /// How long it was waited for.
        seconds: u64,
        /// Its phase, and what is left in it.
        last: String,
    },
    /// It was called off while a namespace of this name was still going.
    #[error("interrupted while waiting for a namespace to go")]
    Interrupted,
    /// A call failed.
    #[error(transparent)]
    Api(#[from] ApiError),
}

/// Whether a namespace had to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ensured {
    Created,
    Found,
}

/// Makes the namespace, or finds it to be ours; one that is going is waited for first, unless `cancel` is cancelled. Never give
/// its future up: a namespace could be made that nobody knows of.
pub(crate) async fn ensure(
    member: &Member,
    name: &str,
    run: &RunId,
    progress: &Progress,
    cancel: &CancellationToken,
) -> Result<Ensured, NamespaceError> {
    let api: Api<Namespace> = Api::all(member.client());
    loop {
        match get(member, name).await? {
            Some(found) if !is_ours(&found) => {
                return Err(NamespaceError::NotOurs {
                    cluster: member.name().clone(),
                    name: name.to_owned(),
                });
            }
            Some(found) if found.metadata.deletion_timestamp.is_some() => {
                let waited = cancel.run_until_cancelled(wait_gone(member, name, progress)).await;
                waited.ok_or(NamespaceError::Interrupted)??;
            }
            Some(_) => return Ok(Ensured::Found),
            None => {
                let object: Namespace = serde_json::from_value(crate::object::namespace(name, run))
                    .expect("a namespace as written is one as read");
                let params = PostParams {
                    field_manager: Some(FIELD_MANAGER.to_owned()),
                    ..PostParams::default()
                };
                let operation = Operation::on("create", "namespaces").named(name);
                match member.call(operation, api.create(&params, &object)).await {
                    Ok(_) => return Ok(Ensured::Created),
                    // Somebody was quicker: look again whose it is.
                    Err(error) if error.is_conflict() => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }
}

/// Labels a namespace that was found with this run; not being allowed to is no hindrance.
pub(crate) async fn adopt(member: &Member, name: &str, run: &RunId) -> Result<(), ApiError> {
    let api: Api<Namespace> = Api::all(member.client());
    let labels = serde_json::json!({"metadata": {"labels": {RUN: crate::name::label_value(run.as_str())}}});
    let (params, patch) = (PatchParams::default(), Patch::Merge(labels));
    let operation = Operation::on("patch", "namespaces").named(name);
    match member.call(operation, api.patch(name, &params, &patch)).await {
        Err(error) if !error.is_forbidden() => Err(error),
        _ => Ok(()),
    }
}

/// Starts the deletion of a namespace that is ours; one that is absent is done already.
pub(crate) async fn delete(member: &Member, name: &str) -> Result<(), NamespaceError> {
    match get(member, name).await? {
        None => return Ok(()),
        Some(found) if !is_ours(&found) => {
            return Err(NamespaceError::NotOurs {
                cluster: member.name().clone(),
                name: name.to_owned(),
            });
        }
        Some(_) => {}
    }
    let api: Api<Namespace> = Api::all(member.client());
    let operation = Operation::on("delete", "namespaces").named(name);
    let params = DeleteParams::background();
    match member.call(operation, api.delete(name, &params)).await {
        Err(error) if !error.is_not_found() && !error.is_conflict() => Err(error.into()),
        _ => Ok(()),
    }
}

/// Waits until a namespace is gone, telling what is left in it; pods of ours that no kubelet ends are removed by force.
pub(crate) async fn wait_gone(member: &Member, name: &str, progress: &Progress) -> Result<(), NamespaceError> {
    tokio::select! {
        gone = see_go(member, name, progress) => gone,
        never = dead::remove(member, name, Of::All, progress) => match never {},
    }
}

async fn see_go(member: &Member, name: &str, progress: &Progress) -> Result<(), NamespaceError> {
    let api: Api<Namespace> = Api::all(member.client());
    let only = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut changes = pin!(watcher(api, only).default_backoff());
    let end = Instant::now() + GONE_WITHIN;
    let mut last = "nothing".to_owned();
    let (mut is_there, mut is_told) = (false, false);
    progress.waiting(format!("{}: namespace {name} to go", member.name()));
    loop {
        let change = match tokio::time::timeout_at(end, changes.next()).await {
            Ok(Some(change)) => change,
            Ok(None) | Err(_) => {
                return Err(NamespaceError::Stays {
                    cluster: member.name().clone(),
                    name: name.to_owned(),
                    seconds: GONE_WITHIN.as_secs(),
                    last,
                });
            }
        };
        match change {
            Ok(watcher::Event::Init) => is_there = false,
            Ok(watcher::Event::InitApply(found) | watcher::Event::Apply(found)) => {
                is_there = true;
                last = what_is_left(&found);
                if let Some(failing) = undiscovered(&found).filter(|_| !std::mem::replace(&mut is_told, true)) {
                    progress.warning(format!(
                        "{}: namespace {name} cannot go while an APIService does not answer: {failing}; see `kubectl --context {} get apiservices`",
                        member.name(),
                        member.endpoint().context
                    ));
                }
                progress.waiting(format!("{}: namespace {name} to go: {last}", member.name()));
            }
            Ok(watcher::Event::InitDone) if is_there => {}
            Ok(watcher::Event::InitDone | watcher::Event::Delete(_)) => return Ok(()),
            Err(error) => {
                // Perhaps only watching is forbidden, or the server is restarting: ask for it plainly.
                last = crate::api::chain(&error);
                if get(member, name).await.is_ok_and(|found| found.is_none()) {
                    return Ok(());
                }
            }
        }
    }
}

async fn get(member: &Member, name: &str) -> Result<Option<Namespace>, ApiError> {
    let api: Api<Namespace> = Api::all(member.client());
    let operation = Operation::on("get", "namespaces").named(name);
    member.call_again(operation, || api.get_opt(name)).await
}

pub(crate) fn is_ours(namespace: &Namespace) -> bool {
    namespace.labels().get(MANAGED_BY).map(String::as_str) == Some(MANAGED_BY_VALUE)
}

/// Which API groups keep the namespace controller from knowing what is in the namespace, in its words.
fn undiscovered(namespace: &Namespace) -> Option<String> {
    let conditions = namespace.status.as_ref()?.conditions.as_ref()?;
    let failing = conditions
        .iter()
        .find(|c| c.type_ == "NamespaceDeletionDiscoveryFailure" && c.status == "True")?;
    Some(crate::api::one_line(
        failing.message.as_deref().unwrap_or("no group is named"),
    ))
}

fn what_is_left(namespace: &Namespace) -> String {
    let status = namespace.status.as_ref();
    let phase = status.and_then(|s| s.phase.as_deref()).unwrap_or("Terminating");
    let told = status
        .and_then(|s| s.conditions.as_ref())
        .into_iter()
        .flatten()
        .filter(|c| c.status == "True")
        .find_map(|c| c.message.as_deref());
    match told {
        Some(message) => format!("{phase}: {}", crate::api::one_line(message)),
        None => phase.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_api_service_that_does_not_answer_is_told() {
        let with = |status: &str| -> Namespace {
            serde_json::from_value(json!({"status": {"phase": "Terminating", "conditions": [{
                "type": "NamespaceDeletionDiscoveryFailure", "status": status, "reason": "DiscoveryFailed",
                "message": "Discovery failed for some groups, 1 failing:\n metrics.k8s.io/v1beta1: stale GroupVersion discovery",
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
