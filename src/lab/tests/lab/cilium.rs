//! Cilium of the lab as its commands show it, and what the mesh does with services and names.

mod dns;
mod drawn;
mod inside;
mod services;
mod views;

use crate::client::Test;

/// Every test of Cilium.
pub fn all() -> impl Iterator<Item = &'static (&'static str, Test)> {
    [views::ALL, services::ALL, dns::ALL, drawn::ALL].into_iter().flatten()
}

pub use views::SLOW;
