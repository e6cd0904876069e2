//! Questions to cluster DNS, and what its zone must hold.

pub mod ask;
pub mod check;
pub mod question;
mod silent;
pub mod zone;
