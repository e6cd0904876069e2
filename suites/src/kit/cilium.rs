//! What Cilium says: of nodes, of the clusters that are joined, of its own pods.

pub mod dsr;
pub mod fqdn_labels;
pub mod frontends;
pub mod namespace;
pub mod nodes;
pub mod pods;
pub mod remotes;
