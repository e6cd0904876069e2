//! Questions to cluster DNS, and what its zone must hold.

pub mod check;
pub mod question;
pub mod zone;
