//! A running pod as exec, port-forward and logs reach it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use meshproof_datapath::netns::Namespace;

use super::log::LogWriter;
use super::process::ProcessSpec;
use crate::system::{SystemContainer, SystemImage};

/// A pod that has a sandbox.
pub(crate) struct PodRuntime {
    pub(super) uid: String,
    pub(super) namespace: Namespace,
    containers: Mutex<BTreeMap<String, Entry>>,
}

#[derive(Default)]
struct Entry {
    log: LogWriter,
    running: Option<Running>,
}

/// A running container.
#[derive(Clone)]
pub(crate) enum Running {
    /// A process of the agent: how another one is started beside it.
    Agent(Arc<ProcessSpec>),
    /// In process.
    System(Arc<dyn SystemImage>, SystemContainer),
}

impl PodRuntime {
    pub(super) fn new(uid: &str, namespace: Namespace) -> Self {
        Self {
            uid: uid.to_owned(),
            namespace,
            containers: Mutex::default(),
        }
    }

    /// A fresh log for a container that is about to start.
    pub(super) fn begin(&self, name: &str) -> LogWriter {
        let mut containers = self.containers.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = containers.entry(name.to_owned()).or_default();
        entry.log.close();
        *entry = Entry::default();
        entry.log.clone()
    }

    pub(super) fn set_running(&self, name: &str, running: Option<Running>) {
        let mut containers = self.containers.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = containers.entry(name.to_owned()).or_default();
        if running.is_none() {
            entry.log.close();
        }
        entry.running = running;
    }

    pub(super) fn running(&self, name: &str) -> Option<Running> {
        self.containers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(name)?
            .running
            .clone()
    }

    pub(super) fn log(&self, name: &str) -> Option<LogWriter> {
        self.containers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(name)
            .map(|entry| entry.log.clone())
    }
}
