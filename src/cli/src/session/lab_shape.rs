//! What a lab is asked to be; the command line asks for it in builds without a lab, too.

use crate::args::{LAB_NODES, LabProfile};

/// What a lab is asked to be.
#[derive(Clone, Copy, Debug)]
pub struct LabShape {
    /// How many nodes each of its clusters has.
    pub nodes: u8,
    /// How Cilium is configured.
    pub profile: LabProfile,
    /// Seed of the places where faults act; 0 keeps the order of the topology.
    pub fault_seed: u64,
}

impl Default for LabShape {
    fn default() -> Self {
        Self {
            nodes: LAB_NODES,
            profile: LabProfile::default(),
            fault_seed: 0,
        }
    }
}
