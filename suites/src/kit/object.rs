//! Objects of the API: those that are read, and those that checks apply.

pub mod pod;
pub mod policy;
