//! The cluster's controllers. Each is level-triggered: woken by changes of what it watches, it compares all of its
//! objects with what they want and takes the next step, as a client of the API with its conflicts. They know nothing of
//! networks or processes.

use crate::{
    fault::{ActiveFaults, Fault},
    follow::follow,
    node_grace::NodeGrace,
};
use futures::{
    FutureExt,
    stream::{StreamExt, select_all},
};
use meshproof_apiserver::{ApiError, Resource, Store, WatchOptions};
use std::{collections::BTreeSet, time::Duration};
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

mod create_pod;
mod daemonset;
mod deployment;
mod endpoints;
mod job;
mod namespace;
mod node;
mod placement;
mod replicaset;
mod rollout;
mod scheduler;
mod statefulset;

/// After a conflict the objects have changed already: look again soon.
const AFTER_CONFLICT: Duration = Duration::from_millis(10);
/// After another refusal something has to change first.
const AFTER_ERROR: Duration = Duration::from_secs(1);

/// When a controller wants to look again although nothing changed; none for never.
pub(crate) type Again = Option<Duration>;

/// One controller.
pub(crate) trait Controller: Send + 'static {
    /// The field manager of its writes.
    fn name(&self) -> &'static str;
    /// What wakes it.
    fn watches(&self) -> &'static [Resource];
    /// Takes the next step for everything.
    fn reconcile(&mut self, store: &Store) -> Result<Again, ApiError>;
}

/// Starts all controllers of a cluster.
pub(crate) fn start(
    store: &Store,
    root_ca: &str,
    grace: NodeGrace,
    faults: &ActiveFaults,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) {
    let controllers: Vec<Box<dyn Controller>> = vec![
        Box::new(namespace::RootCa::new(root_ca)),
        Box::new(deployment::Deployments),
        Box::new(replicaset::ReplicaSets),
        Box::new(daemonset::DaemonSets),
        Box::new(statefulset::StatefulSets),
        Box::new(job::Jobs),
        Box::new(endpoints::EndpointSlices::new(faults.clone())),
        Box::new(scheduler::Scheduler),
        Box::new(node::NodeLifecycle::new(grace, faults.clone())),
    ];
    for controller in controllers {
        let (store, stop) = (store.writing_as(controller.name()), stop.clone());
        let faults = faults.subscribe();
        tasks.spawn(async move { stop.run_until_cancelled(run(controller, store, faults)).await });
    }
}

/// Follows what the controller watches and lets it look after every change, also of the faults in force; its first look
/// sees what is there.
async fn run(mut controller: Box<dyn Controller>, store: Store, mut faults: watch::Receiver<BTreeSet<Fault>>) {
    let watched = controller.watches().iter();
    let mut changes =
        select_all(watched.map(|resource| follow(&store, resource, |store| WatchOptions::after(store.version()))));
    loop {
        let again = match controller.reconcile(&store) {
            Ok(again) => again,
            Err(error) if error.is_conflict() || error.is_not_found() || error.is_already_exists() => {
                tracing::debug!(controller = controller.name(), %error, "looking again");
                Some(AFTER_CONFLICT)
            }
            Err(error) => {
                tracing::warn!(controller = controller.name(), %error, "failed to reconcile");
                Some(AFTER_ERROR)
            }
        };
        let pause = async {
            match again {
                Some(pause) => tokio::time::sleep(pause).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = pause => {}
            _ = changes.next() => {}
            Ok(()) = faults.changed() => {}
        }
        // What has arrived meanwhile is seen by the same look.
        while changes.next().now_or_never().is_some() {}
    }
}
