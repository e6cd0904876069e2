//! Cutting nodes off and bringing them back, as an operator does it with a switch or a hypervisor. It is not one of the
//! faults: a test asks for it, and nothing but the node is affected.

use crate::{
    state::{LabState, NodeState},
    sync::lock,
};
use meshproof_datapath::{Fault, FaultId};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

/// The switches of a lab's nodes.
pub(crate) struct Power {
    lab: Arc<LabState>,
    off: Mutex<BTreeMap<(String, String), FaultId>>,
}

/// The lab has no such node.
#[derive(Debug, thiserror::Error)]
#[error("the lab has no node {node} in {cluster}")]
pub(crate) struct NoSuchNode {
    cluster: String,
    node: String,
}

impl Power {
    pub(crate) fn new(lab: Arc<LabState>) -> Self {
        Self {
            lab,
            off: Mutex::default(),
        }
    }

    /// Cuts a node off: its network carries nothing, and its kubelet hears nothing.
    pub(crate) fn cut(&self, cluster: &str, name: &str) -> Result<(), NoSuchNode> {
        let node = self.node(cluster, name)?;
        let mut off = lock(&self.off);
        off.entry((cluster.to_owned(), name.to_owned())).or_insert_with(|| {
            node.set_online(false);
            let node = node.handle.name().clone();
            self.lab.fabric.inject(Fault::Cut { node })
        });
        Ok(())
    }

    /// Brings a node back; one that is there stays.
    pub(crate) fn restore(&self, cluster: &str, name: &str) -> Result<(), NoSuchNode> {
        let node = self.node(cluster, name)?;
        let mut off = lock(&self.off);
        if let Some(id) = off.remove(&(cluster.to_owned(), name.to_owned())) {
            self.lab.fabric.heal(id);
            node.set_online(true);
        }
        Ok(())
    }

    fn node(&self, cluster: &str, name: &str) -> Result<Arc<NodeState>, NoSuchNode> {
        let found = self.lab.cluster(cluster).and_then(|cluster| cluster.node(name));
        found.cloned().ok_or_else(|| NoSuchNode {
            cluster: cluster.to_owned(),
            node: name.to_owned(),
        })
    }
}
