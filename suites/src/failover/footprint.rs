//! What the events disturb and rely on: those that leave each other alone run at the same time.
//!
//! Every event's streams ask cluster DNS of the cluster where they start. Every event also relies on a pod of the other
//! cluster, its control. That one is on the cluster's quiet node, which only the loss of the whole cluster disturbs.

use super::workload::{BACKEND, GLOBAL_BACKEND};
use meshproof_contract::{
    Admission,
    End::{self, From, To},
    Footprint,
    Part::{self, Dns, Mesh, Nodes, Operator, Workload},
};

/// What streams between the clusters rely on.
const ACROSS: &[(End, Part)] = &[
    (To, Workload(GLOBAL_BACKEND)),
    (From, Nodes),
    (To, Nodes),
    (From, Mesh),
    (To, Mesh),
    (From, Dns),
];

/// Something happens to the pods behind the service of one cluster.
pub const OWN_BACKENDS: Admission = Admission::Footprint(Footprint {
    disturbs: &[(From, Workload(BACKEND))],
    relies_on: &[(From, Nodes), (From, Dns)],
});

/// Something happens to one cluster's pods behind the global services.
pub const GLOBAL_BACKENDS: Admission = Admission::Footprint(Footprint {
    disturbs: &[(From, Workload(GLOBAL_BACKEND))],
    relies_on: ACROSS,
});

/// Something happens to what the other cluster tells this one. Of this one's nodes the quiet one takes part alone.
pub const OTHER_MESH: Admission = Admission::Footprint(Footprint {
    disturbs: &[(To, Mesh)],
    relies_on: &[(To, Workload(GLOBAL_BACKEND)), (To, Nodes), (From, Mesh), (From, Dns)],
});

/// Something happens to what this cluster is told by others.
pub const OWN_MESH: Admission = Admission::Footprint(Footprint {
    disturbs: &[(From, Mesh)],
    relies_on: &[
        (To, Workload(GLOBAL_BACKEND)),
        (From, Nodes),
        (To, Nodes),
        (To, Mesh),
        (From, Dns),
    ],
});

/// Something happens to this cluster's operator.
pub const OPERATOR: Admission = Admission::Footprint(Footprint {
    disturbs: &[(From, Operator)],
    relies_on: ACROSS,
});

/// Something happens to an agent, while the pods of the cluster stay.
pub const AGENTS: Admission = Admission::Footprint(Footprint {
    disturbs: &[(From, Nodes)],
    relies_on: &[(From, Workload(BACKEND)), (From, Dns)],
});

/// Something happens to cluster DNS, while all else stays.
pub const DNS: Admission = Admission::Footprint(Footprint {
    disturbs: &[(From, Dns)],
    relies_on: &[(From, Workload(BACKEND)), (From, Nodes)],
});

/// Something happens to a node and all that runs on it.
pub const NODES: Admission = Admission::Footprint(Footprint {
    disturbs: &[
        (From, Nodes),
        (From, Workload(BACKEND)),
        (From, Workload(GLOBAL_BACKEND)),
        (From, Mesh),
        (From, Dns),
    ],
    relies_on: &[],
});
