//! Are the clusters one mesh? By what Cilium reports, and by what happens when something changes.

mod agent_state;

pub mod agents_ready;
pub mod certificates;
pub mod change_propagates;
pub mod identities;
pub mod kvstoremesh_ready;

use meshproof_contract::{Admission, ClaimKind, Needs, Suite};

/// The suite.
pub const SUITE: Suite = Suite {
    name: "mesh",
    about: "Every Cilium agent and KVStoreMesh of a cluster that claims a cluster mesh reports every other cluster as \
            connected, with the right number of nodes. Because a status can be stale, a change made in one cluster \
            must also take effect in the other. Suite state compares what agents know of nodes and pods by name.",
    checks: &[
        &agents_ready::AgentsReady,
        &kvstoremesh_ready::KvstoreMeshReady,
        &identities::Identities,
        &certificates::Certificates,
        &change_propagates::ChangePropagates,
    ],
};

/// What the checks need that only read Cilium's state.
const STATUS_NEEDS: Needs = Needs {
    scenario: None,
    claim: Some(ClaimKind::ClusterMesh),
    admission: Admission::Shared,
    mutates: false,
};
