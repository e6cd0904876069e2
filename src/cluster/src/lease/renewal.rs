//! Renewing the Lease, and watching whether somebody else renews it.

use super::{DURATION, RENEW, operation, state};
use crate::{
    ProgressSink,
    api::Cause,
    client::ClusterClient,
    name::{LEASE, NAMESPACE},
};
use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease as LeaseObject;
use kube::{Resource, api::PostParams, runtime::watcher::watch_object};
use meshproof_contract::ClusterChange;
use std::{pin::pin, time::Duration};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Renews the Lease until stopped, and returns it as last seen; `lost` is cancelled when it is lost.
pub(super) async fn renew(
    client: ClusterClient,
    mut held: LeaseObject,
    stop: CancellationToken,
    lost: CancellationToken,
    progress: ProgressSink,
) -> LeaseObject {
    let api = client.within::<LeaseObject>(NAMESPACE);
    let mut ticks = tokio::time::interval(RENEW);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks.tick().await;
    let mut renewed = Instant::now();
    let mut away = false;
    let limit = Duration::from_secs(u64::try_from(DURATION).unwrap_or_default());
    loop {
        tokio::select! {
            () = stop.cancelled() => return held,
            _ = ticks.tick() => {}
        }
        let next = state::renewed(&held, Timestamp::now());
        let params = PostParams::default();
        let renewal = client
            .call(operation("update"), api.replace(LEASE, &params, &next))
            .await;
        let unreachable = match &renewal {
            Err(error) => match &error.cause {
                Cause::Unreachable(outage) => Some(outage.to_string()),
                _ => None,
            },
            Ok(_) => None,
        };
        // The renewal is the one call that is made all the time, so it shows whether the API server answers.
        match unreachable {
            Some(reason) if !away => {
                away = true;
                progress.changed(client.name(), ClusterChange::ApiAway { reason });
            }
            None if away => {
                away = false;
                progress.changed(client.name(), ClusterChange::ApiBack);
            }
            _ => {}
        }
        match renewal {
            Ok(now) => {
                held = now;
                renewed = Instant::now();
            }
            Err(error) if error.is_conflict() || error.is_not_found() => {
                progress.warning(format!("lost the Lease: another run or an operator took it: {error}"));
                lost.cancel();
                return held;
            }
            Err(error) if renewed.elapsed() > limit => {
                progress.warning(format!("lost the Lease: failed to renew it for {DURATION} s: {error}"));
                lost.cancel();
                return held;
            }
            Err(error) => tracing::debug!(%error, "failed to renew the Lease, retrying"),
        }
    }
}

/// Whether an expired Lease is renewed while it is watched: the holder's clock may be behind ours.
pub(super) async fn is_renewed(
    client: &ClusterClient,
    found: &LeaseObject,
    from: &str,
    progress: &ProgressSink,
) -> bool {
    progress.waiting(format!(
        "{}: possible renewal of the expired Lease by {from}",
        client.name()
    ));
    let api = client.within::<LeaseObject>(NAMESPACE);
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
