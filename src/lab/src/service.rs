//! Kubernetes Services and EndpointSlices turned into services of the data path: what they become is a pure function in
//! `frontends`; [`program`] follows the objects and programs the nodes.

mod frontends;
mod host_ports;
mod on_node;
pub(crate) mod program;
mod remote_backends;
mod stale_backends;
mod traffic_policy;

pub(crate) use host_ports::is_host_port;
pub(crate) use on_node::on_node;
pub use remote_backends::{RemoteBackend, RemoteBackends, ServiceKey};

/// Who manages the EndpointSlices that hold other clusters' pods, for those who read slices
/// (`clustermesh-enable-endpoint-sync`); the agents know these pods already.
pub(crate) const MESH_SLICES: &str = "endpointslice-mesh-controller.cilium.io";

/// Whether a service of this namespace is the cluster's own, which faults leave alone.
fn is_system(namespace: &str) -> bool {
    namespace.starts_with("kube-") || namespace == "default"
}
