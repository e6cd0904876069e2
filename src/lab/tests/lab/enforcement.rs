//! Network policies of the lab, as pods meet them.

mod proxies;
mod rules;
mod world;

use crate::client::Test;

/// Every test of policies.
pub fn all() -> impl Iterator<Item = &'static (&'static str, Test)> {
    [rules::ALL, proxies::ALL].into_iter().flatten()
}
