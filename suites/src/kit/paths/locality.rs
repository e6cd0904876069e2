//! What lies between the two ends of a path.

use meshproof_contract::{CheckId, Scope};
use std::fmt;

/// What lies between the two ends of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Locality {
    /// Nothing but the node's own virtual links.
    SameNode,
    /// The network between the nodes of one cluster.
    OtherNode,
    /// The network between two clusters.
    OtherCluster,
}

impl Locality {
    /// On what a check of this locality runs.
    pub const fn scope(self) -> Scope {
        match self {
            Locality::SameNode | Locality::OtherNode => Scope::Cluster,
            Locality::OtherCluster => Scope::Direction,
        }
    }
    /// The one of three that belongs to the locality.
    pub const fn by<T: Copy>(self, same_node: T, other_node: T, other_cluster: T) -> T {
        match self {
            Locality::SameNode => same_node,
            Locality::OtherNode => other_node,
            Locality::OtherCluster => other_cluster,
        }
    }
    /// The id of a check on this locality: `connectivity::icmp` becomes `connectivity::icmp_other_node`.
    pub fn id(self, stem: &str) -> CheckId {
        CheckId::new(format!(
            "{stem}_{}",
            self.by("same_node", "other_node", "other_cluster")
        ))
    }
}

impl fmt::Display for Locality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.by("same node", "other node", "other cluster"))
    }
}
