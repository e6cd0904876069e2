//! The hook point for policy: who is asked, with what, and what may be answered. The rules are the caller's.

use crate::{
    flow::{Direction, DropReason, ProxyPort},
    identity::Identity,
    service::Protocol,
};
use std::net::Ipv4Addr;

/// One new flow at one endpoint, after service translation: what a policy decides on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowQuery {
    /// Egress at the source's endpoint, ingress at the destination's.
    pub direction: Direction,
    /// The endpoint whose policy is asked.
    pub endpoint: Ipv4Addr,
    /// Its identity.
    pub endpoint_identity: Identity,
    /// The other side's address.
    pub remote: Ipv4Addr,
    /// The other side's identity.
    pub remote_identity: Identity,
    /// The protocol.
    pub protocol: Protocol,
    /// Destination port (of the pod, not of the service); 0 for ICMP and others.
    pub port: u16,
    /// ICMP type and code, when the protocol is ICMP.
    pub icmp: Option<(u8, u8)>,
}

/// A policy's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Let it pass.
    Allow,
    /// Drop it, for this reason.
    Deny(DropReason),
    /// Drop it and answer its sender with a reset or an ICMP error.
    Reject(DropReason),
    /// Hand the flow to a proxy that listens in the node's namespace.
    Redirect(ProxyPort),
}

/// Decides about new flows. Asked in the node's thread for every first packet, so it must be quick and must not block.
pub trait Policy: Send {
    /// The verdict for a new flow, or for an established one after the policy was replaced.
    fn verdict(&mut self, query: &FlowQuery) -> Verdict;
}

/// The default: everything passes.
#[derive(Clone, Copy, Debug, Default)]
pub struct AllowAll;

impl Policy for AllowAll {
    fn verdict(&mut self, _query: &FlowQuery) -> Verdict {
        Verdict::Allow
    }
}
