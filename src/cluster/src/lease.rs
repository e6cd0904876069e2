//! The Lease that keeps two runs from disturbing each other: taken before anything is deployed, renewed until everything is to go.

mod process;
mod standing;

pub use standing::Holder;
pub(crate) use standing::{DURATION, Standing, record};

use crate::{
    ApiError, Progress,
    api::Operation,
    member::Member,
    name::{LEASE, NAMESPACE},
};
use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease as LeaseObject;
use kube::{
    Resource,
    api::{DeleteParams, PostParams, Preconditions},
    runtime::watcher::watch_object,
};
use meshproof_contract::{ClusterName, RunId};
use std::{pin::pin, time::Duration};
use tokio::{task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;

/// How often the Lease is renewed.
const RENEW: Duration = Duration::from_secs(5);

/// Why the Lease was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// Another run holds it.
    #[error(
        "{cluster}: another run is under way: {holder} holds Lease {NAMESPACE}/{LEASE} since {since}; wait until it ends (if it was killed, its Lease expires in {expires_in} s and `meshproof clean` removes what it left)"
    )]
    Held {
        /// The cluster.
        cluster: ClusterName,
        /// `user@host, run …`.
        holder: String,
        /// Since when.
        since: Timestamp,
        /// Seconds until it counts as abandoned, unless renewed.
        expires_in: i64,
    },
    /// A call failed.
    #[error(transparent)]
    Api(#[from] ApiError),
}

/// A Lease that is held. Dropping it stops its renewal, so that it expires.
pub(crate) struct Lease {
    member: Member,
    stop: CancellationToken,
    lost: CancellationToken,
    renewal: Option<JoinHandle<LeaseObject>>,
}

/// Whose Lease was taken over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TakenOver {
    pub(crate) from: String,
}

impl Lease {
    /// Takes the Lease, also from a run that did not renew it in time. Cancelled while it is not clear whether the holder is alive,
    /// it counts as held. Never give its future up: a Lease could be taken that nobody knows of.
    pub(crate) async fn acquire(
        member: &Member,
        holder: &Holder,
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<(Self, Option<TakenOver>), LeaseError> {
        let api = member.within::<LeaseObject>(NAMESPACE);
        let on = |verb| {
            Operation::on(verb, "leases.coordination.k8s.io")
                .within(NAMESPACE)
                .named(LEASE)
        };
        loop {
            let Some(found) = member.get::<LeaseObject>(NAMESPACE, LEASE).await? else {
                let mine = record(holder, None, Timestamp::now());
                let params = PostParams::default();
                match member.call(on("create"), api.create(&params, &mine)).await {
                    Ok(held) => return Ok((Self::keep(member, held, progress), None)),
                    Err(error) if error.is_conflict() => continue,
                    Err(error) => return Err(error.into()),
                }
            };
            let taken_over = match Standing::of(&found, Timestamp::now()).unless_dead(&found) {
                Standing::Free => None,
                Standing::Live {
                    holder,
                    since,
                    expires_in,
                } => {
                    return Err(LeaseError::Held {
                        cluster: member.name().clone(),
                        holder,
                        since,
                        expires_in,
                    });
                }
                Standing::Expired { holder: from } => {
                    let watch = || cancel.run_until_cancelled(self::is_renewed(member, &found, &from, progress));
                    if !holder.is_same_host(&from) && watch().await.unwrap_or(true) {
                        // Its clock is behind ours; it is alive.
                        return Err(LeaseError::Held {
                            cluster: member.name().clone(),
                            since: standing::since(&found),
                            holder: from,
                            expires_in: i64::from(DURATION),
                        });
                    }
                    Some(TakenOver { from })
                }
            };
            let mine = record(holder, Some(&found), Timestamp::now());
            match member
                .call(on("update"), api.replace(LEASE, &PostParams::default(), &mine))
                .await
            {
                Ok(held) => return Ok((Self::keep(member, held, progress), taken_over)),
                Err(error) if error.is_conflict() || error.is_not_found() => continue,
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn keep(member: &Member, held: LeaseObject, progress: &Progress) -> Self {
        let (stop, lost) = (CancellationToken::new(), CancellationToken::new());
        let renewal = tokio::spawn(renew(
            member.clone(),
            held,
            stop.clone(),
            lost.clone(),
            progress.clone(),
        ));
        Self {
            member: member.clone(),
            stop,
            lost,
            renewal: Some(renewal),
        }
    }

    /// Cancelled when another run has taken the Lease, or it could not be renewed in time.
    pub(crate) fn lost(&self) -> CancellationToken {
        self.lost.clone()
    }

    pub(crate) fn member(&self) -> &Member {
        &self.member
    }

    /// Renews it no more: it goes with its namespace, and whoever comes next waits for that.
    pub(crate) fn let_go(&self) {
        self.stop.cancel();
    }

    /// Gives the Lease up; one that was lost stays with whoever has it.
    pub(crate) async fn release(mut self) -> Result<(), ApiError> {
        self.stop.cancel();
        let Some(renewal) = self.renewal.take() else {
            return Ok(());
        };
        let Ok(held) = renewal.await else { return Ok(()) };
        let api = self.member.within::<LeaseObject>(NAMESPACE);
        let params = DeleteParams::default().preconditions(Preconditions {
            resource_version: held.meta().resource_version.clone(),
            uid: held.meta().uid.clone(),
        });
        let operation = Operation::on("delete", "leases.coordination.k8s.io")
            .within(NAMESPACE)
            .named(LEASE);
        match self.member.call(operation, api.delete(LEASE, &params)).await {
            Err(error) if !error.is_not_found() && !error.is_conflict() => Err(error),
            _ => Ok(()),
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Renews until stopped; gives the Lease as last seen, and says why it is lost.
async fn renew(
    member: Member,
    mut held: LeaseObject,
    stop: CancellationToken,
    lost: CancellationToken,
    progress: Progress,
) -> LeaseObject {
    let api = member.within::<LeaseObject>(NAMESPACE);
    let mut ticks = tokio::time::interval(RENEW);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks.tick().await;
    let mut renewed = Instant::now();
    let limit = Duration::from_secs(u64::try_from(DURATION).unwrap_or_default());
    loop {
        tokio::select! {
            () = stop.cancelled() => return held,
            _ = ticks.tick() => {}
        }
        let next = standing::renewed(&held, Timestamp::now());
        let operation = Operation::on("update", "leases.coordination.k8s.io")
            .within(NAMESPACE)
            .named(LEASE);
        match member
            .call(operation, api.replace(LEASE, &PostParams::default(), &next))
            .await
        {
            Ok(now) => {
                held = now;
                renewed = Instant::now();
            }
            Err(error) if error.is_conflict() || error.is_not_found() => {
                progress.warning(format!(
                    "the Lease is lost, another run or an operator took it: {error}"
                ));
                lost.cancel();
                return held;
            }
            Err(error) if renewed.elapsed() > limit => {
                progress.warning(format!(
                    "the Lease is lost, it was not renewed for {DURATION} s: {error}"
                ));
                lost.cancel();
                return held;
            }
            Err(error) => tracing::debug!(%error, "failed to renew the Lease, trying again"),
        }
    }
}

/// Whether a Lease that looks expired is renewed while it is watched: the holder's clock may be behind ours.
async fn is_renewed(member: &Member, found: &LeaseObject, from: &str, progress: &Progress) -> bool {
    progress.waiting(format!(
        "{}: whether {from} still renews its expired Lease",
        member.name()
    ));
    let api = member.within::<LeaseObject>(NAMESPACE);
    let mut changes = pin!(watch_object(api, LEASE));
    let before = found.meta().resource_version.clone();
    let renewed = async {
        while let Some(change) = changes.next().await {
            if let Ok(Some(now)) = change
                && now.meta().resource_version != before
            {
                return;
            }
        }
        std::future::pending::<()>().await;
    };
    tokio::time::timeout(RENEW + Duration::from_secs(1), renewed)
        .await
        .is_ok()
}

/// Who holds the Lease in a cluster, if somebody does and renews it.
pub(crate) async fn live_holder(member: &Member) -> Result<Option<LeaseError>, ApiError> {
    let found = match member.get::<LeaseObject>(NAMESPACE, LEASE).await {
        Ok(found) => found,
        Err(error) if error.is_forbidden() => None,
        Err(error) => return Err(error),
    };
    Ok(found.and_then(
        |lease| match Standing::of(&lease, Timestamp::now()).unless_dead(&lease) {
            Standing::Live {
                holder,
                since,
                expires_in,
            } => Some(LeaseError::Held {
                cluster: member.name().clone(),
                holder,
                since,
                expires_in,
            }),
            _ => None,
        },
    ))
}

/// The identity of this process as a holder.
pub(crate) fn holder(run: &RunId) -> Holder {
    Holder::current(run)
}
