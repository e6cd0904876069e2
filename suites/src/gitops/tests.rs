//! The suite in memory.

mod claims;
mod flux;
mod versions;
pub mod world;
