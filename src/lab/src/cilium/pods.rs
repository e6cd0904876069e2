//! What Cilium's pods know of each other in one lab: the agents that run, and the clustermesh-apiserver pods.

use super::agent::Agents;
use crate::mesh::MeshPods;

/// Cilium's pods in every cluster. Cheap to clone; every clone is the same pods.
#[derive(Clone, Default)]
pub(super) struct CiliumPods {
    /// The agents.
    pub(super) agents: Agents,
    /// The clustermesh-apiserver pods.
    pub(super) mesh: MeshPods,
}
