//! The Lease that keeps two runs apart: acquired before anything is deployed, renewed until everything is removed.

mod process;
mod renewal;
mod state;

pub use state::Holder;
pub(crate) use state::{DURATION, LeaseState, record};

use crate::{
    ApiError, ProgressSink,
    api::Operation,
    client::ClusterClient,
    name::{LEASE, NAMESPACE},
};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease as LeaseObject;
use kube::{
    Resource,
    api::{DeleteParams, PostParams, Preconditions},
};
use meshproof_contract::{ClusterName, RunId};
use renewal::{is_renewed, renew};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How often the Lease is renewed. A call that is never answered takes 20 s, and another one must follow before the
/// Lease expires.
const RENEW: Duration = Duration::from_secs(10);

/// Why the Lease was not acquired.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// Another run holds it.
    #[error(
        "{cluster}: another run is in progress: {holder} holds Lease {NAMESPACE}/{LEASE} since {since}; wait until it \
         ends. If it was killed, the Lease expires in {expires_in} s; then `meshproof clean` removes what it left"
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
    client: ClusterClient,
    stop: CancellationToken,
    lost: CancellationToken,
    renewal: Option<JoinHandle<LeaseObject>>,
}

/// The holder whose expired Lease was taken over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TakenOver {
    pub(crate) from: String,
}

impl Lease {
    /// Acquires the Lease, also from a run that did not renew it in time. Cancelled while it is not clear whether the
    /// holder is alive, it counts as held. Never drop its future: a Lease could be acquired that nobody knows of.
    pub(crate) async fn acquire(
        client: &ClusterClient,
        holder: &Holder,
        progress: &ProgressSink,
        cancel: &CancellationToken,
    ) -> Result<(Self, Option<TakenOver>), LeaseError> {
        let api = client.within::<LeaseObject>(NAMESPACE);
        loop {
            let Some(found) = client.get::<LeaseObject>(NAMESPACE, LEASE).await? else {
                let mine = record(holder, None, Timestamp::now());
                let params = PostParams::default();
                match client.call(operation("create"), api.create(&params, &mine)).await {
                    Ok(held) => return Ok((Self::keep(client, held, progress), None)),
                    Err(error) if error.is_conflict() => continue,
                    Err(error) => return Err(error.into()),
                }
            };
            let taken_over = match LeaseState::of(&found, Timestamp::now()).unless_dead(&found) {
                LeaseState::Free => None,
                LeaseState::Live {
                    holder,
                    since,
                    expires_in,
                } => {
                    return Err(LeaseError::Held {
                        cluster: client.name().clone(),
                        holder,
                        since,
                        expires_in,
                    });
                }
                LeaseState::Expired { holder: from } => {
                    let watch = || cancel.run_until_cancelled(is_renewed(client, &found, &from, progress));
                    if !holder.is_same_host(&from) && watch().await.unwrap_or(true) {
                        // Its clock is behind ours, and it is alive.
                        return Err(LeaseError::Held {
                            cluster: client.name().clone(),
                            since: state::since(&found),
                            holder: from,
                            expires_in: i64::from(DURATION),
                        });
                    }
                    Some(TakenOver { from })
                }
            };
            let mine = record(holder, Some(&found), Timestamp::now());
            match client
                .call(operation("update"), api.replace(LEASE, &PostParams::default(), &mine))
                .await
            {
                Ok(held) => return Ok((Self::keep(client, held, progress), taken_over)),
                Err(error) if error.is_conflict() || error.is_not_found() => continue,
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn keep(client: &ClusterClient, held: LeaseObject, progress: &ProgressSink) -> Self {
        let (stop, lost) = (CancellationToken::new(), CancellationToken::new());
        let renewal = tokio::spawn(renew(
            client.clone(),
            held,
            stop.clone(),
            lost.clone(),
            progress.clone(),
        ));
        Self {
            client: client.clone(),
            stop,
            lost,
            renewal: Some(renewal),
        }
    }

    /// Cancelled when another run has taken the Lease, or it could not be renewed in time.
    pub(crate) fn lost(&self) -> CancellationToken {
        self.lost.clone()
    }

    pub(crate) fn client(&self) -> &ClusterClient {
        &self.client
    }

    /// Stops its renewal: it is deleted with its namespace, and the next run waits for that.
    pub(crate) fn stop_renewal(&self) {
        self.stop.cancel();
    }

    /// Deletes the Lease; one that was lost stays with its new holder.
    pub(crate) async fn release(mut self) -> Result<(), ApiError> {
        self.stop.cancel();
        let Some(renewal) = self.renewal.take() else {
            return Ok(());
        };
        let Ok(held) = renewal.await else { return Ok(()) };
        let api = self.client.within::<LeaseObject>(NAMESPACE);
        let params = DeleteParams::default().preconditions(Preconditions {
            resource_version: held.meta().resource_version.clone(),
            uid: held.meta().uid.clone(),
        });
        match self.client.call(operation("delete"), api.delete(LEASE, &params)).await {
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

/// Who holds the Lease of a cluster, if somebody holds and renews it.
pub(crate) async fn live_holder(client: &ClusterClient) -> Result<Option<LeaseError>, ApiError> {
    let found = match client.get::<LeaseObject>(NAMESPACE, LEASE).await {
        Ok(found) => found,
        Err(error) if error.is_forbidden() => None,
        Err(error) => return Err(error),
    };
    Ok(found.and_then(
        |lease| match LeaseState::of(&lease, Timestamp::now()).unless_dead(&lease) {
            LeaseState::Live {
                holder,
                since,
                expires_in,
            } => Some(LeaseError::Held {
                cluster: client.name().clone(),
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

fn operation(verb: &'static str) -> Operation {
    Operation::on(verb, "leases.coordination.k8s.io")
        .within(NAMESPACE)
        .named(LEASE)
}
