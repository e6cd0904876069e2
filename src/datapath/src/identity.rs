//! Security identities, as policies and flow events name the sides of a flow.

/// A security identity as Cilium numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity(pub u32);

impl Identity {
    /// No identity known.
    pub const UNKNOWN: Self = Self(0);
    /// The node itself.
    pub const HOST: Self = Self(1);
    /// Anything outside the clusters.
    pub const WORLD: Self = Self(2);
    /// Another node.
    pub const REMOTE_NODE: Self = Self(6);
    /// The Kubernetes API server.
    pub const KUBE_APISERVER: Self = Self(7);
}
