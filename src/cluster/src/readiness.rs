//! Waiting for agents by watching their pods. Goes on with those that are ready; the others are named with the last state seen.

mod cause;
mod census;
pub(crate) mod endpoints;
mod limit;

pub(crate) use census::{Census, Expected, Number, ReadyPod, State, restarts, state};

use crate::{
    Progress,
    api::{ApiError, Cause, Operation},
    member::Member,
    name::{NAMESPACES, of_run},
};
use futures::{StreamExt, stream::select_all};
use k8s_openapi::api::{apps::v1::DaemonSet, core::v1::Pod};
use kube::runtime::{WatchStreamExt, watcher};
use limit::Limit;
use meshproof_contract::{RunId, facts::MissingAgent};
use std::{collections::BTreeSet, time::Duration};
use tokio::time::{Instant, sleep_until};

/// How long a state that does not look like progress (an image that cannot be pulled, no node that fits) may last
/// while nothing else changes, before the run goes on without that agent.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// How often a change of state is told, at most.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// What was found when waiting ended.
#[derive(Debug, Default)]
pub(crate) struct Readiness {
    /// Pods to connect to.
    pub ready: Vec<ReadyPod>,
    /// Agents to do without.
    pub missing: Vec<MissingAgent>,
}

/// Waits until all pods of a run are ready, or none of the others seems to come, or the time is over: that of the operators,
/// or what [`Limit`] gives as long as pods get on.
pub(crate) async fn wait(
    member: &Member,
    run: &RunId,
    mut census: Census,
    within: Option<Duration>,
    progress: &Progress,
) -> Result<Readiness, ApiError> {
    let namespaces: BTreeSet<&str> = NAMESPACES.into_iter().filter(|ns| census.uses(ns)).collect();
    let selection = watcher::Config::default().labels(&of_run(run));
    let mut changes = select_all(namespaces.iter().map(|ns| {
        let (pods, sets) = (member.within::<Pod>(ns), member.within::<DaemonSet>(ns));
        let pods = watcher(pods, selection.clone()).default_backoff().map(Change::Pod);
        let sets = watcher(sets, selection.clone()).default_backoff().map(Change::Set);
        let namespace = (*ns).to_owned();
        futures::stream::select(pods, sets)
            .map(move |change| (namespace.clone(), change))
            .boxed()
    }));
    let start = Instant::now();
    let mut limit = Limit::new(start, within);
    let mut quiet_since = start;
    let (mut shape_before, mut told_before, mut told_at, mut ready_before) = (None, String::new(), start, usize::MAX);
    let mut ticks = tokio::time::interval(TELL_EVERY);
    loop {
        let pending = census.missing();
        limit.take(census.steps(), Instant::now());
        if census.is_complete() && pending.is_empty() {
            break;
        }
        // A state that only changes its words (ErrImagePull, ImagePullBackOff and back) is no movement.
        let shape: Vec<_> = pending
            .iter()
            .map(|a| (a.node.clone(), a.pod.clone(), a.state.is_stuck()))
            .collect();
        if shape_before.as_ref() != Some(&shape) {
            quiet_since = Instant::now();
            shape_before = Some(shape);
        }
        // Every new agent is worth a word at once, words about the others once a second.
        let (ready, told) = (census.ready().len(), census.tell());
        if told != told_before && (ready != ready_before || told_at.elapsed() >= TELL_EVERY) {
            progress.waiting(&told);
            (told_before, told_at, ready_before) = (told, Instant::now(), ready);
        }
        // With somebody still on the way there is only the limit.
        let give_up = match census.is_complete() && census.is_hopeless() {
            true => limit.end().min(quiet_since + PATIENCE),
            false => limit.end(),
        };
        tokio::select! {
            change = changes.next() => match change {
                Some((namespace, change)) => take(&mut census, member, &namespace, change)?,
                None => break,
            },
            _ = ticks.tick() => {}
            () = sleep_until(give_up) => break,
        }
    }
    let mut missing = Vec::new();
    for absent in census.missing() {
        missing.push(cause::explain(member, absent).await);
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

fn take(census: &mut Census, member: &Member, namespace: &str, change: Change) -> Result<(), ApiError> {
    match change {
        Change::Pod(Ok(event)) => census.pod(namespace, event),
        Change::Set(Ok(watcher::Event::Apply(set) | watcher::Event::InitApply(set))) => census.set(namespace, &set),
        Change::Set(Ok(_)) => {}
        Change::Pod(Err(error)) => refuse(member, "pods", namespace, error)?,
        // Only counts are read from it, and only where nodes may not be listed.
        Change::Set(Err(error)) => tracing::debug!(%error, "watch of DaemonSets failed"),
    }
    Ok(())
}

/// What will not change by trying again ends the wait; the rest is tried again until the deadline.
fn refuse(member: &Member, resource: &str, namespace: &str, error: watcher::Error) -> Result<(), ApiError> {
    let cause = match &error {
        watcher::Error::InitialListFailed(e) | watcher::Error::WatchStartFailed(e) | watcher::Error::WatchFailed(e) => {
            Cause::of(e)
        }
        other => Cause::Other(crate::api::chain(other)),
    };
    match cause {
        Cause::Forbidden(_) | Cause::Unauthorized(_) => {
            let operation = Operation::on("watch", resource).within(namespace);
            Err(member.failed(operation, cause))
        }
        other => {
            tracing::debug!(?other, "watch of pods failed, trying again");
            Ok(())
        }
    }
}
