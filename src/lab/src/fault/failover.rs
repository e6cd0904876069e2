//! Faults of fail-over that act where agents, nodes, DNS and the mesh come and go: the entries, for the modules that ask for them.

use super::{Effect, FaultName, FaultSpec};
use crate::state::{ClusterState, LabState};

/// The data path of a node drops its pods' packets while its agent starts.
pub(crate) const AGENT_RESTART_DROPS: FaultName = FaultName::new("agent-restart-drops");
/// Remote backends are dropped as soon as their cluster's clustermesh-apiserver is away.
pub(crate) const MESH_DOWN_DROPS: FaultName = FaultName::new("mesh-apiserver-down-drops-backends");
/// A lost node is believed for half a minute longer.
pub(crate) const NODE_DETECTION_LATE: FaultName = FaultName::new("node-detection-late");
/// No DNS replica answers while a node of its cluster is away.
const DNS_DIES: FaultName = FaultName::new("dns-dies-with-node");
/// Endpoints stay ready whatever their pods' readiness.
pub(crate) const UNREADY_KEEPS: FaultName = FaultName::new("unready-keeps-traffic");

/// The catalogue's entries.
pub(super) fn faults() -> Vec<FaultSpec> {
    let entries = [
        (
            AGENT_RESTART_DROPS,
            "while Cilium's agent starts on a node, the packets of the node's pods are dropped",
        ),
        (
            MESH_DOWN_DROPS,
            "a cluster's backends are dropped elsewhere as soon as its clustermesh-apiserver is away",
        ),
        (
            NODE_DETECTION_LATE,
            "a lost node is believed for half a minute longer than it should be",
        ),
        (DNS_DIES, "no DNS replica answers while a node of its cluster is away"),
        (
            UNREADY_KEEPS,
            "backends that turn unready go on receiving new connections",
        ),
    ];
    let spec = |(name, summary)| FaultSpec {
        name,
        summary,
        suites: &["failover"],
        effect: Effect::Flag,
    };
    entries.into_iter().map(spec).collect()
}

/// Whether DNS is down in a cluster.
pub(crate) fn dns_is_dead(lab: &LabState, cluster: &ClusterState) -> bool {
    lab.faults.is_active(DNS_DIES) && cluster.nodes().iter().any(|node| !*node.online().borrow())
}
