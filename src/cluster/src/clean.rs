//! `meshproof clean`: removes everything that runs left on the clusters, and only that.

use crate::{
    ApiError, Contexts, Progress,
    environment::disturbance::mend,
    lease::{self, LeaseError},
    leftover::{self, Of},
    member::Member,
    name::NAMESPACES,
    namespace::{self, NamespaceError},
};
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, api::ListParams};
use meshproof_contract::ClusterName;

/// Whether a run that is under way is spared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Live {
    /// A run that still renews its Lease is an error.
    Spare,
    /// It is removed as well (`--force`).
    RemoveToo,
}

/// What was removed from one cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cleaned {
    /// The cluster.
    pub cluster: ClusterName,
    /// `Namespace meshproof`, `CiliumClusterwideNetworkPolicy x`; empty if nothing was left.
    pub removed: Vec<String>,
}

/// Why cleaning did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum CleanError {
    /// A run is under way.
    #[error("{0}; `meshproof clean --force` removes it all the same")]
    Live(LeaseError),
    /// A namespace does not go.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    /// A call failed.
    #[error(transparent)]
    Api(#[from] ApiError),
}

/// Removes what carries meshproof's label from every cluster, and waits until it is gone. No cluster is touched while one has a live run.
pub async fn clean(contexts: &Contexts, live: Live, progress: &Progress) -> Result<Vec<Cleaned>, CleanError> {
    let members = contexts.members();
    if live == Live::Spare {
        let holders = try_join_all(members.iter().map(lease::live_holder)).await?;
        if let Some(held) = holders.into_iter().flatten().next() {
            return Err(CleanError::Live(held));
        }
    }
    try_join_all(members.iter().map(|member| clean_one(member, progress))).await
}

async fn clean_one(member: &Member, progress: &Progress) -> Result<Cleaned, CleanError> {
    let mut removed = mend(member).await?;
    removed.extend(leftover::delete_cluster_wide(member, Of::All).await?);
    removed.extend(leftover::delete_in_namespaces(member, Of::All).await?);
    let mut going = Vec::new();
    for name in namespaces(member).await? {
        let foreign = leftover::foreign(member, &name).await?;
        if !foreign.is_empty() {
            progress.warning(format!(
                "{}: namespace {name} stays, since it holds what is not meshproof's: {}",
                member.name(),
                foreign.join(", ")
            ));
            continue;
        }
        match namespace::delete(member, &name).await {
            Ok(()) => going.push(name),
            // An administrator's, given to meshproof: its content is gone.
            Err(NamespaceError::Api(error)) if error.is_forbidden() => {
                progress.warning(format!("{}; namespace {name} stays, empty", error));
            }
            Err(error) => return Err(error.into()),
        }
    }
    try_join_all(going.iter().map(|name| namespace::wait_gone(member, name, progress))).await?;
    removed.extend(going.into_iter().map(|name| format!("Namespace {name}")));
    Ok(Cleaned {
        cluster: member.name().clone(),
        removed,
    })
}

/// Our namespaces by label, or those of our names where namespaces may not be listed.
async fn namespaces(member: &Member) -> Result<Vec<String>, CleanError> {
    let labelled = ListParams::default().labels(&crate::name::ours());
    match member.list_global::<Namespace>(&labelled).await {
        Ok(found) => Ok(found.into_iter().filter_map(|ns| ns.metadata.name).collect()),
        Err(error) if error.is_forbidden() => {
            let api: Api<Namespace> = Api::all(member.client());
            let mut ours = Vec::new();
            for name in NAMESPACES {
                let operation = crate::api::Operation::on("get", "namespaces").named(name);
                let found = member.call(operation, api.get_opt(name)).await?;
                ours.extend(found.filter(namespace::is_ours).map(|_| name.to_owned()));
            }
            Ok(ours)
        }
        Err(error) => Err(error.into()),
    }
}
