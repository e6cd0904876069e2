//! What the containers of a pod are doing, written by their supervisors and probes, read by the pod's worker.

use crate::sync::lock;
use std::{collections::BTreeMap, sync::Mutex};
use tokio::sync::watch;

/// A container as its supervisor sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ContainerState {
    pub phase: Phase,
    /// How it ended the last time.
    pub last: Option<Ended>,
    pub restarts: u32,
    /// What the readiness probe says; true without one while it runs.
    pub ready: bool,
    /// What the startup probe says; true without one while it runs.
    pub started: bool,
}

/// `state` of a container status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Waiting { reason: String, message: String },
    Running { since: String, id: String },
    Ended(Ended),
}

/// How a container ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    pub code: i32,
    pub signal: Option<i32>,
    pub reason: String,
    pub message: String,
    pub started: String,
    pub finished: String,
    pub id: String,
}

impl ContainerState {
    fn creating() -> Self {
        let phase = Phase::Waiting {
            reason: "ContainerCreating".to_owned(),
            message: String::new(),
        };
        Self {
            phase,
            last: None,
            restarts: 0,
            ready: false,
            started: false,
        }
    }

    /// Runs now.
    pub(super) fn is_running(&self) -> bool {
        matches!(self.phase, Phase::Running { .. })
    }
}

/// The states of a pod's containers, by name.
#[derive(Debug)]
pub(super) struct ContainerStates {
    states: Mutex<BTreeMap<String, ContainerState>>,
    version: watch::Sender<u64>,
}

impl ContainerStates {
    pub(super) fn new(names: impl IntoIterator<Item = String>) -> Self {
        let states = names
            .into_iter()
            .map(|name| (name, ContainerState::creating()))
            .collect();
        Self {
            states: Mutex::new(states),
            version: watch::Sender::new(0),
        }
    }

    /// Changes one container's state and notifies readers if something changed.
    pub(super) fn change(&self, name: &str, change: impl FnOnce(&mut ContainerState)) {
        let mut states = lock(&self.states);
        let Some(state) = states.get_mut(name) else { return };
        let before = state.clone();
        change(state);
        if *state != before {
            drop(states);
            self.version.send_modify(|version| *version += 1);
        }
    }

    pub(super) fn wait(&self, name: &str, reason: &str, message: &str) {
        self.change(name, |state| {
            state.phase = Phase::Waiting {
                reason: reason.to_owned(),
                message: message.to_owned(),
            };
            state.ready = false;
            state.started = false;
        });
    }

    pub(super) fn all(&self) -> BTreeMap<String, ContainerState> {
        lock(&self.states).clone()
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }
}
