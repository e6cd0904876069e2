//! The `meshproof` command: the composition root, and the only room that knows clusters, lab and suites together.

mod args;
mod command;
mod config;
mod fatal;

use std::process::ExitCode;

/// The probe image of this version.
const DEFAULT_IMAGE: &str = concat!("meshproof.dev/agent:", env!("CARGO_PKG_VERSION"));

fn main() -> ExitCode {
    command::main()
}
