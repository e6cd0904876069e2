//! What differs between versions and settings of Cilium, and what else of a cluster changes what a policy means.

use crate::endpoint::NamedPorts;

/// What a judgement depends on besides the policies and the flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surroundings {
    /// Version and settings.
    pub semantics: Semantics,
    /// The pods' named ports.
    pub named_ports: NamedPorts,
}

/// The settings of one cluster that change what a policy means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Semantics {
    /// Whether a selector without a cluster label selects pods of every cluster (up to 1.18), or only of the policy's
    /// own (since 1.19, or with `policy-default-local-cluster`).
    pub unnamed_cluster: UnnamedCluster,
    /// Whether CIDR rules also match nodes (`policy-cidr-match-mode` contains `nodes`).
    pub cidr_matches_nodes: CidrMatch,
    /// How the DNS proxy refuses a query (`tofqdns-dns-reject-response-code`).
    pub dns_refusal: DnsRefusal,
    /// Whether a pod gets an ICMP error when policy denies its egress (`policy-deny-response`, since 1.19).
    pub egress_denial: EgressDenial,
}

/// See [`Semantics::unnamed_cluster`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum UnnamedCluster {
    Any,
    Local,
}

/// See [`Semantics::cidr_matches_nodes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum CidrMatch {
    WorldOnly,
    NodesToo,
}

/// See [`Semantics::dns_refusal`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum DnsRefusal {
    Refused,
    NameError,
}

/// See [`Semantics::egress_denial`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum EgressDenial {
    Silent,
    Icmp,
}
