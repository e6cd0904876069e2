//! The checks against two clusters in memory whose pods come and go by the clock.

mod backends;
mod disruptions;
pub mod world;
