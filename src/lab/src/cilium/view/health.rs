//! What the health daemon found out.

use std::{
    net::Ipv4Addr,
    time::{Duration, SystemTime},
};

/// What the health daemon found out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HealthReport {
    /// When the last round of probes began.
    pub timestamp: Option<SystemTime>,
    /// The time between two rounds.
    pub interval: Duration,
    /// One entry a node.
    pub nodes: Vec<NodeHealth>,
}

/// What is known about the way to one node.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeHealth {
    /// `cluster/name`.
    pub name: String,
    /// To its own address.
    pub host: PathHealth,
    /// To its health endpoint.
    pub endpoint: PathHealth,
}

/// One path.
#[derive(Clone, Debug, PartialEq)]
pub struct PathHealth {
    /// Where to.
    pub address: Ipv4Addr,
    /// When it was tried last; none for never.
    pub probed: Option<SystemTime>,
    /// Time to establish a connection, or what was wrong.
    pub icmp: Result<Duration, String>,
    /// Time of a whole request, or what was wrong.
    pub http: Result<Duration, String>,
}

impl PathHealth {
    /// Whether the last probe went through; a path never tried counts as reachable, as in the real summary.
    pub fn is_reachable(&self) -> bool {
        self.icmp.is_ok() && self.http.is_ok()
    }
}
