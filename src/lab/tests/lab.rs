//! The lab as a user meets it: launched as a child process, spoken to over its APIs, and killed in every way. Each test
//! has its own lab. `harness = false`, since this very executable is also the engine and the agents.

#![cfg(target_os = "linux")]

#[path = "lab/client.rs"]
mod client;
#[path = "lab/remains.rs"]
mod remains;
#[path = "lab/tests.rs"]
mod tests;

use libtest_mimic::{Arguments, Trial};
use meshproof_lab::{AGENT_SUBCOMMAND, LAB_SUBCOMMAND, LabIsolation};
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    match arguments.next().as_deref().and_then(|word| word.to_str()) {
        Some(LAB_SUBCOMMAND) => return meshproof_lab::lab_main(arguments),
        Some(AGENT_SUBCOMMAND) => return meshproof_agent::run(arguments),
        Some(tests::UNPRIVILEGED) => return tests::as_nobody(),
        Some(tests::FORBIDDEN) => return tests::without_namespaces(),
        Some(tests::LAUNCHER) => return tests::launch_and_wait(),
        _ => {}
    }
    let mut arguments = Arguments::from_args();
    // Two cores, and each test boots two clusters.
    arguments.test_threads = Some(1);
    let possible = meshproof_lab::probe(LabIsolation::Auto);
    let required = std::env::var_os("MESHPROOF_REQUIRE_LAB").is_some_and(|value| value == "1");
    if let (Err(why), false) = (&possible, required) {
        eprintln!("the lab's tests are ignored: {why}");
    }
    let ignored = possible.is_err() && !required;
    let trials = tests::ALL
        .iter()
        .map(|(name, test)| Trial::test(*name, move || test().map_err(Into::into)).with_ignored_flag(ignored));
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}
