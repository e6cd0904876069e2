//! Kubernetes Services and EndpointSlices turned into services of the data path: what they become is a pure function in
//! `frontends`; [`program`] follows the objects and programs the nodes.

mod frontends;
pub(crate) mod program;
mod remote_backends;
mod stale_backends;

pub use remote_backends::{RemoteBackend, RemoteBackends, ServiceKey};

/// Who manages the EndpointSlices that hold other clusters' pods, for those who read slices
/// (`clustermesh-enable-endpoint-sync`); the agents know these pods already.
pub(crate) const MESH_SLICES: &str = "endpointslice-mesh-controller.cilium.io";
