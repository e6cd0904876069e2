//! What a flow asks DNS.

use crate::kit::probes::dns;
use meshproof_contract::{Action, Flow, RecordType, Transport};
use std::net::SocketAddr;

/// The question of a flow, to this server; without one to the client's own.
pub fn question(flow: &Flow, server: Option<SocketAddr>) -> Action {
    let name = flow.to.query.clone().unwrap_or_default();
    let name = format!("{}.", name.trim_end_matches('.'));
    dns(&name, RecordType::A, server, Transport::Udp).action
}
