//! What commands print: one module a command, each a pure function of a view.

use crate::profile::Settings;

pub mod address;
pub mod configuration;
pub mod controller;
pub mod encryption;
pub mod endpoint;
pub mod flow;
pub mod health;
pub mod metrics;
pub mod node;
pub mod policy;
pub mod remote;
pub mod service;
pub mod status;
pub mod status_text;
mod table;

/// `cilium-dbg version`.
pub fn version(settings: &Settings) -> String {
    let version = settings.version;
    format!("{version} e4a9ed77 2025-10-30T19:22:52+00:00 go version go1.27.3 linux/amd64")
}
