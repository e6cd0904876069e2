//! Does more get lost than the service level allows? A sequential test, and series of probes added up for it.

mod count;
mod sequential;

pub use count::{Loss, LossCount};
pub use sequential::{FIRST, FURTHER, LossTest};
