//! Cilium, cluster DNS and the mesh as a user of the lab meets them: over the API, by exec and by packets. Each test has a
//! lab of its own. `harness = false`, since this very executable is also the engine and the agents.

#![cfg(target_os = "linux")]

#[path = "lab/client.rs"]
#[allow(dead_code)]
mod client;
#[path = "cilium/inside.rs"]
mod inside;
#[path = "cilium/tests.rs"]
mod tests;

use libtest_mimic::{Arguments, Trial};
use meshproof_lab::{AGENT_SUBCOMMAND, LAB_SUBCOMMAND, LabIsolation};
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    match arguments.next().as_deref().and_then(|word| word.to_str()) {
        Some(LAB_SUBCOMMAND) => return meshproof_lab::lab_main(arguments),
        Some(AGENT_SUBCOMMAND) => return meshproof_agent::run(arguments),
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
    let trial = |(name, test): &'static (&str, tests::Test), ignored| {
        Trial::test(*name, move || test().map_err(Into::into)).with_ignored_flag(ignored)
    };
    let trials = tests::ALL.iter().map(|test| trial(test, ignored));
    // Minutes long: run them with `--ignored`.
    let slow = tests::SLOW.iter().map(|test| trial(test, true));
    libtest_mimic::run(&arguments, trials.chain(slow).collect()).exit_code()
}
