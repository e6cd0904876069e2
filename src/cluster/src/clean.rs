//! `meshproof clean`: removes everything that runs left on the clusters, and nothing else.

use crate::{
    ApiError, Contexts, NodePower, ProgressSink,
    cleanup::{self, RunSelector},
    client::ClusterClient,
    environment::disruption::undo_abandoned,
    lease::{self, LeaseError},
    name::NAMESPACES,
    namespace::{self, NamespaceError},
};
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::ListParams;
use meshproof_contract::ClusterName;
use std::fmt;

/// What happens to a run that is in progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Live {
    /// A run that still renews its Lease is an error.
    Spare,
    /// It is removed as well (`--force`).
    RemoveToo,
}

/// What was done to one cluster; displayed as one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cleaned {
    /// The cluster.
    pub cluster: ClusterName,
    /// Disruptions that were undone: `uncordoned Node apps-2`.
    pub restored: Vec<String>,
    /// `Namespace meshproof`, `CiliumClusterwideNetworkPolicy x`; empty if nothing was left.
    pub removed: Vec<String>,
}

impl fmt::Display for Cleaned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (restored, removed) = (self.restored.join(", "), self.removed.join(", "));
        let done = match (restored.as_str(), removed.as_str()) {
            ("", "") => "nothing to remove".to_owned(),
            (_, "") => restored,
            ("", _) => format!("removed {removed}"),
            _ => format!("{restored}; removed {removed}"),
        };
        write!(f, "{}: {done}", self.cluster)
    }
}

/// Why the clusters could not be cleaned.
#[derive(Debug, thiserror::Error)]
pub enum CleanError {
    /// A run is in progress.
    #[error("{0}; `meshproof clean --force` removes it anyway")]
    Live(LeaseError),
    /// A namespace was not deleted.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    /// A call failed.
    #[error(transparent)]
    Api(#[from] ApiError),
}

/// Removes everything that carries meshproof's label from every cluster, and waits until it is gone. Changes no cluster
/// while a run is in progress on one of them. Nodes that a killed run cut off are brought back by `power`.
pub async fn clean(
    contexts: &Contexts,
    live: Live,
    power: Option<&dyn NodePower>,
    progress: &ProgressSink,
) -> Result<Vec<Cleaned>, CleanError> {
    let clients = contexts.clients();
    if live == Live::Spare {
        let holders = try_join_all(clients.iter().map(lease::live_holder)).await?;
        if let Some(held) = holders.into_iter().flatten().next() {
            return Err(CleanError::Live(held));
        }
    }
    try_join_all(clients.iter().map(|client| clean_one(client, power, progress))).await
}

async fn clean_one(
    client: &ClusterClient,
    power: Option<&dyn NodePower>,
    progress: &ProgressSink,
) -> Result<Cleaned, CleanError> {
    let restored = undo_abandoned(client, power, progress).await?;
    let mut removed = cleanup::delete_cluster_wide(client, RunSelector::All).await?;
    removed.extend(cleanup::delete_stand_ins(client, None, RunSelector::All).await?);
    removed.extend(cleanup::delete_in_namespaces(client, RunSelector::All).await?);
    let mut going = Vec::new();
    for name in namespaces(client).await? {
        let foreign = cleanup::foreign(client, &name).await?;
        if !foreign.is_empty() {
            progress.warning(format!(
                "{}: kept namespace {name}: it contains objects that are not meshproof's: {}",
                client.name(),
                foreign.join(", ")
            ));
            continue;
        }
        match namespace::delete(client, &name).await {
            Ok(()) => going.push(name),
            // An administrator made it for meshproof: its content is gone.
            Err(NamespaceError::Api(error)) if error.is_forbidden() => {
                progress.warning(format!("{error}; kept the empty namespace {name}"));
            }
            Err(error) => return Err(error.into()),
        }
    }
    let names: Vec<&str> = going.iter().map(String::as_str).collect();
    namespace::wait_gone(client, &names, progress).await?;
    removed.extend(going.into_iter().map(|name| format!("Namespace {name}")));
    Ok(Cleaned {
        cluster: client.name().clone(),
        restored,
        removed,
    })
}

/// Our namespaces by label, or by name where namespaces may not be listed.
async fn namespaces(client: &ClusterClient) -> Result<Vec<String>, CleanError> {
    let labelled = ListParams::default().labels(&crate::name::ours());
    match client.list_global::<Namespace>(&labelled).await {
        Ok(found) => Ok(found.into_iter().filter_map(|ns| ns.metadata.name).collect()),
        Err(error) if error.is_forbidden() => {
            let mut ours = Vec::new();
            for name in NAMESPACES {
                let found = namespace::get(client, name).await?;
                ours.extend(found.filter(namespace::is_ours).map(|_| name.to_owned()));
            }
            Ok(ours)
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_is_one_line() {
        let line = |restored: &[&str], removed: &[&str]| {
            let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
            let cleaned = Cleaned {
                cluster: "infra".into(),
                restored: owned(restored),
                removed: owned(removed),
            };
            cleaned.to_string()
        };
        assert_eq!(line(&[], &[]), "infra: nothing to remove");
        assert_eq!(
            line(&[], &["Service a/b", "Namespace a"]),
            "infra: removed Service a/b, Namespace a"
        );
        assert_eq!(
            line(&["uncordoned Node infra-2"], &["Namespace a"]),
            "infra: uncordoned Node infra-2; removed Namespace a"
        );
    }
}
