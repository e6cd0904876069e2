//! A flow that operators have written down, in the clusters: who stands for its client, where it goes, and which pods
//! are behind that.

mod backends;
mod client;
mod destination;
mod question;

pub use backends::{Home, backends, homes};
pub use client::{agent_of, controls, flow_of};
pub use destination::{Absent, Destination, find};
pub use question::question;
