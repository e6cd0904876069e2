//! What only `kubectl` and other clients in Go ask for: tables, protobuf bodies, OpenAPI, aggregated discovery, and
//! SPDY for exec and port-forward. A client in Rust (kube) takes JSON and WebSockets and needs none of it.

pub(super) mod aggregated;
pub(super) mod openapi;
pub(super) mod protobuf;
mod spdy;
pub(super) mod spdy_streams;
pub(super) mod table;

pub use spdy::spdy_frame;
