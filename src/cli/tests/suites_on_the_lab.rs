//! Every check against a healthy lab, one test a trial.

use std::process::ExitCode;

fn main() -> ExitCode {
    meshproof_cli::suite_tests()
}
