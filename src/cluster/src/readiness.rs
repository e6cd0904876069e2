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
    name::of_run,
};
use futures::{
    StreamExt,
    stream::{BoxStream, select_all},
};
use k8s_openapi::api::{apps::v1::DaemonSet, core::v1::Pod};
use kube::{
    ResourceExt,
    runtime::{WatchStreamExt, watcher},
};
use limit::Limit;
use meshproof_contract::{RunId, facts::MissingAgent};
use std::time::Duration;
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
    let namespaces = census.namespaces();
    let namespaces: Vec<&str> = namespaces.iter().map(String::as_str).collect();
    // One watch for all of them; one for each where no other may be made.
    let mut changes = watch(client, run, &[None], census.counts_sets());
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
                Some((None, Change::Pod(Err(error)) | Change::Set(Err(error)))) if is_forbidden(&error) => {
                    let each: Vec<Option<&str>> = namespaces.iter().copied().map(Some).collect();
                    changes = watch(client, run, &each, census.counts_sets());
                }
                Some((within, change)) => take(&mut census, client, (within, &namespaces), change)?,
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

/// What changes, each with the namespace that was watched; none for all.
type Changes = BoxStream<'static, (Option<String>, Change)>;

/// Watches the run's pods in these namespaces, or in all.
fn watch(client: &ClusterClient, run: &RunId, namespaces: &[Option<&str>], counts_sets: bool) -> Changes {
    let selection = watcher::Config::default().labels(&of_run(run));
    let watches = namespaces.iter().map(|namespace| {
        let namespace = namespace.map(str::to_owned);
        let pods = watcher(client.within_or_all::<Pod>(namespace.as_deref()), selection.clone());
        let pods = pods.default_backoff().map(Change::Pod);
        // Only counts are read from DaemonSets, and only where nodes may not be listed.
        let changes = if counts_sets {
            let sets = watcher(
                client.within_or_all::<DaemonSet>(namespace.as_deref()),
                selection.clone(),
            );
            futures::stream::select(pods, sets.default_backoff().map(Change::Set)).boxed()
        } else {
            pods.boxed()
        };
        changes.map(move |change| (namespace.clone(), change))
    });
    select_all(watches).boxed()
}

fn take(
    census: &mut Census,
    client: &ClusterClient,
    (within, namespaces): (Option<String>, &[&str]),
    change: Change,
) -> Result<(), ApiError> {
    match (change, within) {
        (Change::Pod(Ok(event)), Some(namespace)) => census.pod(&namespace, event),
        (Change::Pod(Ok(event)), None) => match event {
            watcher::Event::Apply(ref pod) | watcher::Event::InitApply(ref pod) | watcher::Event::Delete(ref pod) => {
                census.pod(&pod.namespace().unwrap_or_default(), event);
            }
            watcher::Event::Init => namespaces.iter().for_each(|ns| census.pod(ns, watcher::Event::Init)),
            watcher::Event::InitDone => namespaces
                .iter()
                .for_each(|ns| census.pod(ns, watcher::Event::InitDone)),
        },
        (Change::Set(Ok(watcher::Event::Apply(set) | watcher::Event::InitApply(set))), _) => {
            census.set(&set.namespace().unwrap_or_default(), &set);
        }
        (Change::Set(Ok(_)), _) => {}
        (Change::Pod(Err(error)), within) => fail_if_lasting(client, "pods", within.as_deref(), error)?,
        (Change::Set(Err(error)), _) => tracing::debug!(%error, "watch of DaemonSets failed"),
    }
    Ok(())
}

/// Why a watch failed.
fn cause_of(error: &watcher::Error) -> Cause {
    match error {
        watcher::Error::InitialListFailed(e) | watcher::Error::WatchStartFailed(e) | watcher::Error::WatchFailed(e) => {
            Cause::of(e)
        }
        other => Cause::Other(chain(other)),
    }
}

fn is_forbidden(error: &watcher::Error) -> bool {
    matches!(cause_of(error), Cause::Forbidden(_))
}

/// A failure that retrying does not change ends the wait; others are retried until the deadline.
fn fail_if_lasting(
    client: &ClusterClient,
    resource: &str,
    within: Option<&str>,
    error: watcher::Error,
) -> Result<(), ApiError> {
    match cause_of(&error) {
        cause @ (Cause::Forbidden(_) | Cause::Unauthorized(_)) => {
            let operation = Operation {
                namespace: within.map(str::to_owned),
                ..Operation::on("watch", resource)
            };
            Err(client.failed(operation, cause))
        }
        other => {
            tracing::debug!(?other, "watch of pods failed, retrying");
            Ok(())
        }
    }
}
