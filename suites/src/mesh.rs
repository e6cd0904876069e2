//! Are the clusters one mesh, by what Cilium says, and by what really happens when something changes?

mod agent_state;

pub mod agents_ready;
pub mod certificates;
pub mod change_propagates;
pub mod identities;
pub mod kvstoremesh_ready;
pub mod node_counts;
pub mod object_counts;

use meshproof_contract::{Admission, ClaimKind, Needs, Suite};

/// The suite.
pub const SUITE: Suite = Suite {
    name: "mesh",
    about: "Every cluster that claims a cluster mesh is joined to every other one, by the word of every Cilium agent and of KVStoreMesh, with the right nodes, identities and pods; and, because a status can be stale for ever, a change made in one cluster is really seen in the other.",
    checks: &[
        &agents_ready::AgentsReady,
        &kvstoremesh_ready::KvstoreMeshReady,
        &node_counts::NodeCounts,
        &object_counts::ObjectCounts,
        &identities::Identities,
        &certificates::Certificates,
        &change_propagates::ChangePropagates,
    ],
};

/// What the checks need that only ask Cilium.
const STATUS_NEEDS: Needs = Needs {
    scenario: None,
    claim: Some(ClaimKind::ClusterMesh),
    admission: Admission::Shared,
    mutates: false,
};
