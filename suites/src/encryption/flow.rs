//! One flow that must not be readable on the wire: who sends what to whom, and the marker to look for.

use meshproof_contract::{AgentFacts, ClusterName, Marker, Needle, NodeName, Outcome, Probe};
use std::net::IpAddr;
use uuid::Uuid;

/// Whether an outcome says that something arrived.
pub type Arrived = fn(&Outcome) -> bool;

/// Something sent over the wire that must not be readable there.
#[derive(Clone, Debug)]
pub struct Flow {
    /// `infra-1 -> infra-2, TCP`.
    pub name: String,
    /// Who sends.
    pub from: AgentFacts,
    /// The node at the other end; none if the answer names it (a Service's backend).
    pub to: Option<(ClusterName, NodeName)>,
    /// Addresses of the pods that may be at the other end.
    pub others: Vec<IpAddr>,
    /// What to send.
    pub probe: Probe,
    /// What to look for on the wire; none if only headers can tell.
    pub needle: Option<Needle>,
    /// Bytes of payload each way, at least.
    pub bytes: u64,
    /// Whether the outcome says that it went over the wire and back; for a withheld flow, that it did not.
    pub arrived: Arrived,
    /// No node could decrypt it, so it must not leave its node.
    pub withheld: bool,
}

/// A random marker, every one of its 128 bits.
pub fn marker() -> Marker {
    // Six bits of a UUID are fixed: one is laid over the other, turned so that no fixed bits meet.
    let (a, b) = (Uuid::new_v4().into_bytes(), Uuid::new_v4().into_bytes());
    Marker(std::array::from_fn(|at| a[at] ^ b[(at + 1) % 16]))
}
