//! The decision: what must happen to a flow under a set of policies.

mod authentication;
mod contradiction;
mod matching;
mod side;

use crate::{
    flow::{Flow, Party},
    model::{Direction, Policy},
    semantics::Surroundings,
};
use side::Side;
use std::fmt;

/// What a client must see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Expected {
    /// The flow passes.
    Allowed,
    /// It passes if both sides have authenticated each other, and is dropped otherwise.
    AllowedIfAuthenticated,
    /// Silently dropped: a timeout.
    Dropped,
    /// Dropped, and answered by an ICMP error.
    Unreachable,
    /// The proxy answers 403.
    Forbidden,
    /// The DNS proxy answers REFUSED.
    DnsRefused,
    /// The DNS proxy answers NXDOMAIN, as it is configured to refuse.
    DnsNameError,
}

/// The expectation for one flow and the rule that it rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What must happen.
    pub expected: Expected,
    /// On which side it is decided; none when no policy selects an end of the flow.
    pub direction: Option<Direction>,
    /// The deciding rule, for people.
    pub reason: String,
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.expected, self.reason)
    }
}

/// The oracle has no expectation: what Cilium does then depends on what was in force before.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not modelled: {0}")]
pub struct NotModelled(pub String);

/// Judges a flow: the policies on its source must allow its egress, and those on its destination its ingress.
///
/// # Errors
/// Where the policies contradict each other.
pub fn decide(policies: &[Policy], surroundings: &Surroundings, flow: &Flow) -> Result<Decision, NotModelled> {
    let mut decision = Decision {
        expected: Expected::Allowed,
        direction: None,
        reason: "no policy selects either side".to_owned(),
    };
    for direction in [Direction::Egress, Direction::Ingress] {
        let (own, peer) = match direction {
            Direction::Egress => (&flow.from, &flow.to),
            Direction::Ingress => (&flow.to, &flow.from),
        };
        let Party::Endpoint(own) = own else { continue };
        let side = Side {
            policies,
            surroundings,
            flow,
            direction,
            own,
            peer,
        };
        let Some((expected, reason)) = side.decide()? else {
            continue;
        };
        let decided = Decision {
            expected,
            direction: Some(direction),
            reason,
        };
        match expected {
            // Egress may need authentication, which ingress does not take away.
            Expected::Allowed if decision.expected == Expected::AllowedIfAuthenticated => {}
            Expected::Allowed | Expected::AllowedIfAuthenticated => decision = decided,
            _ => return Ok(decided),
        }
    }
    Ok(decision)
}

#[cfg(test)]
mod tests;
