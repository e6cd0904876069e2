//! Waiting for agents by watching their pods. The run goes on with those that are ready; the others are named with
//! their last state.

mod cause;
mod census;
pub(crate) mod endpoints;
mod limit;
mod pod_state;

pub(crate) use census::{Census, Expected, Number, ReadyPod};
pub(crate) use pod_state::{PodState, restarts};

use crate::{
    ProgressSink,
    api::{ApiError, Cause, Operation, chain},
    client::ClusterClient,
    name::{NAMESPACES, of_run},
};
use futures::{StreamExt, stream::select_all};
use k8s_openapi::api::{apps::v1::DaemonSet, core::v1::Pod};
use kube::runtime::{WatchStreamExt, watcher};
use limit::Limit;
use meshproof_contract::{RunId, facts::MissingAgent};
use std::{collections::BTreeSet, time::Duration};
use tokio::time::{Instant, sleep_until};

/// How long agents may be stuck (an image that cannot be pulled, no node that fits) while nothing else changes, before
/// the run goes on without them.
const STUCK_FOR: Duration = Duration::from_secs(20);

/// Pause between two reports of the states, at least.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// The agents when waiting ended.
#[derive(Debug, Default)]
pub(crate) struct Readiness {
    /// Pods to connect to.
    pub ready: Vec<ReadyPod>,
    /// Agents that are missing.
    pub missing: Vec<MissingAgent>,
}

/// Waits until all pods of a run are ready, or the others are stuck, or the time is over: the operators' limit, or what
/// [`Limit`] gives as long as pods make progress.
pub(crate) async fn wait(
    client: &ClusterClient,
    run: &RunId,
    mut census: Census,
    within: Option<Duration>,
    progress: &ProgressSink,
) -> Result<Readiness, ApiError> {
    let namespaces: BTreeSet<&str> = NAMESPACES.into_iter().filter(|ns| census.uses(ns)).collect();
    let selection = watcher::Config::default().labels(&of_run(run));
    let mut changes = select_all(namespaces.iter().map(|ns| {
        let (pods, sets) = (client.within::<Pod>(ns), client.within::<DaemonSet>(ns));
        let pods = watcher(pods, selection.clone()).default_backoff().map(Change::Pod);
        let namespace = (*ns).to_owned();
        // Only counts are read from DaemonSets, and only where nodes may not be listed.
        let changes = if census.counts_sets() {
            let sets = watcher(sets, selection.clone()).default_backoff().map(Change::Set);
            futures::stream::select(pods, sets).boxed()
        } else {
            pods.boxed()
        };
        changes.map(move |change| (namespace.clone(), change)).boxed()
    }));
    let start = Instant::now();
    let mut limit = Limit::new(start, within);
    let mut quiet_since = start;
    let (mut shape_before, mut ready_before) = (None, usize::MAX);
    let (mut reported, mut reported_at) = (String::new(), start);
    let mut ticks = tokio::time::interval(REPORT_EVERY);
    loop {
        let pending = census.missing();
        limit.observe(census.steps(), Instant::now());
        if census.is_complete() && pending.is_empty() {
            break;
        }
        // A state that only changes its words (ErrImagePull, ImagePullBackOff and back) does not count as progress.
        let shape: Vec<_> = pending
            .iter()
            .map(|a| (a.node.clone(), a.pod.clone(), a.state.is_stuck()))
            .collect();
        if shape_before.as_ref() != Some(&shape) {
            quiet_since = Instant::now();
            shape_before = Some(shape);
        }
        // A new ready agent is reported at once, other changes once a second.
        let (ready, summary) = (census.ready().len(), census.summary());
        if summary != reported && (ready != ready_before || reported_at.elapsed() >= REPORT_EVERY) {
            progress.waiting(&summary);
            (reported, reported_at, ready_before) = (summary, Instant::now(), ready);
        }
        // While an agent is still starting there is only the limit.
        let give_up = if census.is_complete() && census.is_hopeless() {
            limit.end().min(quiet_since + STUCK_FOR)
        } else {
            limit.end()
        };
        tokio::select! {
            change = changes.next() => match change {
                Some((namespace, change)) => take(&mut census, client, &namespace, change)?,
                None => break,
            },
            _ = ticks.tick() => {}
            () = sleep_until(give_up) => break,
        }
    }
    let mut missing = Vec::new();
    for absent in census.missing() {
        missing.push(cause::explain(client, absent).await);
    }
    Ok(Readiness {
        ready: census.ready(),
        missing,
    })
}

enum Change {
    Pod(Result<watcher::Event<Pod>, watcher::Error>),
    Set(Result<watcher::Event<DaemonSet>, watcher::Error>),
}

fn take(census: &mut Census, client: &ClusterClient, namespace: &str, change: Change) -> Result<(), ApiError> {
    match change {
        Change::Pod(Ok(event)) => census.pod(namespace, event),
        Change::Set(Ok(watcher::Event::Apply(set) | watcher::Event::InitApply(set))) => census.set(namespace, &set),
        Change::Set(Ok(_)) => {}
        Change::Pod(Err(error)) => fail_if_lasting(client, "pods", namespace, error)?,
        Change::Set(Err(error)) => tracing::debug!(%error, "watch of DaemonSets failed"),
    }
    Ok(())
}

/// A failure that retrying does not change ends the wait; others are retried until the deadline.
fn fail_if_lasting(
    client: &ClusterClient,
    resource: &str,
    namespace: &str,
    error: watcher::Error,
) -> Result<(), ApiError> {
    let cause = match &error {
        watcher::Error::InitialListFailed(e) | watcher::Error::WatchStartFailed(e) | watcher::Error::WatchFailed(e) => {
            Cause::of(e)
        }
        other => Cause::Other(chain(other)),
    };
    match cause {
        Cause::Forbidden(_) | Cause::Unauthorized(_) => {
            let operation = Operation::on("watch", resource).within(namespace);
            Err(client.failed(operation, cause))
        }
        other => {
            tracing::debug!(?other, "watch of pods failed, retrying");
            Ok(())
        }
    }
}
