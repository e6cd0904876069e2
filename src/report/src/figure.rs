//! Figures of the report: which pairs of nodes reach each other, how long that took, and the other measurements.

pub(crate) mod axis;
pub(crate) mod distribution;
pub(crate) mod matrix;
pub(crate) mod scale;
pub(crate) mod statistics;
