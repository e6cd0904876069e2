//! A matrix of probes between agents: what was seen on each path, and how many cells become few findings.
//!
//! It knows agents and probes, and nothing of what a suite wants to prove with them.

mod aggregate;
mod cell;
mod elsewhere;
mod observe;
mod reference;

pub use crate::kit::paths::{Locality, Path, Paths, SCENARIO, WorkloadPair, agents};
pub use aggregate::{Wording, conclude, probe_and_conclude};
pub use cell::{Cell, Deviation, Judged, Quantity, answered_by, judge_both, judge_tries, no_answer};
pub use observe::{Attempt, Seen, observe, probe_with_retry};
