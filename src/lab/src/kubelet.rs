//! A node's kubelet: starts the pods that are bound to its node, probes them, and reports what became of them.

pub(crate) mod event;
pub(crate) mod exec;
pub(crate) mod log;
