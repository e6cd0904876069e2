//! The probe agent as a program of its own, for the image.

use std::process::ExitCode;

fn main() -> ExitCode {
    meshproof_agent::run(std::env::args_os().skip(1))
}
