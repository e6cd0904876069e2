//! Real clients against a running server: kube-rs, and kubectl where it is installed.

#[path = "clients/fake.rs"]
mod fake;
#[path = "clients/kubectl.rs"]
mod kubectl;
#[path = "clients/rust.rs"]
mod rust;
#[path = "clients/rust_streams.rs"]
mod rust_streams;
