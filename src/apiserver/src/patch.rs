//! The patch languages that are Kubernetes' own, and who owns which field. Pure functions on JSON.

pub(crate) mod apply;
pub(crate) mod fieldset;
mod items;
pub(crate) mod ownership;
pub(crate) mod schema;
pub(crate) mod strategic;
