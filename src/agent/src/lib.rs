//! The probe agent: one small process in every probe pod that serves other agents and tries what the harness asks.
//!
//! It knows nothing of Kubernetes beyond its own names, and judges nothing: it reports what it saw. Environment:
//! `MESHPROOF_CLUSTER`, `MESHPROOF_NODE`, `MESHPROOF_NAMESPACE`, `MESHPROOF_POD` (its identity),
//! `MESHPROOF_PORT_OFFSET` (added to the ports of [`meshproof_contract::port`]), and for tests `MESHPROOF_RESOLV_CONF`
//! and `MESHPROOF_HOSTS` (other files than those in `/etc`).

#![cfg(target_os = "linux")]

mod attempt;
mod batch;
mod bridge;
mod capture;
mod client;
mod clock;
mod descriptors;
mod echo;
mod failure;
#[doc(hidden)]
pub mod fuzz;
mod identity;
mod memory;
mod payload;
mod pressure;
mod prober;
mod resolver;
mod series;
mod serve;
mod server;
mod settings;
mod socket;
mod stream;
mod ticker;

use meshproof_contract::port;
use settings::Settings;
use std::{ffi::OsString, process::ExitCode};

const USAGE: &str = "\
The probe agent of meshproof.

Usage: meshproof-agent            serve probes until SIGTERM
       meshproof-agent control    connect stdin and stdout to this pod's agent
       meshproof-agent --version";

/// Runs the agent with these arguments (the program's name left out) in a runtime of its own, so it must not be called
/// within one.
///
/// Ends with 0 after SIGTERM or SIGINT, 1 when it cannot serve and 2 when the arguments or the environment are wrong.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    let words: Vec<&str> = args.iter().map(|arg| arg.to_str().unwrap_or("?")).collect();
    let settings = match Settings::from_environment() {
        Ok(settings) => settings,
        Err(error) => return complain(&error, 2),
    };
    match words[..] {
        [] => match serve::run(settings) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => complain(&error, 1),
        },
        ["control"] => {
            let port = settings.port(port::CONTROL);
            match bridge::run(port) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => complain(
                    &format!("failed to connect to this pod's agent on port {port}: {error}"),
                    1,
                ),
            }
        }
        ["--version" | "-V"] => {
            println!("meshproof-agent {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        ["--help" | "-h"] => {
            println!("{USAGE}");
            ExitCode::SUCCESS
        }
        _ => complain(&format!("unknown arguments: {}\n{USAGE}", words.join(" ")), 2),
    }
}

fn complain(what: &dyn std::fmt::Display, code: u8) -> ExitCode {
    eprintln!("meshproof-agent: {what}");
    ExitCode::from(code)
}
