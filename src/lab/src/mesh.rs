//! The cluster mesh: what a cluster publishes (nodes, identities, endpoints, global services), how the other one
//! follows it, and what that adds to its services.
//!
//! As in Cilium with KVStoreMesh: in every clustermesh-apiserver pod an `apiserver` writes the cluster's state into the
//! pod's `etcd`, and a `kvstoremesh` copies the other clusters' into it; agents follow the pod of their own cluster
//! only. The copy goes over a real TCP connection between the two pods' network namespaces, so whatever happens to
//! packets happens to it. This module knows neither what Cilium's commands print nor the harness.

mod absence;
pub(crate) mod agents;
mod containers;
mod etcd;
mod global;
mod keyspace;
mod link;
mod pod;
mod publish;
mod publisher;
mod route;
mod slices;
mod source;
mod wire;

pub use global::is_global;
pub use keyspace::{Counts, KeyKind};
pub use link::LinkPhase;
pub use pod::{AgentsLink, ETCD_PORT, MeshPod, MeshPods};
pub use route::etcd_address;
pub(crate) use source::OperatorStarts;
