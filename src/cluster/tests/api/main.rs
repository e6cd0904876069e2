//! The whole crate against API servers over TLS, with nodes that only pretend: pods become ready without running, and
//! their agents speak the wire protocol from within the test.

mod cleanup;
mod contexts;
mod faults;
mod kubelet;
mod lifecycle;
mod rights;
mod stand_ins;
mod world;
