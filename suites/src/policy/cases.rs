//! The fixed cases, by what they are about. Each is a policy as an operator would write it, and the cells around it.

pub mod authentication;
pub mod clusters;
pub mod deny;
pub mod empty;
pub mod entities;
pub mod external_hosts;
pub mod http;
pub mod kinds;
pub mod names;
pub mod peers;
pub mod ports;

use super::{
    cell::{Cell, GET, Traffic},
    fixture::Fixture,
    participant::Participant,
};
use std::sync::Arc;

/// HTTP, TCP and UDP.
pub const PLAIN: [Traffic; 3] = [GET, Traffic::Tcp, Traffic::Udp];
/// These and ICMP.
pub const WITH_PING: [Traffic; 4] = [GET, Traffic::Tcp, Traffic::Udp, Traffic::Ping];

/// From peers to the subject pods.
pub fn inbound(fixture: &Fixture, peers: &[Arc<Participant>]) -> Vec<Cell> {
    Fixture::cells(peers, &fixture.subjects, &PLAIN)
}

/// From the subject pods to peers.
pub fn outbound(fixture: &Fixture, peers: &[Arc<Participant>]) -> Vec<Cell> {
    Fixture::cells(&fixture.subjects, peers, &PLAIN)
}

/// In both directions.
pub fn both_ways(fixture: &Fixture, peers: &[Arc<Participant>]) -> Vec<Cell> {
    let mut cells = inbound(fixture, peers);
    cells.extend(outbound(fixture, peers));
    cells
}

/// In both directions, with ICMP.
pub fn both_ways_and_ping(fixture: &Fixture, peers: &[Arc<Participant>]) -> Vec<Cell> {
    let mut cells = Fixture::cells(peers, &fixture.subjects, &WITH_PING);
    cells.extend(Fixture::cells(&fixture.subjects, peers, &WITH_PING));
    cells
}
