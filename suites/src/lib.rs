//! The checks of meshproof, suite by suite.
//!
//! A check is one file, or one item of a family, and one entry in its suite's list. Checks see the world through
//! [`Environment`](meshproof_contract::Environment) only: no Kubernetes client, no sockets, no knowledge of the lab. A
//! suite imports [`kit`] and the contract, never another suite.

pub mod components;
pub mod connectivity;
pub mod coverage;
pub mod dns;
pub mod docs;
pub mod encryption;
pub mod failover;
pub mod flows;
pub mod gitops;
pub mod kit;
pub mod mesh;
pub mod policy;
pub mod service;
pub mod state;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use failover::watch::WATCH;

use meshproof_contract::Suite;

/// Every suite, in the order of reports: what the later ones observe rests on what the earlier ones prove.
pub const ALL: &[&Suite] = &[
    &components::SUITE,
    &connectivity::SUITE,
    &dns::SUITE,
    &mesh::SUITE,
    &state::SUITE,
    &service::SUITE,
    &encryption::SUITE,
    &policy::SUITE,
    &flows::SUITE,
    &gitops::SUITE,
    &failover::SUITE,
];
