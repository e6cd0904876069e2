//! Healthy components, and what is wrong with them one at a time.

mod broken;
pub(crate) mod world;
