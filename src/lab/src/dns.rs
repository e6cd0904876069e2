//! Cluster DNS: authoritative servers for a cluster's own names, one in each DNS pod's namespace on its real port.
//!
//! Each replica follows Services and EndpointSlices by itself, so that one can be stale. The rules are those of
//! CoreDNS's `kubernetes` plugin and of the Kubernetes DNS specification (kubernetes/dns, docs/specification.md). This
//! module does not know clusters beyond its own, Cilium, or who asks.

mod install;
mod module;
mod replica;
mod server;
mod source;
mod wrong_answer;
mod zone;

pub use module::DnsModule;
