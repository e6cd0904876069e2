//! The life of one pod on its node: sandbox, init containers, containers, status, end.

use super::{
    Kubelet, PodUpdate, Presence,
    container::{Container, Restart},
    container_states::ContainerStates,
    sandbox::{self, Sandbox},
    status::{self, Outcome},
    sysctl,
};
use crate::event::{EventType, record};
use meshproof_apiserver::{DeleteOptions, Object, resource::names::PODS};
use serde_json::{Value, json};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{sync::watch, task::JoinSet};

/// After a sandbox could not be made.
const SANDBOX_RETRY: Duration = Duration::from_secs(2);
/// How long containers of a pod that the API has already forgotten may take to end.
const FORGOTTEN_GRACE: Duration = Duration::from_secs(2);

/// Follows the updates for a pod until it has ended and the API has forgotten it.
pub(super) async fn run(kubelet: Arc<Kubelet>, mut updates: watch::Receiver<PodUpdate>) {
    let pod = updates.borrow_and_update().pod.clone();
    let ended = matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    if !ended && !pod.is_terminating() {
        match sysctl::admit(&pod["spec"]) {
            Ok(()) => live(&kubelet, &pod, &mut updates).await,
            Err(why) => reject(&kubelet, &pod, sysctl::FORBIDDEN, &why),
        }
    }
    // What is left to do is to let the API forget it.
    loop {
        let update = updates.borrow_and_update().clone();
        if update.presence == Presence::Gone {
            return;
        }
        if update.pod.is_terminating() {
            forget(&kubelet, &update.pod).await;
        }
        if updates.changed().await.is_err() {
            return;
        }
    }
}

/// Fails a pod that the node does not take.
fn reject(kubelet: &Kubelet, pod: &Object, reason: &str, why: &str) {
    record(&kubelet.store, pod, EventType::Warning, reason, why, "kubelet");
    let written = kubelet
        .store
        .modify_status(&PODS, pod.namespace(), pod.name(), |stored| {
            if stored["metadata"]["uid"] == pod.uid() {
                stored["status"]["phase"] = json!("Failed");
                stored["status"]["reason"] = json!(reason);
                stored["status"]["message"] = json!(format!("Pod was rejected: {why}"));
            }
        });
    match written {
        Err(error) if !error.is_not_found() => tracing::warn!(%error, pod = pod.name(), "failed to reject a pod"),
        _ => {}
    }
}

async fn forget(kubelet: &Kubelet, pod: &Object) {
    let _ = kubelet.node.online().wait_for(|online| *online).await;
    let options = DeleteOptions::now().only_uid(pod.uid());
    match kubelet.store.delete(&PODS, pod.namespace(), pod.name(), &options) {
        Err(error) if !error.is_not_found() && !error.is_conflict() => {
            tracing::warn!(%error, pod = pod.name(), "failed to end a pod's deletion");
        }
        _ => {}
    }
}

/// From the sandbox to the end of the last container.
async fn live(kubelet: &Arc<Kubelet>, pod: &Object, updates: &mut watch::Receiver<PodUpdate>) {
    let names = status::containers(pod, "containers").chain(status::containers(pod, "initContainers"));
    let states = Arc::new(ContainerStates::new(
        names.map(|container| status::name(container).to_owned()),
    ));
    let mut report = status::StatusReport::new(Arc::clone(kubelet), pod.clone(), Arc::clone(&states));
    report.write().await;
    let Some(sandbox) = sandbox(kubelet, pod, updates).await else {
        return;
    };
    report.has_sandbox(sandbox.address);
    report.write().await;

    let (stop, stopped) = watch::channel(None);
    let mut work = tokio::spawn(containers(
        Arc::clone(kubelet),
        pod.clone(),
        states.clone(),
        sandbox,
        stopped,
    ));
    let mut changes = states.subscribe();
    let mut labels = pod["metadata"]["labels"].clone();
    let outcome = loop {
        tokio::select! {
            outcome = &mut work => break outcome,
            changed = changes.changed() => {
                changes.borrow_and_update();
                if changed.is_ok() {
                    report.write().await;
                }
            }
            changed = updates.changed() => {
                let update = updates.borrow_and_update().clone();
                if let Some(until) = deadline(&update, changed.is_err()) {
                    // Only ever sooner.
                    stop.send_if_modified(|present| {
                        let sooner = present.is_none_or(|present| until < present);
                        if sooner {
                            *present = Some(until);
                        }
                        sooner
                    });
                }
                if update.presence == Presence::Stored && update.pod["metadata"]["labels"] != labels {
                    labels = update.pod["metadata"]["labels"].clone();
                    sandbox::update_identity(kubelet, &update.pod);
                }
                report.follow(update.pod);
                // Others may have written over the status, for example while the node was cut off.
                if update.presence == Presence::Stored {
                    report.write().await;
                }
                if changed.is_err() {
                    let _ = (&mut work).await;
                    return;
                }
            }
        }
    };
    report.end(outcome.unwrap_or(Outcome::Failed));
    report.write().await;
    sandbox::remove(kubelet, pod.uid()).await;
}

/// When the containers must have ended, if the update says that they must end.
fn deadline(update: &PodUpdate, lab_ends: bool) -> Option<Instant> {
    if update.presence == Presence::Gone || lab_ends {
        return Some(Instant::now() + FORGOTTEN_GRACE);
    }
    let grace = update.pod["metadata"]["deletionGracePeriodSeconds"]
        .as_u64()
        .unwrap_or(30);
    update
        .pod
        .is_terminating()
        .then(|| Instant::now() + Duration::from_secs(grace))
}

async fn sandbox(kubelet: &Kubelet, pod: &Object, updates: &mut watch::Receiver<PodUpdate>) -> Option<Sandbox> {
    loop {
        match sandbox::make(kubelet, pod).await {
            Ok(sandbox) => return Some(sandbox),
            Err(error) => {
                let message = format!("Failed to create pod sandbox: {error}");
                tracing::warn!(pod = pod.name(), node = kubelet.node.name(), message);
                record(
                    &kubelet.store,
                    pod,
                    EventType::Warning,
                    "FailedCreatePodSandBox",
                    &message,
                    "kubelet",
                );
            }
        }
        tokio::select! {
            () = tokio::time::sleep(SANDBOX_RETRY) => {}
            changed = updates.changed() => if changed.is_err() { return None },
        }
        let update = updates.borrow_and_update().clone();
        if update.presence == Presence::Gone || update.pod.is_terminating() {
            return None;
        }
    }
}

async fn containers(
    kubelet: Arc<Kubelet>,
    pod: Object,
    states: Arc<ContainerStates>,
    sandbox: Sandbox,
    stop: watch::Receiver<Option<Instant>>,
) -> Outcome {
    let restart = match pod["spec"]["restartPolicy"].as_str() {
        Some("Never") => Restart::Never,
        Some("OnFailure") => Restart::OnFailure,
        _ => Restart::Always,
    };
    let container = |spec: &Value, restart: Restart| Container {
        kubelet: Arc::clone(&kubelet),
        pod: pod.clone(),
        spec: spec.clone(),
        name: status::name(spec).to_owned(),
        address: sandbox.address,
        runtime: Arc::clone(&sandbox.runtime),
        states: Arc::clone(&states),
        stop: stop.clone(),
        restart,
    };
    let mut sidecars = JoinSet::new();
    for spec in status::containers(&pod, "initContainers") {
        if spec["restartPolicy"] == "Always" {
            sidecars.spawn(container(spec, Restart::Always).supervise());
            continue;
        }
        // An init container that succeeded is done, whatever the pod's policy.
        let policy = if restart == Restart::Never {
            Restart::Never
        } else {
            Restart::OnFailure
        };
        if !container(spec, policy).supervise().await {
            return Outcome::Failed;
        }
    }
    let mut running = JoinSet::new();
    for spec in status::containers(&pod, "containers") {
        running.spawn(container(spec, restart).supervise());
    }
    let mut outcome = Outcome::Succeeded;
    while let Some(ended) = running.join_next().await {
        if !ended.unwrap_or(false) {
            outcome = Outcome::Failed;
        }
    }
    let still_wanted = stop.borrow().is_none();
    if still_wanted {
        sidecars.shutdown().await;
    }
    while sidecars.join_next().await.is_some() {}
    outcome
}
