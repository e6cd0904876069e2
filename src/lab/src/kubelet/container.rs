//! The life of one container: pull, start, probe, end, start again.

mod exit;
mod image;
mod run;

use super::{Kubelet, PodRuntime, container_states::ContainerStates};
use crate::event::{EventType, record};
use meshproof_apiserver::Object;
use serde_json::Value;
use std::{
    net::Ipv4Addr,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::watch;

/// The first and the longest pause before a container that keeps ending is started again.
const BACK_OFF: Duration = Duration::from_secs(10);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(300);
/// After running for so long a container starts again without a pause.
const FORGIVEN: Duration = Duration::from_secs(600);

/// When the pod must end: none while it is to run, then the time at which its containers are killed.
pub(super) type StopOrder = watch::Receiver<Option<Instant>>;

/// One container of a pod.
#[derive(Clone)]
pub(super) struct Container {
    pub(super) kubelet: Arc<Kubelet>,
    pub(super) pod: Object,
    pub(super) spec: Value,
    pub(super) name: String,
    pub(super) address: Ipv4Addr,
    pub(super) runtime: Arc<PodRuntime>,
    pub(super) states: Arc<ContainerStates>,
    pub(super) stop: StopOrder,
    pub(super) restart: Restart,
}

/// `restartPolicy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Restart {
    Always,
    OnFailure,
    Never,
}

impl Container {
    /// Runs the container until it has ended for good or the pod is stopped. True if it succeeded.
    pub(super) async fn supervise(mut self) -> bool {
        let mut pause = Duration::ZERO;
        loop {
            let Some(image) = self.pull().await else { return false };
            let begun = Instant::now();
            let exit = match self.run(image).await {
                Ok(exit) => exit,
                Err((reason, message)) => {
                    self.states.wait(&self.name, reason, &message);
                    self.event(EventType::Warning, "Failed", &format!("Error: {message}"));
                    if self.pause(BACK_OFF).await.is_stopped() {
                        return false;
                    }
                    continue;
                }
            };
            let success = exit.code == 0;
            if self.is_stopped() || self.restart == Restart::Never || (success && self.restart == Restart::OnFailure) {
                return success;
            }
            if begun.elapsed() >= FORGIVEN {
                pause = Duration::ZERO;
            }
            if !pause.is_zero() {
                let message = format!(
                    "back-off {}s restarting failed container={} pod={}_{}({})",
                    pause.as_secs(),
                    self.name,
                    self.pod.name(),
                    self.pod.namespace().unwrap_or_default(),
                    self.pod.uid(),
                );
                self.states.wait(&self.name, "CrashLoopBackOff", &message);
                self.event(
                    EventType::Warning,
                    "BackOff",
                    &format!("Back-off restarting failed container {} in pod", self.name),
                );
                if self.pause(pause).await.is_stopped() {
                    return false;
                }
            }
            pause = (pause * 2).clamp(BACK_OFF, LONGEST_BACK_OFF);
            self.states.change(&self.name, |state| state.restarts += 1);
        }
    }

    fn event(&self, kind: EventType, reason: &str, message: &str) {
        record(&self.kubelet.store, &self.pod, kind, reason, message, "kubelet");
    }

    fn is_stopped(&self) -> bool {
        self.stop.borrow().is_some()
    }

    /// Waits until the pod must end.
    async fn stopped(&mut self) {
        // A sender that has gone means that the lab ends: the same.
        let _ = self.stop.wait_for(Option::is_some).await;
    }

    /// For a restart the pod's own grace counts from now.
    fn kill_deadline(&self) -> Instant {
        let grace = self.pod["spec"]["terminationGracePeriodSeconds"].as_u64().unwrap_or(30);
        self.stop
            .borrow()
            .unwrap_or_else(|| Instant::now() + Duration::from_secs(grace))
    }

    /// Waits for the time at which a container is killed; an order may come, or be made more urgent, meanwhile.
    async fn past(&mut self, mut until: Instant) {
        loop {
            if let Some(order) = *self.stop.borrow_and_update() {
                until = order;
            }
            tokio::select! {
                () = tokio::time::sleep_until(until.into()) => return,
                changed = self.stop.changed() => if changed.is_err() { return },
            }
        }
    }

    async fn pause(&mut self, pause: Duration) -> Paused {
        tokio::select! {
            () = tokio::time::sleep(pause) => Paused::Over,
            () = self.stopped() => Paused::Stopped,
        }
    }
}

/// How a pause ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Paused {
    Over,
    Stopped,
}

impl Paused {
    fn is_stopped(self) -> bool {
        self == Self::Stopped
    }
}
