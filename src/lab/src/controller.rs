//! The cluster's controllers. Each is level-triggered: woken by changes of what it watches, it compares all of its
//! objects with what they want and takes the next step, as a client of the API with its conflicts. They know nothing of
//! networks or processes.

use std::time::Duration;

use futures::FutureExt;
use futures::stream::{SelectAll, StreamExt};
use meshproof_apiserver::{ApiError, Resource, Store, Watch, WatchEvent, WatchOptions};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::fault::ActiveFaults;

mod daemonset;
mod deployment;
mod endpoints;
mod job;
mod namespace;
mod node;
pub(crate) mod object;
mod placement;
mod replicaset;
mod rollout;
mod scheduler;
mod statefulset;

pub use node::NodeGrace;

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
        Box::new(endpoints::EndpointSlices),
        Box::new(scheduler::Scheduler),
        Box::new(node::NodeLifecycle::new(grace, faults.clone())),
    ];
    for controller in controllers {
        let (store, stop) = (store.writing_as(controller.name()), stop.clone());
        tasks.spawn(async move { stop.run_until_cancelled(run(controller, store)).await });
    }
}

async fn run(mut controller: Box<dyn Controller>, store: Store) {
    loop {
        let Some(mut changes) = watch(&store, controller.watches()) else {
            tokio::time::sleep(AFTER_ERROR).await;
            continue;
        };
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
                event = changes.next() => if ended(event) { break },
            }
            // What has arrived meanwhile is seen by the same look.
            let mut over = false;
            while let Some(event) = changes.next().now_or_never() {
                if ended(event) {
                    over = true;
                    break;
                }
            }
            if over {
                break;
            }
        }
    }
}

/// Watches from now on; the first look sees what is there.
fn watch(store: &Store, resources: &[Resource]) -> Option<SelectAll<Watch>> {
    let after = store.version();
    let watches = resources
        .iter()
        .map(|resource| store.watch(resource, None, WatchOptions::after(after)));
    watches
        .collect::<Result<Vec<_>, _>>()
        .ok()
        .map(futures::stream::select_all)
}

fn ended(event: Option<WatchEvent>) -> bool {
    matches!(event, None | Some(WatchEvent::Error(_)))
}
