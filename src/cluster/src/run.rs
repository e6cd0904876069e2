//! A run on the clusters: takes Lease and namespaces, deploys, and removes everything again.

mod deploy;
mod error;

pub use deploy::DeployOptions;
pub(crate) use deploy::apply;
pub use error::{DeployError, StartError, TearDownError};

use crate::{
    Contexts, Progress,
    context::cluster_uid,
    environment::disturbance::mend,
    lease::{self, Lease, LeaseError},
    leftover::{self, Of},
    member::Member,
    name::{NAMESPACE, NAMESPACES, NODE_NAMESPACE, PEER_NAMESPACE},
    namespace::{self, Ensured, NamespaceError},
};
use futures::future::{join_all, try_join_all};
use meshproof_contract::RunId;
use tokio_util::sync::CancellationToken;

/// The clusters, held by this run. [`Run::tear_down`] gives them back; dropped without it (a panic), the Leases expire
/// and the next run or `meshproof clean` removes the rest.
pub struct Run {
    id: RunId,
    contexts: Contexts,
    leases: Vec<Lease>,
    lost: CancellationToken,
    progress: Progress,
}

impl Run {
    /// Takes the Lease in every cluster, and both namespaces; removes what an abandoned run left there.
    ///
    /// On failure nothing is kept: a Lease taken in another cluster is given back.
    pub async fn start(contexts: &Contexts, id: RunId, progress: &Progress) -> Result<Self, StartError> {
        Self::start_unless(contexts, id, progress, &CancellationToken::new()).await
    }

    /// [`Run::start`] that gives back what it has taken when `cancel` is cancelled, and fails as interrupted. (Giving up the
    /// future of either would leave it taken until the Lease expires, and a call that is under way may still act; so only what
    /// waits without taking anything is cut short.)
    pub async fn start_unless(
        contexts: &Contexts,
        id: RunId,
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<Self, StartError> {
        let mut run = Self {
            id,
            contexts: contexts.clone(),
            leases: Vec::new(),
            lost: CancellationToken::new(),
            progress: progress.clone(),
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

    /// Cancelled when another run took a Lease over, or one could not be renewed: what is observed from then on is worth nothing.
    pub fn lost(&self) -> CancellationToken {
        self.lost.clone()
    }

    async fn take_all(&mut self, cancel: &CancellationToken) -> Result<(), StartError> {
        // One order for all runs, whatever roles they give the clusters: of two that start at once, one gets all.
        let members = self.contexts.members().to_vec();
        let uids = join_all(members.iter().map(cluster_uid)).await;
        let mut order: Vec<_> = members
            .iter()
            .zip(uids)
            .map(|(m, uid)| (uid.unwrap_or_else(|| m.endpoint().server.clone()), m))
            .collect();
        order.sort_by(|a, b| a.0.cmp(&b.0));
        for (_, member) in order {
            if cancel.is_cancelled() {
                return Err(StartError::Interrupted);
            }
            let lease = self.take(member, cancel).await?;
            let (one, all) = (lease.lost(), self.lost.clone());
            self.leases.push(lease);
            tokio::spawn(async move {
                one.cancelled().await;
                all.cancel();
            });
        }
        try_join_all(members.iter().map(|member| self.prepare(member, cancel))).await?;
        Ok(())
    }

    async fn take(&self, member: &Member, cancel: &CancellationToken) -> Result<Lease, StartError> {
        self.progress.waiting(format!("{}: the Lease", member.name()));
        let ensured = namespace::ensure(member, NAMESPACE, &self.id, &self.progress, cancel).await?;
        match Lease::acquire(member, &lease::holder(&self.id), &self.progress, cancel).await {
            Ok((lease, taken_over)) => {
                if let Some(abandoned) = taken_over {
                    self.progress.warning(format!(
                        "{}: {} did not end properly; what it left is removed",
                        member.name(),
                        abandoned.from
                    ));
                }
                Ok(lease)
            }
            Err(error) => {
                if ensured == Ensured::Created && !matches!(error, LeaseError::Held { .. }) {
                    let removed = namespace::delete(member, NAMESPACE).await;
                    if let Err(left) = removed {
                        self.progress.warning(left.to_string());
                    }
                }
                Err(error.into())
            }
        }
    }

    /// Removes what others left, and makes the other namespaces.
    async fn prepare(&self, member: &Member, cancel: &CancellationToken) -> Result<(), StartError> {
        let removed = cancel.run_until_cancelled(self.remove_leftovers(member)).await;
        removed.ok_or(StartError::Interrupted)??;
        namespace::adopt(member, NAMESPACE, &self.id).await?;
        for name in [NODE_NAMESPACE, PEER_NAMESPACE] {
            if namespace::ensure(member, name, &self.id, &self.progress, cancel).await? == Ensured::Found {
                namespace::adopt(member, name, &self.id).await?;
            }
        }
        Ok(())
    }

    async fn remove_leftovers(&self, member: &Member) -> Result<(), StartError> {
        let others = Of::OthersThan(&self.id);
        let mut removed = leftover::delete_in_namespaces(member, others).await?;
        if !removed.is_empty() {
            leftover::wait_pods_gone(member, others, &self.progress).await?;
        }
        removed.extend(leftover::delete_cluster_wide(member, others).await?);
        let mended = mend(member).await?;
        if !mended.is_empty() {
            let what = mended.join(", ");
            self.progress.warning(format!(
                "{}: undid what an earlier run had disturbed: {what}",
                member.name()
            ));
        }
        if !removed.is_empty() {
            self.progress.warning(format!(
                "{}: removed what an earlier run left: {}",
                member.name(),
                removed.join(", ")
            ));
        }
        Ok(())
    }

    /// Removes everything of this run from the clusters that it holds, and waits until it is gone.
    ///
    /// Every cluster is tried; the first failure of each is told.
    pub async fn tear_down(mut self) -> Result<(), TearDownError> {
        let leases = std::mem::take(&mut self.leases);
        let results = join_all(leases.into_iter().map(|lease| self.give_back(lease))).await;
        let failures: Vec<_> = results.into_iter().filter_map(Result::err).collect();
        match failures.is_empty() {
            true => Ok(()),
            false => Err(TearDownError { failures }),
        }
    }

    async fn give_back(&self, lease: Lease) -> Result<(), StartError> {
        let member = lease.member().clone();
        if lease.lost().is_cancelled() {
            // Whoever took it removes what we left.
            return Ok(());
        }
        self.progress.waiting(format!("{}: everything to go", member.name()));
        leftover::delete_cluster_wide(&member, Of::All).await?;
        lease.let_go();
        let mut kept = Vec::new();
        for name in NAMESPACES {
            match namespace::delete(&member, name).await {
                Err(NamespaceError::Api(error)) if error.is_forbidden() => kept.push(name),
                other => other?,
            }
        }
        if kept.contains(&NAMESPACE) {
            // An administrator made the namespace for us: leave it as it was found, empty.
            leftover::delete_in_namespaces(&member, Of::All).await?;
            leftover::wait_pods_gone(&member, Of::All, &self.progress).await?;
            lease.release().await?;
        }
        let going = NAMESPACES.into_iter().filter(|name| !kept.contains(name));
        try_join_all(going.map(|name| namespace::wait_gone(&member, name, &self.progress))).await?;
        Ok(())
    }
}
