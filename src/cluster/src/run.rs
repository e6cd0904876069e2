//! A run on the clusters: acquires Leases and namespaces, deploys, and removes everything again.

mod deploy;
mod error;

pub use deploy::DeployOptions;
pub use error::{DeployError, StartError, TearDownError};

use crate::{
    Contexts, ProgressSink,
    cleanup::{self, RunSelector},
    client::ClusterClient,
    environment::disruption::undo_abandoned,
    lease::{self, Lease, LeaseError},
    name::{LEASE, NAMESPACE, NAMESPACES, NODE_NAMESPACE, PEER_NAMESPACE},
    namespace::{self, Ensured, NamespaceError},
};
use futures::future::{join_all, try_join_all};
use meshproof_contract::{ClusterName, RunId};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
};
use tokio_util::sync::CancellationToken;

/// The clusters, held by this run. [`Run::tear_down`] gives them back; dropped without it (a panic), the Leases expire
/// and the next run or `meshproof clean` removes the rest.
pub struct Run {
    id: RunId,
    contexts: Contexts,
    leases: Vec<Lease>,
    lost: CancellationToken,
    progress: ProgressSink,
    /// The namespaces that this run created, with their UIDs.
    created: Mutex<BTreeMap<(ClusterName, &'static str), String>>,
    /// Namespaces of the operators in which it runs pods.
    visited: Mutex<BTreeSet<(ClusterName, String)>>,
}

impl Run {
    /// Acquires the Lease and the namespaces in every cluster; removes what a killed run left there.
    ///
    /// On failure nothing is kept: a Lease acquired in another cluster is released.
    pub async fn start(contexts: &Contexts, id: RunId, progress: &ProgressSink) -> Result<Self, StartError> {
        Self::start_unless(contexts, id, progress, &CancellationToken::new()).await
    }

    /// [`Run::start`] that releases everything when `cancel` is cancelled, and fails as interrupted. (Dropping the
    /// future of either would keep the Lease until it expires, and a call in progress may still act; so only
    /// waiting is cut short.)
    pub async fn start_unless(
        contexts: &Contexts,
        id: RunId,
        progress: &ProgressSink,
        cancel: &CancellationToken,
    ) -> Result<Self, StartError> {
        let mut run = Self {
            id,
            contexts: contexts.clone(),
            leases: Vec::new(),
            lost: CancellationToken::new(),
            progress: progress.clone(),
            created: Mutex::default(),
            visited: Mutex::default(),
        };
        let taken = match run.take_all(cancel).await {
            _ if cancel.is_cancelled() => Err(StartError::Interrupted),
            taken => taken,
        };
        match taken {
            Ok(()) => Ok(run),
            Err(error) => {
                if let Err(left) = run.tear_down().await {
                    progress.warning(left.to_string());
                }
                Err(error)
            }
        }
    }

    /// The run's id.
    pub fn id(&self) -> &RunId {
        &self.id
    }

    /// Cancelled when another run took a Lease over, or one could not be renewed: later observations prove nothing.
    pub fn lost(&self) -> CancellationToken {
        self.lost.clone()
    }

    async fn take_all(&mut self, cancel: &CancellationToken) -> Result<(), StartError> {
        // One order for all runs, whatever roles they give the clusters: of two that start at once, one gets all.
        let clients = self.contexts.clients().to_vec();
        let uids = join_all(clients.iter().map(ClusterClient::uid)).await;
        let mut order: Vec<_> = clients
            .iter()
            .zip(uids)
            .map(|(m, uid)| (uid.unwrap_or_else(|| m.endpoint().server.clone()), m))
            .collect();
        order.sort_by(|a, b| a.0.cmp(&b.0));
        let mut found = BTreeSet::new();
        for (_, client) in order {
            if cancel.is_cancelled() {
                return Err(StartError::Interrupted);
            }
            let (lease, ensured) = self.take(client, cancel).await?;
            if ensured == Ensured::Found {
                found.insert(client.name().clone());
            }
            let (one, all) = (lease.lost(), self.lost.clone());
            self.leases.push(lease);
            tokio::spawn(async move {
                one.cancelled().await;
                all.cancel();
            });
        }
        let prepared = clients
            .iter()
            .map(|client| self.prepare(client, found.contains(client.name()), cancel));
        try_join_all(prepared).await?;
        Ok(())
    }

    /// A namespace of the run, remembered if it had to be created.
    async fn ensure(
        &self,
        client: &ClusterClient,
        name: &'static str,
        cancel: &CancellationToken,
    ) -> Result<Ensured, NamespaceError> {
        let ensured = namespace::ensure(client, name, &self.id, &self.progress, cancel).await?;
        if let Ensured::Created { uid } = &ensured {
            let mut created = self.created.lock().unwrap_or_else(PoisonError::into_inner);
            created.insert((client.name().clone(), name), uid.clone());
        }
        Ok(ensured)
    }

    /// Remembers a namespace of the operators as one to tidy up, and removes what earlier runs left there.
    async fn visit(&self, client: &ClusterClient, namespace: &str) -> Result<(), crate::ApiError> {
        let place = (client.name().clone(), namespace.to_owned());
        self.visited
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(place);
        cleanup::delete_stand_ins(client, Some(namespace), RunSelector::OthersThan(&self.id)).await?;
        Ok(())
    }

    /// Removes the pods in namespaces of the operators, and waits until they are gone.
    async fn leave(&self, client: &ClusterClient) -> Result<(), StartError> {
        let visited = self.visited.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let here = visited.into_iter().filter(|(cluster, _)| cluster == client.name());
        let leaving = here.map(|(_, namespace)| async move {
            cleanup::delete_stand_ins(client, Some(&namespace), RunSelector::All).await?;
            cleanup::wait_stand_ins_gone(client, &namespace, &self.progress).await?;
            Ok::<_, StartError>(())
        });
        try_join_all(leaving).await?;
        Ok(())
    }

    async fn take(&self, client: &ClusterClient, cancel: &CancellationToken) -> Result<(Lease, Ensured), StartError> {
        self.progress
            .waiting(format!("{}: Lease {NAMESPACE}/{LEASE}", client.name()));
        let ensured = self.ensure(client, NAMESPACE, cancel).await?;
        match Lease::acquire(client, &lease::holder(&self.id), &self.progress, cancel).await {
            Ok((lease, taken_over)) => {
                if let Some(abandoned) = taken_over {
                    self.progress.warning(format!(
                        "{}: {} did not end properly; removing what it left",
                        client.name(),
                        abandoned.from
                    ));
                }
                Ok((lease, ensured))
            }
            Err(error) => {
                if matches!(ensured, Ensured::Created { .. }) && !matches!(error, LeaseError::Held { .. }) {
                    let removed = namespace::delete(client, NAMESPACE).await;
                    if let Err(left) = removed {
                        self.progress.warning(left.to_string());
                    }
                }
                Err(error.into())
            }
        }
    }

    /// Creates the other namespaces, and removes what other runs left: a namespace that was just created holds nothing.
    async fn prepare(
        &self,
        client: &ClusterClient,
        was_found: bool,
        cancel: &CancellationToken,
    ) -> Result<(), StartError> {
        let others = [NODE_NAMESPACE, PEER_NAMESPACE];
        let ensured = try_join_all(others.map(|name| self.ensure(client, name, cancel))).await?;
        let found = others.into_iter().zip(ensured);
        let found = found
            .filter(|(_, ensured)| *ensured == Ensured::Found)
            .map(|(name, _)| name);
        let found: Vec<&str> = was_found.then_some(NAMESPACE).into_iter().chain(found).collect();
        let removed = cancel.run_until_cancelled(self.remove_leftovers(client, &found)).await;
        removed.ok_or(StartError::Interrupted)??;
        for name in found {
            namespace::adopt(client, name, &self.id).await?;
        }
        Ok(())
    }

    async fn remove_leftovers(&self, client: &ClusterClient, namespaces: &[&str]) -> Result<(), StartError> {
        let others = RunSelector::OthersThan(&self.id);
        let mut removed = cleanup::delete_in(client, namespaces, others).await?;
        if !removed.is_empty() {
            cleanup::wait_pods_gone(client, others, &self.progress).await?;
        }
        removed.extend(cleanup::delete_cluster_wide(client, others).await?);
        let restored = undo_abandoned(client, None, &self.progress).await?;
        for (done, what) in [
            ("undid disruptions of an earlier run", restored),
            ("removed objects of an earlier run", removed),
        ] {
            if !what.is_empty() {
                let what = what.join(", ");
                self.progress.warning(format!("{}: {done}: {what}", client.name()));
            }
        }
        Ok(())
    }

    /// Removes everything of this run from its clusters, and waits until it is gone.
    ///
    /// Every cluster is tried; the error holds the first failure of each.
    pub async fn tear_down(mut self) -> Result<(), TearDownError> {
        let leases = std::mem::take(&mut self.leases);
        let results = join_all(leases.into_iter().map(|lease| self.release(lease))).await;
        let failures: Vec<_> = results.into_iter().filter_map(Result::err).collect();
        if failures.is_empty() {
            Ok(())
        } else {
            Err(TearDownError { failures })
        }
    }

    async fn release(&self, lease: Lease) -> Result<(), StartError> {
        let client = lease.client().clone();
        if lease.lost().is_cancelled() {
            // A run that took it removes what we left. Whether there is one, an API server that is away cannot say.
            self.progress.warning(format!(
                "{}: what this run created is still there, since its Lease is lost; the next run or `meshproof clean` \
                 removes it",
                client.name()
            ));
            return Ok(());
        }
        self.progress
            .waiting(format!("{}: deletion of the run's objects", client.name()));
        cleanup::delete_cluster_wide(&client, RunSelector::All).await?;
        self.leave(&client).await?;
        lease.stop_renewal();
        let mut kept = Vec::new();
        let created = self.created.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let deleting = NAMESPACES.map(|name| {
            let uid = created.get(&(client.name().clone(), name)).cloned();
            let client = &client;
            async move {
                match uid {
                    Some(uid) => namespace::delete_created(client, name, &uid).await,
                    None => namespace::delete(client, name).await,
                }
            }
        });
        let deleted = join_all(deleting).await;
        for (name, deleted) in NAMESPACES.into_iter().zip(deleted) {
            match deleted {
                Err(NamespaceError::Api(error)) if error.is_forbidden() => kept.push(name),
                other => other?,
            }
        }
        if kept.contains(&NAMESPACE) {
            // An administrator made the namespace for us: leave it as it was, empty.
            cleanup::delete_in_namespaces(&client, RunSelector::All).await?;
            cleanup::wait_pods_gone(&client, RunSelector::All, &self.progress).await?;
            lease.release().await?;
        }
        let going: Vec<&str> = NAMESPACES.into_iter().filter(|name| !kept.contains(name)).collect();
        namespace::wait_gone(&client, &going, &self.progress).await?;
        Ok(())
    }
}
