//! Faults of whole machines.

use super::{Effect, FaultName, FaultSpec};

/// The catalogue's entries.
pub(super) fn faults() -> Vec<FaultSpec> {
    vec![FaultSpec {
        name: FaultName::new("node-lost"),
        summary: "the last node of the last cluster has lost its network: pods and kubelet are cut off",
        // Suite `failover` cuts nodes itself: a lab that has lost one already is no place for it.
        suites: &[],
        effect: Effect::Node(|lab| Some(lab.clusters.last()?.nodes().last()?.name().to_owned())),
    }]
}
