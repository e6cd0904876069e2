//! What a lab is asked to be; the command line asks for it in builds without a lab, too.

use crate::args::{LAB_NODES, LabProfile};

/// What a lab is asked to be.
#[derive(Clone, Copy, Debug)]
pub struct LabShape {
    /// How many nodes each of its clusters has.
    pub nodes: u8,
    /// How Cilium is configured.
    pub profile: LabProfile,
}

impl Default for LabShape {
    fn default() -> Self {
        Self {
            nodes: LAB_NODES,
            profile: LabProfile::default(),
        }
    }
}
