//! A running pod as exec, port-forward and logs reach it.

use super::process::ProcessSpec;
use crate::{
    container_log::LogWriter,
    sync::lock,
    system::{SystemContainer, SystemImage},
};
use meshproof_datapath::netns::Namespace;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

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
        let mut containers = lock(&self.containers);
        let entry = containers.entry(name.to_owned()).or_default();
        entry.log.close();
        *entry = Entry::default();
        entry.log.clone()
    }

    pub(super) fn set_running(&self, name: &str, running: Option<Running>) {
        let mut containers = lock(&self.containers);
        let entry = containers.entry(name.to_owned()).or_default();
        if running.is_none() {
            entry.log.close();
        }
        entry.running = running;
    }

    pub(super) fn running(&self, name: &str) -> Option<Running> {
        lock(&self.containers).get(name)?.running.clone()
    }

    pub(super) fn log(&self, name: &str) -> Option<LogWriter> {
        lock(&self.containers).get(name).map(|entry| entry.log.clone())
    }
}
