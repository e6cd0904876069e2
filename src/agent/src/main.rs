//! The probe agent as a program of its own, for the image.

use std::process::ExitCode;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    meshproof_agent::run(std::env::args_os().skip(1))
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    eprintln!("meshproof-agent runs on Linux only");
    ExitCode::FAILURE
}
